"""Truth: what lies in the target's database after a run, against what was sent. Reads only; judges nothing.

Flow: ``TruthReader.preflight`` before anything is sent, ``quiesce`` and ``read`` after the last drive.
"""
