"""What every session of the target's database does, 20 times a second: ``python -m rig.samplers.pg_activity``.

Flow: it has one connection of its own and makes one round trip with a prepared statement a tick. At most five times a
second it queries who blocks the sessions that wait for a lock. Once a second it reads connections, locks and the growth
of the statistics views. It takes no lock of the target's and waits for none; only ``pg_blocking_pids`` holds the lock
manager for a moment.

When the server cannot be reached there is a gap with its reason, and the sampler connects again as soon as it can. It
judges nothing and computes no averages: see ``rig.diagnose.aas``.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from rig.evidence.journal import Journal
from rig.evidence.sample_names import FOREGROUND, IDLE, IDLE_IN_TRANSACTION
from rig.samplers import pg_queries
from rig.samplers.loop import NS, main
from rig.samplers.pg_queries import Facts, without_literals
from rig.target.postgres.connection import connect, lift_timeouts

APPLICATION_NAME = pg_queries.OWN_PREFIX + "sampler"
CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 2
_RECONNECT_AFTER_NS = NS // 4
_BLOCKING_EVERY_NS = NS // 5
_STATEMENTS_EVERY = 5
"""Seconds: each time the whole table of statements is read, which may be long."""
_TEXTS = 50
_BUSY_BACKGROUND = ("", "IO", "IPC", "LWLock", "Lock", "BufferPin", "Extension", "InjectionPoint")
"""A process of the server that waits for anything else (Activity, Timeout, Client) has nothing to do."""

_Row = Sequence[Any]


class PgActivity:
    """The sampler (``rig.samplers.loop.Sampler``). psycopg.Error when the server cannot be reached at first."""

    def __init__(self, dsn: str, hz: float, journal: Journal) -> None:
        self._dsn = dsn
        self._ticks_a_second = max(1, round(hz))
        self._journal = journal
        self._unseen: dict[str, None] = {}
        self._gap: tuple[int, str] | None = None
        self._retry_ns = 0
        self._blocking_ns = 0
        self._texts: Counter[int] = Counter()
        self._refused: set[str] = set()
        self._connection: psycopg.Connection[Any] | None = self._connect()

    @property
    def facts(self) -> Mapping[str, Any]:
        found = self._found
        return {
            "server_version": found.version,
            "database": found.database,
            "max_connections": found.max_connections,
            "reserved_connections": found.reserved_connections,
            "backend_pid": found.backend_pid,
            "backend_started_unix": found.backend_started_unix,
        }

    @property
    def unseen(self) -> tuple[str, ...]:
        return tuple(self._unseen)

    def tick(self, number: int) -> None:
        if self._connection is None and not self._reconnect():
            return
        try:
            self._look(full=number % self._ticks_a_second == 0, number=number)
        except psycopg.errors.QueryCanceled as error:
            self._begin_gap(error)
            self._end_gap()
        except psycopg.OperationalError as error:
            self._begin_gap(error)
            self._disconnect()

    def finish(self) -> None:
        self._end_gap()
        if self._connection is None:
            return
        try:
            self._try("statistics views", self._count)
            self._try("pg_stat_statements", self._count_statements)
            self._try("texts of statements", self._write_texts)
        except psycopg.OperationalError as error:
            self._unseen[f"the last reading of the statistics: {_words(error)}"] = None
        self._disconnect()

    # --- samples ---

    def _look(self, *, full: bool, number: int) -> None:
        before_ns = time.monotonic_ns()
        rows = self._rows(self._activity)
        # The sample was taken in between. The middle of that time is wrong by half a round trip at most.
        at_ns = (before_ns + time.monotonic_ns()) // 2
        ours, elsewhere = self._of_the_target(rows)
        waiting = self._write_sessions(at_ns, ours, elsewhere)
        if waiting and at_ns - self._blocking_ns >= _BLOCKING_EVERY_NS:
            self._blocking_ns = at_ns
            self._try("who blocks whom", lambda: self._write_blocking(at_ns, waiting))
        if full:
            self._write_connections(at_ns, ours)
            self._try("locks", self._write_locks)
            self._try("statistics views", self._count)
            if number // self._ticks_a_second % _STATEMENTS_EVERY == 0:
                self._try("pg_stat_statements", self._count_statements)

    def _try(self, what: str, look: Callable[[], None]) -> None:
        """Run a query that the server may refuse. After a refusal it is not tried again, and ``unseen`` says so."""
        if what in self._refused:
            return
        try:
            look()
        except psycopg.errors.QueryCanceled:
            raise
        except psycopg.Error as error:
            if self._connection is None or self._connection.closed:
                raise
            self._refused.add(what)
            self._unseen[f"{what}: {_words(error)}"] = None

    def _of_the_target(self, rows: Sequence[_Row]) -> tuple[list[_Row], int]:
        """Rows of the target's database and of the server itself; how many sessions are active in other databases."""
        ours, elsewhere = [], 0
        for row in rows:
            if row[9] not in (0, self._found.database_oid):
                elsewhere += row[4] == "active"
            elif not row[2].startswith(pg_queries.OWN_PREFIX):
                ours.append(row)
        return ours, elsewhere

    def _write_sessions(self, at_ns: int, rows: Sequence[_Row], elsewhere: int) -> list[int]:
        """Count the sessions, write those that are not idle, and return who waits for a lock."""
        busy, waiting = [], []
        active = idle = in_transaction = background = hidden = 0
        for row in rows:
            _, kind, _, _, state, wait_type, *_ = row
            if state == IDLE:
                idle += 1
                continue
            if state == "disabled":
                hidden += 1
                continue
            if state in IDLE_IN_TRANSACTION:
                in_transaction += 1
            elif state and kind in FOREGROUND:
                active += 1
            elif not kind and row[9]:
                hidden += 1
                continue
            elif kind and kind not in FOREGROUND and wait_type in _BUSY_BACKGROUND:
                background += 1
            else:
                continue
            busy.append(row[:9])
            if wait_type == "Lock":
                waiting.append(row[0])
        self._journal.add("sessions", at_ns, [(active, idle, in_transaction, background, hidden, elsewhere)])
        self._journal.add("activity", at_ns, busy)
        return waiting

    def _write_connections(self, at_ns: int, rows: Sequence[_Row]) -> None:
        counts = Counter((row[3], row[2], row[4]) for row in rows if row[9])
        self._journal.add("connections", at_ns, [(*key, count) for key, count in counts.items()])

    def _write_blocking(self, at_ns: int, waiting: Sequence[int]) -> None:
        rows = self._rows(self._blocking, list(waiting))
        bare = [(*row[:6], without_literals(row[6]), without_literals(row[7]), *row[8:]) for row in rows]
        self._journal.add("blocking", at_ns, bare)

    def _count(self) -> None:
        """Write by how much the counters of the statistics views have grown since the last time."""
        self._write_growth({tuple(row[:3]): row[3] for row in self._rows(self._counters)})

    def _write_locks(self) -> None:
        self._journal.add("locks", time.monotonic_ns(), self._rows(pg_queries.LOCKS, self._found.database_oid))

    def _count_statements(self) -> None:
        if self._found.statements_schema is None:
            return
        rows = self._rows(self._statements)
        now: dict[tuple[str, ...], float] = {
            ("pg_stat_statements", row[0], name): value
            for row in rows
            for name, value in zip(pg_queries.STATEMENT_COUNTERS, row[1:], strict=True)
        }
        self._write_growth(now)

    def _write_growth(self, now: Mapping[tuple[str, ...], float]) -> None:
        grown = []
        first = not any(key[0] in self._sources for key in now)
        for key, value in now.items():
            before = self._before.get(key, 0.0)
            # A counter below its last value was reset and counts from 0 again.
            delta = value - before if value >= before else value
            if delta and not first:
                grown.append((*key, delta))
                if key[2] == "total_exec_time":
                    self._texts[int(key[1])] += round(delta * 1000)
        self._before |= now
        self._sources |= {key[0] for key in now}
        self._journal.add("counters", time.monotonic_ns(), grown)

    def _write_texts(self) -> None:
        wanted = [query_id for query_id, _ in self._texts.most_common(_TEXTS)]
        rows = self._rows(pg_queries.statement_texts(self._found), wanted) if wanted else []
        self._journal.add("statements", time.monotonic_ns(), [(row[0], without_literals(row[1] or "")) for row in rows])

    # --- the connection ---

    def _rows(self, query: str, *parameters: Any) -> list[_Row]:
        assert self._connection is not None
        cursor = self._connection.cursor(binary=True)
        return cursor.execute(query.encode(), parameters or None, prepare=True).fetchall()

    def _connect(self) -> psycopg.Connection[Any]:
        """Open a connection and prepare all statements; earlier values of the counters are forgotten."""
        connection = connect(self._dsn, APPLICATION_NAME, CONNECT_TIMEOUT_S)
        try:
            lift_timeouts(connection)
            connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'; SET jit = off")
            with suppress(psycopg.ProgrammingError):  # only a superuser may leave its statements out
                connection.execute("SET pg_stat_statements.track = 'none'")
            row = connection.execute(pg_queries.FACTS).fetchone()
            assert row is not None
        except psycopg.Error:
            connection.close()
            raise
        self._found = found = Facts(*row)
        self._activity = pg_queries.activity(found)
        self._blocking = pg_queries.blocking(found)
        self._counters = pg_queries.counters(found)
        self._statements = pg_queries.statements(found)
        self._unseen |= dict.fromkeys(pg_queries.unseen(found))
        self._before: dict[tuple[str, ...], float] = {}
        self._sources: set[str] = set()
        return connection

    def _reconnect(self) -> bool:
        if time.monotonic_ns() < self._retry_ns:
            return False
        try:
            self._connection = self._connect()
        except psycopg.Error as error:
            self._begin_gap(error)
            self._retry_ns = time.monotonic_ns() + _RECONNECT_AFTER_NS
            return False
        self._end_gap()
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _begin_gap(self, error: psycopg.Error) -> None:
        if self._gap is None:
            self._gap = (time.monotonic_ns(), _words(error))

    def _end_gap(self) -> None:
        if self._gap is not None:
            began_ns, reason = self._gap
            self._gap = None
            self._journal.add("gaps", began_ns, [(time.monotonic_ns(), reason)])


def _words(error: psycopg.Error) -> str:
    """libpq never puts a password into a message."""
    return " ".join(str(error).split())[:200]


def make(options: Mapping[str, Any], journal: Journal) -> PgActivity:
    """From the options of ``rig.samplers.sampling``."""
    return PgActivity(options["dsn"], float(options["hz"]), journal)


if __name__ == "__main__":
    sys.exit(main(make))
