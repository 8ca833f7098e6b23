"""Waits until the target has stopped writing: a polled condition with a deadline, never a blind sleep.

A backend is busy while it holds the lock on its own virtual transaction. It does so exactly while it runs a statement
or has an open transaction. ``pg_locks`` shows this to every role; ``pg_stat_activity`` hides the state of other roles.
A session that does nothing in its transaction for long will not write either: it has left the transaction open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection

from rig.evidence.truth import OpenTransaction
from rig.truth.session import APPLICATION_NAME, in_words

OWN_APPLICATIONS = (APPLICATION_NAME, "rig-sampler")
"""Application names of the rig's own connections, which do not count."""

POLL_S = 0.1
"""Between two polls. A shorter rest cannot be seen."""

AT_WORK = "l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted"
"""A condition on the locks ``l``: a backend holds such a lock exactly while it is busy."""
_BUSY = f"""
SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, '?'), coalesce(a.state, ''),
    coalesce(extract(epoch FROM a.xact_start), 0)::float8,
    coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - a.state_change), 0)::float8
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE {AT_WORK}
    AND a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
    AND coalesce(a.application_name, '') <> ALL(%s)
ORDER BY a.pid
"""
_SEES_ALL = "SELECT pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"
LEFT_SHARE = 0.5
"""A session that does nothing in its transaction for this share of the whole wait has left it open."""
_IDLE = "idle in transaction"
_HIDDEN = "; what others do is hidden from the role of the truth DSN: GRANT pg_monitor TO it"


@dataclass(frozen=True, slots=True)
class Quiescence:
    """How the wait ended. ``busy`` names the backends that were busy last (not their statements); empty when quiet.

    ``left`` are transactions that were left open, of which nobody can say when they end.
    """

    quiet: bool
    waited_s: float
    busy: tuple[str, ...] = ()
    quiet_s: float = POLL_S
    """For how long no backend was to be busy."""
    left: tuple[OpenTransaction, ...] = ()

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
) -> Quiescence:
    """Wait until no poll within ``quiet_s`` found a backend in a transaction, except the rig's own.

    A session that has done nothing in its transaction for ``LEFT_SHARE`` of ``timeout_s`` is waited for no longer. A
    transaction that begins and ends between two polls is not seen. The wait takes ``quiet_s`` at least, so a row that
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
            left: list[OpenTransaction] = []
            try:
                connection = connection or connect()
                sessions = _busy(connection)
                left = [each for each in sessions if was_left(each, timeout_s * LEFT_SHARE)]
                busy = tuple(_in_words(each) for each in sessions if each not in left)
            except psycopg.OperationalError as error:
                if connection is not None:
                    connection.close()
                connection = None
                busy = (f"the database cannot be reached: {in_words(error)}",)
            now = time.monotonic()
            if not busy and quiet_since is not None and polled_s - quiet_since >= quiet_s:
                return Quiescence(True, now - began, left=tuple(left))
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


def find_left(connect: Callable[[], Connection[Any]], idle_s: float) -> tuple[OpenTransaction, ...] | None:
    """The transactions that were left open, where others may be at work: nothing was done in them for ``idle_s``.

    It waits as long as a session that was in a transaction at first does nothing in it, and no longer. None where the
    role may not see what other roles do.
    """
    before: dict[tuple[int, float], OpenTransaction] | None = None
    with connect() as connection:
        if connection.execute(_SEES_ALL).fetchall() != [(True,)]:
            return None
        while True:
            idle = {(each.pid, each.begun_s): each for each in _busy(connection) if was_left(each, 0.0)}
            if before is not None:
                idle = {at: each for at, each in idle.items() if at in before and each.idle_s > before[at].idle_s}
            if all(was_left(each, idle_s) for each in idle.values()):
                return tuple(idle.values())
            before = idle
            time.sleep(POLL_S)


def was_left(session: OpenTransaction, idle_s: float) -> bool:
    """Whether it has done nothing in its transaction for so long."""
    return session.state.startswith(_IDLE) and session.idle_s >= idle_s


def _busy(connection: Connection[Any]) -> tuple[OpenTransaction, ...]:
    return tuple(OpenTransaction(*row) for row in connection.execute(_BUSY, [list(OWN_APPLICATIONS)]))


def _in_words(session: OpenTransaction) -> str:
    return f"{session}{_HIDDEN if not session.state else ''}"
