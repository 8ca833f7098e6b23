"""The steps of a run, each a module with values in and out, and the pack while it is open.

``open_run`` makes the pack. ``certify``, ``load_target`` (with ``scenarios`` and ``read_truth``) and ``leak_check``
fill it, ``record`` judges and seals it, also where a step fails. ``rig.verbs.run`` knows the order.
"""
