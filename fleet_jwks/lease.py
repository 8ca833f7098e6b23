"""Who may fetch: one holder at a time in the whole fleet, by an advisory lock of PostgreSQL.

``held(connection, patience_s)`` is a context that gives True for the holder and False for who did not get it in time;
``patience_s`` 0 asks once, None waits without bound.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import psycopg

from fleet_jwks.settings import Protection, Settings
from fleet_jwks.store import Connection

_POLL_S = 0.01


class Lease(Protocol):
    """The seam: one method."""

    def held(self, connection: Connection, patience_s: float | None) -> AbstractContextManager[bool]:
        """Try to be the holder for the time of the context."""


def lease_for(settings: Settings) -> Lease:
    """The one that the settings ask for."""
    number = int.from_bytes(hashlib.sha256(f"jwks:{settings.source}".encode()).digest()[:8], signed=True)
    if not settings.has(Protection.SINGLE_FLIGHT):
        return Anybody()
    if not settings.has(Protection.LOCK_SCOPE):
        return SessionLease(number)
    return TransactionLease(number, settings.leader_timeout_s)


class TransactionLease:
    """Held by a transaction: it ends with it, however it ends. Who waits waits inside the database: nobody polls.

    A holder that stands still is idle in its transaction, and the server ends the session after ``leader_timeout_s``.
    """

    def __init__(self, number: int, leader_timeout_s: float) -> None:
        self._number = number
        self._leader_timeout_ms = str(round(leader_timeout_s * 1000))

    @contextmanager
    def held(self, connection: Connection, patience_s: float | None) -> Iterator[bool]:
        """See the module; everything in the context is one transaction."""
        with connection.transaction():
            yield self._acquire(connection, patience_s)

    def _acquire(self, connection: Connection, patience_s: float | None) -> bool:
        set_local = "SELECT set_config('idle_in_transaction_session_timeout', %s, true)"
        connection.execute(set_local, [self._leader_timeout_ms])
        if patience_s == 0:
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [self._number]).fetchone()
            return row == (True,)
        lock_timeout_ms = 0 if patience_s is None else max(1, round(patience_s * 1000))
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [str(lock_timeout_ms)])
        try:
            with connection.transaction():  # a savepoint: a wait in vain must not take the outer one with it
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [self._number])
        except psycopg.errors.LockNotAvailable:
            return False
        return True


class SessionLease:
    """What many do instead, and what goes wrong: held by the session. Only for showing that a test notices.

    A stopped holder keeps it, as no transaction of its is open; behind a pooler in transaction mode the session is
    another client's a moment later, who then holds it too.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    @contextmanager
    def held(self, connection: Connection, patience_s: float | None) -> Iterator[bool]:
        """See the module."""
        deadline = float("inf") if patience_s is None else time.monotonic() + patience_s
        while not (mine := self._try(connection)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        try:
            yield mine
        finally:
            if mine and not connection.broken:
                connection.execute("SELECT pg_advisory_unlock(%s)", [self._number])

    def _try(self, connection: Connection) -> bool:
        return connection.execute("SELECT pg_try_advisory_lock(%s)", [self._number]).fetchone() == (True,)


class Anybody:
    """No lease at all: everybody is the holder."""

    @contextmanager
    def held(self, connection: Connection, patience_s: float | None) -> Iterator[bool]:
        """See the module."""
        yield True
