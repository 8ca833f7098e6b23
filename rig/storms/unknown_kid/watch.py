"""What is seen from outside while a storm goes on: who fetches, who holds the lock, who is connected.

``FetchWatch`` reads the recording proxy's ledger as it grows and finds the process behind each fetch by its port.
``DatabaseWatch`` reads the locks and sessions of one database over the owner's connection, in a thread of its own.
Neither judges, and neither asks the subject.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import psycopg

from rig.evidence.key_storm import DatabaseConnections, Decision, Holding
from rig.machine.sockets import find_holders
from rig.storms.unknown_kid.origin import CountedFetch, LedgerTail

_EVERY_S = 0.02
_GONE_S = 3.0
_ATTRIBUTED_MAX = 64
"""Of so many fetches the rig finds the process. A look costs time, and more are not shown."""

_LOCKS = """
SELECT max(pid) FILTER (WHERE granted), count(*) FILTER (WHERE NOT granted) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"


class FetchWatch:
    """The fetches through the recording proxy, and the members that made them."""

    def __init__(self, tail: LedgerTail, pids: Sequence[int], proxy_port: int) -> None:
        self._tail = tail
        self._proxy_port = proxy_port
        self._pids = pids
        self.members: dict[str, int] = {}
        """Member by peer, as far as they were seen in time."""

    def read_fetches(self) -> list[CountedFetch]:
        """All fetches so far; the members of new ones are looked up."""
        fetches = self._tail.read()
        peers = {
            int(counted.peer.rpartition(":")[2]): counted.peer
            for counted in fetches[:_ATTRIBUTED_MAX]
            if counted.peer not in self.members and counted.fetch.end_ns is None
        }
        for port, member in (find_holders(peers, self._proxy_port, self._pids) if peers else {}).items():
            self.members[peers[port]] = member
        return fetches


class DatabaseWatch:
    """Locks and sessions of one database, read every 20 ms; a context manager."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._most = 0
        self._sessions_before = 0
        self.holdings: list[Holding] = []

    def __enter__(self) -> Self:
        self._connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(
            self._dsn, autocommit=True, application_name="rig-watch"
        )
        self._sessions_before = self._number(_SESSIONS)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def count_connections(self) -> DatabaseConnections | None:
        """The connections since the context was entered, None without any. Call it when the fleet has ended."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + _GONE_S
        while self._number(_OTHERS) and time.monotonic() < deadline:
            time.sleep(_EVERY_S)  # a session is in the count when it has ended
        opened = self._number(_SESSIONS) - self._sessions_before
        return DatabaseConnections(opened, self._most) if opened else None

    def decisions(self, query: str) -> list[Decision]:
        """What the subject wrote down about its fetches, in their order."""
        return [Decision(*row) for row in self._connection.execute(query.encode()).fetchall()]

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            row = self._connection.execute(_LOCKS).fetchone()
            assert row is not None
            self.holdings.append(Holding(time.monotonic_ns(), row[0], row[1]))
            self._most = max(self._most, self._number(_OTHERS))

    def _number(self, query: str) -> int:
        row = self._connection.execute(query.encode()).fetchone()
        return int(row[0] or 0) if row else 0


def by_member(fetches: Sequence[CountedFetch], members: Mapping[str, int]) -> dict[int, int]:
    """Member by the number of the fetch, counted from 0 in the order of their starts."""
    return {index: members[counted.peer] for index, counted in enumerate(fetches) if counted.peer in members}
