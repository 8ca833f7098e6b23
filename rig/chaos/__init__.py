"""Faults that strike a target and its database while requests are sent, and how each of them is healed.

Flow: ``plan_faults`` draws a schedule from the seed, out of ``rig.chaos.catalog``. A ``FaultRunner`` strikes and heals
in a thread beside the load, and writes down when. Who must heal when the rig is killed: ``Supervisor.undone_at_end``.

It never judges. ``rig.checks`` does that, from the pack.
"""
