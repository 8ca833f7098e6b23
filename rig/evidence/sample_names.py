"""Names that the samplers share with their readers. The module imports nothing, so that a sampler starts quickly."""

from __future__ import annotations

PG_ACTIVITY = "pg_activity"
PIDS = "pids"

CLIENT_BACKEND = "client backend"
FOREGROUND = (CLIENT_BACKEND, "parallel worker")
"""Processes of the server that work for a session. All others work for the server itself."""
IDLE = "idle"
IDLE_IN_TRANSACTION = ("idle in transaction", "idle in transaction (aborted)")


class Role:
    """The roles that a run gives to processes. ``rig sample`` may use others."""

    CLIENT = "client worker"
    RIG = "rig"
    SERVER = "server"
    STUB = "stub"
    BACKEND = "postgres backend"
    AUXILIARY = "postgres auxiliary"
    SAMPLER = "sampler"
    SAMPLER_BACKEND = "sampler's backend"
    OTHER = "other"
    """CPU of the machine that no sampled process used."""
