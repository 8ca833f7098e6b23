"""What ``rig prove`` is made of: defects and bottlenecks as values that carry what they do, and the matrix.

``defects`` lists the defects, ``stages`` runs them; ``bottlenecks`` lists what ``diagnosis`` seeds; ``bench`` is what
all runs share. ``injections`` is what they do to a run (``throttle``, ``foreign_load`` and ``locust_run`` how), and
``pack_changes`` what they do to a finished pack. ``weaknesses`` is the same for storms. ``matrix`` compares what
was declared with what was seen; ``catalog`` lists every gate with the defects that turn it red. Not for the verb
(``rig.verbs.prove``), nor for what a defect of the service does (``stub_server.service.defects``).
"""
