"""What the rig is pointed at when it has no target of yours: stubs, the reference service and its seeded defects.

Nothing here imports the rig: each part runs as a process of its own, started by a command line.
"""
