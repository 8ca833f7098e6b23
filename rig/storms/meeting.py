"""Makes the replicas of a migration race meet: whoever comes first waits until all of them are there.

Replicas start at one instant, and yet most never meet: one has migrated before the next has loaded its libraries. So
the rig holds the gates of ``ddl_ledger``: first that of the sessions, then that of the DDL commands. It opens one when
each replica waits there or for a lock, or has ended; or when those that are still on their way have had their time. Who
had a session meanwhile has met the first: only they have raced.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg

from rig.machine.sockets import find_holders
from rig.storms.ddl_ledger import DDL_GATE, LOGIN_GATE, LOGIN_SINCE
from rig.storms.fleet import Fleet

_POLL_S = 0.005
_SETTLE_S = 1.0
"""Who asks again and again for a lock waits for none. After so long without a newcomer all are taken to be there."""

_SESSIONS: LiteralString = """
SELECT client_port, EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted) FROM pg_stat_activity a
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
"""Its lock is granted to a session at once. Its wait event stays until it runs again: after the gate of the sessions it
would seem to wait at that of the DDL commands."""
_HELD: LiteralString = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s
AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""


class Meeting:
    """One race; a context manager. ``met`` are the replicas that had a session while a gate was held."""

    def __init__(self, dsn: str, start_up_s: float, timeout_s: float) -> None:
        self._dsn = dsn
        self._on_the_way_s = 2 * start_up_s + _SETTLE_S
        self._timeout_s = timeout_s
        self._owners: dict[int, int | None] = {}
        self.met: set[int] = set()

    def __enter__(self) -> Meeting:
        self._connection: psycopg.Connection[Any] = psycopg.connect(
            self._dsn, autocommit=True, application_name="rig-gate"
        )
        self._port = self._connection.info.port
        for gate in (LOGIN_GATE, DDL_GATE):
            self._connection.execute("SELECT pg_advisory_lock(%s)", (gate,))
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def hold(self, fleet: Fleet) -> None:
        """Hold each gate until all are there, then open it; call it right after the release of the fleet."""
        deadline = time.monotonic() + self._timeout_s
        gates = (LOGIN_GATE, DDL_GATE) if self._connection.info.server_version >= LOGIN_SINCE else (DDL_GATE,)
        for gate in gates:
            self._wait(fleet, gate, deadline)
            self._connection.execute("SELECT pg_advisory_unlock(%s)", (gate,))

    def _wait(self, fleet: Fleet, gate: int, deadline: float) -> None:
        held_s = newest_s = 0.0
        here: set[int] = set()
        while (running := set(fleet.poll())) and (now_s := time.monotonic()) < deadline:
            waiting, present = self.look(fleet.pids)
            if held_s or self._is_held(gate):
                held_s = held_s or now_s
                newest_s = now_s if present - here else newest_s
                here |= present
                all_there = running <= present and now_s > newest_s + _SETTLE_S
                if running <= waiting or all_there or now_s > held_s + self._on_the_way_s:
                    break
            time.sleep(_POLL_S)
        self.met |= here

    def _is_held(self, gate: int) -> bool:
        row = self._connection.execute(_HELD, (gate,)).fetchone()
        return bool(row and row[0])

    def look(self, pids: Sequence[int]) -> tuple[set[int], set[int]]:
        """The replicas of which a session waits for a lock, and those that have one at all."""
        waiting: set[int] = set()
        present: set[int] = set()
        sessions = self._connection.execute(_SESSIONS).fetchall()
        if new := {port for port, _ in sessions if port} - self._owners.keys():
            self._owners |= dict.fromkeys(new) | find_holders(new, self._port, pids)
        for port, waits in sessions:
            replica = self._owners.get(port)
            if replica is not None:
                present.add(replica)
                waiting.update({replica} if waits else ())
        return waiting, present
