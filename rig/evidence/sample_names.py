"""Words that the samplers, their frames and those who read them share. It imports nothing: a sampler starts quickly."""

from __future__ import annotations

PG_ACTIVITY = "pg_activity"
PIDS = "pids"

CLIENT_BACKEND = "client backend"
FOREGROUND = (CLIENT_BACKEND, "parallel worker")
"""Processes of the server that work for a session; all others are its own."""
IDLE = "idle"
IDLE_IN_TRANSACTION = ("idle in transaction", "idle in transaction (aborted)")


class Role:
    """Names of the roles that a run gives to processes; ``rig sample`` and others may use more."""

    CLIENT = "client worker"
    RIG = "rig"
    SERVER = "server"
    STUB = "stub"
    BACKEND = "postgres backend"
    AUXILIARY = "postgres auxiliary"
    SAMPLER = "sampler"
    SAMPLER_BACKEND = "sampler's backend"
    OTHER = "other"
    """What the machine did beside all processes that were looked at."""
