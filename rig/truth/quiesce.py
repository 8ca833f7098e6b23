"""Waiting until the target has stopped writing. A polled condition with a deadline, never a blind sleep.

A backend is busy while it holds the lock on its own virtual transaction: exactly while it runs a statement or sits in
an open transaction. ``pg_locks`` shows that to every role, where ``pg_stat_activity`` hides the state of other roles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection

from rig.truth.session import APPLICATION_NAME, in_words

OWN_APPLICATIONS = (APPLICATION_NAME, "rig-sampler")
"""Application names of the rig's own connections, which do not count."""

_POLL_S = 0.1

_BUSY = """
SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, '?')
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
    AND a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
    AND coalesce(a.application_name, '') <> ALL(%s)
ORDER BY a.pid
"""


@dataclass(frozen=True, slots=True)
class Quiescence:
    """How the wait ended. ``busy`` names what was still at work (never its statements); empty when quiet."""

    quiet: bool
    waited_s: float
    busy: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.quiet

    def __str__(self) -> str:
        if self.quiet:
            return f"quiet after {self.waited_s:.1f} s"
        return f"after {self.waited_s:.1f} s still at work: {'; '.join(self.busy) or 'unknown'}"


def quiesce(
    connect: Callable[[], Connection[Any]], *, timeout_s: float, own: Sequence[str] = OWN_APPLICATIONS
) -> Quiescence:
    """Wait until no backend of the database but the rig's is in a transaction, seen twice in a row.

    A database that cannot be reached is not quiet either: it is asked again until the deadline, so that one which
    recovers from a crash in time is read all the same.
    """
    began = time.monotonic()
    connection: Connection[Any] | None = None
    quiet_before = False
    try:
        while True:
            try:
                connection = connection or connect()
                busy = _busy(connection, own)
            except psycopg.OperationalError as error:
                if connection is not None:
                    connection.close()
                connection = None
                busy = (f"the database cannot be reached: {in_words(error)}",)
            waited_s = time.monotonic() - began
            if not busy and quiet_before:
                return Quiescence(True, waited_s)
            if waited_s >= timeout_s:
                return Quiescence(False, waited_s, busy)
            quiet_before = not busy
            time.sleep(_POLL_S)
    finally:
        if connection is not None:
            connection.close()


def _busy(connection: Connection[Any], own: Sequence[str]) -> tuple[str, ...]:
    rows = connection.execute(_BUSY, [list(own)])
    return tuple(f"pid {pid} ({application or 'no application name'}, role {role})" for pid, application, role in rows)
