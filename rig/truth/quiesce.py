"""Waits until the target has stopped writing: a polled condition with a deadline, never a blind sleep.

A backend is busy while it holds the lock on its own virtual transaction. It does so exactly while it runs a statement
or has an open transaction. ``pg_locks`` shows this to every role; ``pg_stat_activity`` hides the state of other roles.
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

POLL_S = 0.1
"""Between two polls. A shorter rest cannot be seen."""

AT_WORK = "l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted"
"""A condition on the locks ``l``: a backend holds such a lock exactly while it is busy."""
_BUSY = f"""
SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, '?')
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE {AT_WORK}
    AND a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
    AND coalesce(a.application_name, '') <> ALL(%s)
ORDER BY a.pid
"""


@dataclass(frozen=True, slots=True)
class Quiescence:
    """How the wait ended. ``busy`` names the backends that were busy last (not their statements); empty when quiet."""

    quiet: bool
    waited_s: float
    busy: tuple[str, ...] = ()
    quiet_s: float = POLL_S
    """For how long no backend was to be busy."""

    def __bool__(self) -> bool:
        return self.quiet

    def __str__(self) -> str:
        if self.quiet:
            return f"quiet after {self.waited_s:.1f} s"
        last = f"; last busy: {'; '.join(self.busy)}" if self.busy else ""
        return f"not quiet for {self.quiet_s:g} s within {self.waited_s:.1f} s{last}"


def quiesce(
    connect: Callable[[], Connection[Any]],
    *,
    timeout_s: float,
    quiet_s: float = POLL_S,
    own: Sequence[str] = OWN_APPLICATIONS,
) -> Quiescence:
    """Wait until no poll within ``quiet_s`` found a backend in a transaction, except the rig's own.

    A transaction that begins and ends between two polls is not seen. The wait takes ``quiet_s`` at least, so a row that
    is written within that time is not missed. A database that cannot be reached is not quiet: it is polled until the
    deadline, so that one which recovers from a crash in time is read.
    """
    began = time.monotonic()
    connection: Connection[Any] | None = None
    quiet_since: float | None = None
    last_busy: tuple[str, ...] = ()
    try:
        while True:
            polled_s = time.monotonic()
            try:
                connection = connection or connect()
                busy = _busy(connection, own)
            except psycopg.OperationalError as error:
                if connection is not None:
                    connection.close()
                connection = None
                busy = (f"the database cannot be reached: {in_words(error)}",)
            now = time.monotonic()
            if not busy and quiet_since is not None and polled_s - quiet_since >= quiet_s:
                return Quiescence(True, now - began)
            last_busy = busy or last_busy
            if now - began >= timeout_s:
                return Quiescence(False, now - began, last_busy, quiet_s)
            if busy:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            time.sleep(POLL_S)
    finally:
        if connection is not None:
            connection.close()


def _busy(connection: Connection[Any], own: Sequence[str]) -> tuple[str, ...]:
    rows = connection.execute(_BUSY, [list(own)])
    return tuple(f"pid {pid} ({application or 'no application name'}, role {role})" for pid, application, role in rows)
