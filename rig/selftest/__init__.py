"""What ``rig prove`` is made of: seeded defects and bottlenecks, how each is brought about, the cells that they score.

``defects`` and ``bottlenecks`` are values; ``stages``, ``storms`` and ``diagnosis`` run them; ``sabotage``,
``throttle``, ``quota``, ``foreign_load`` and ``crowd`` lay hands on instrument and machine, ``spoil`` on evidence;
``cells`` compares what was declared with what was seen; ``catalog`` puts every gate beside what turns it red.
Not for the verb (``rig.verbs.prove``) and not for what a defect of the service does (``stub_server.service.defects``).
"""
