"""Who may fetch: one holder at a time in the whole fleet, by an advisory lock of PostgreSQL.

``hold(connection, wait_timeout_s)`` is a context that gives True to the holder, and False where the lease was not free
in time. A ``wait_timeout_s`` of 0 asks once; None waits without bound.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import psycopg

from fleet_jwks.settings import JwksSettings, Protection
from fleet_jwks.store import Connection

_POLL_S = 0.01


class Lease(Protocol):
    """What all leases have."""

    def hold(self, connection: Connection, wait_timeout_s: float | None) -> AbstractContextManager[bool]:
        """Try to be the holder for the time of the context; see the module."""


def lease_for(settings: JwksSettings) -> Lease:
    """The lease that the settings ask for."""
    number = int.from_bytes(hashlib.sha256(f"jwks:{settings.source}".encode()).digest()[:8], signed=True)
    if not settings.has(Protection.SINGLE_FLIGHT):
        return NoLease()
    if not settings.has(Protection.LOCK_SCOPE):
        return SessionLease(number)
    return TransactionLease(number, settings.leader_timeout_s)


class TransactionLease:
    """Held by a transaction, and gone with it. The others wait inside the database; nobody polls.

    A holder that stands still is idle in its transaction, and the server ends its session after ``leader_timeout_s``.
    """

    def __init__(self, number: int, leader_timeout_s: float) -> None:
        self._number = number
        self._leader_timeout_ms = str(round(leader_timeout_s * 1000))

    @contextmanager
    def hold(self, connection: Connection, wait_timeout_s: float | None) -> Iterator[bool]:
        """As any lease; everything in the context is one transaction."""
        with connection.transaction():
            yield self._acquire(connection, wait_timeout_s)

    def _acquire(self, connection: Connection, wait_timeout_s: float | None) -> bool:
        set_local = "SELECT set_config('idle_in_transaction_session_timeout', %s, true)"
        connection.execute(set_local, [self._leader_timeout_ms])
        if wait_timeout_s == 0:
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [self._number]).fetchone()
            return row == (True,)
        lock_timeout_ms = 0 if wait_timeout_s is None else max(1, round(wait_timeout_s * 1000))
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [str(lock_timeout_ms)])
        try:
            with connection.transaction():  # a savepoint: a wait in vain must not abort the outer one
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [self._number])
        except psycopg.errors.LockNotAvailable:
            return False
        return True


class SessionLease:
    """Held by the session, as many do it. It only exists to show that a test notices what goes wrong.

    A stopped holder keeps it, because it has no open transaction. Behind a pooler in transaction mode the session is
    another client's a moment later, which then holds the lease too.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    @contextmanager
    def hold(self, connection: Connection, wait_timeout_s: float | None) -> Iterator[bool]:
        deadline = float("inf") if wait_timeout_s is None else time.monotonic() + wait_timeout_s
        while not (mine := self._try(connection)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        try:
            yield mine
        finally:
            if mine and not connection.broken:
                connection.execute("SELECT pg_advisory_unlock(%s)", [self._number])

    def _try(self, connection: Connection) -> bool:
        return connection.execute("SELECT pg_try_advisory_lock(%s)", [self._number]).fetchone() == (True,)


class NoLease:
    """Everybody is the holder."""

    @contextmanager
    def hold(self, connection: Connection, wait_timeout_s: float | None) -> Iterator[bool]:
        yield True
