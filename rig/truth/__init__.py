"""Compares the rows in the target's database with the requests that were sent. Reads only; judges nothing.

Flow: ``TruthReader.preflight`` before anything is sent, ``quiesce`` and ``read`` after the last scenario run.
"""
