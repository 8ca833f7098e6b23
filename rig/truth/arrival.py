"""When rows arrive: beside the load the database is asked for the keys of requests that were just answered.

Flow: ``ArrivalWatch`` follows the rows that the workers write. Of the requests that were acknowledged and must have a
canonical row it takes a sample, and asks for their keys until each has its row. A snapshot that began after an answer
had arrived and lacks the row proves that the row came after the answer. Both times are of one monotonic clock; the
database must be the primary. ``await_arrival`` waits after the load until every acknowledged key has its row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import Connection, sql

from rig.evidence.history import WHOLE_ANSWERS
from rig.evidence.scenario_runs import RESULT
from rig.evidence.truth import Arrival
from rig.model import Outcome, RequestClass, Row, Scenario, Tenant
from rig.profile import Profile
from rig.requests.targeter import Targeter, Targets
from rig.stats import quantile
from rig.truth.catalog import event_tables
from rig.truth.expected import SentRequests
from rig.truth.tables import EventTables

POLL_S = 0.02
"""Between two questions, at least."""
DUTY = 0.05
"""Questions take at most this share of the time: a slow one is followed by a longer rest."""
SAMPLED_PER_S = 200
_FIRST_CREDIT = 50.0
"""So many keys of a scenario run are watched however short it is."""
_PENDING_MOST = 2_000
_KEYS_NAMED = 5
_LAST_LOOK_S = 1.0
"""How long rows are waited for after the load where no time is promised for their arrival."""
_BY_INDEX = frozenset({"text", "varchar", "uuid"})
_Key = tuple[str, str]
"""(tenant's id, idempotency key)"""


@dataclass(slots=True)
class _Awaited:
    """A key whose request was acknowledged at ``answered_ns``; ``missed_ns``: the last snapshot without its row."""

    answered_ns: int
    missed_ns: int = 0


@dataclass(slots=True)
class _Followed:
    """One scenario run that is followed: where its rows are read, and what was found."""

    scenario: Scenario
    targets: Targets
    files: dict[Path, int]
    good: dict[RequestClass, NDArray[np.int64]]
    """The answers after which a class must have a canonical row."""
    pending: dict[_Key, _Awaited] = field(default_factory=dict)
    seen: set[_Key] = field(default_factory=set)
    lags_ms: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    credit: float = _FIRST_CREDIT


class ArrivalWatch:
    """A context that watches rows arrive; ``follow`` names each scenario run when it begins.

    It runs in a thread of the rig's own process. ``within_s``: how long after the load rows may take to arrive.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        profile: Profile,
        targeter: Targeter,
        tenants: Sequence[Tenant],
        within_s: float | None,
    ) -> None:
        self._connect = connect
        self._profile = profile
        self._targeter = targeter
        self._ids = {tenant.name: tenant.id for tenant in tenants}
        self._within_s = _LAST_LOOK_S if within_s is None else within_s
        self._followed: list[_Followed] = []
        self._gaps_ms: list[float] = []
        self._lock = threading.Lock()
        self.ended_s = 0.0
        """When the load was over (s of the monotonic clock)."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rig-arrival", daemon=True)
        self._reason = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.ended_s = time.monotonic()
        self._ending.set()
        self._thread.join(self._within_s + 10 if kind is None else 10)

    def follow(self, scenario: Scenario, files: Iterable[Path]) -> None:
        """Follow a scenario run whose workers write their rows to ``files``. Call it before it begins.

        One that can leave no canonical row is passed over.
        """
        profile, route = self._profile, scenario.route
        good = {
            kind: np.array(profile.answer(kind, route).status)
            for kind in {share.request_class for share in scenario.shares}
            if profile.row(kind, route) is Row.CANONICAL
        }
        if good:
            self._followed.append(_Followed(scenario, self._targeter.bind(scenario), dict.fromkeys(files, 0), good))

    def finish(self, scenario: Scenario) -> None:
        """Read what the workers of a scenario run have written last. Call it before its rows are moved."""
        with self._lock:
            for run in self._followed:
                if run.scenario == scenario:
                    self._take(run, 0.0)
                    run.files.clear()

    @property
    def awaited(self) -> int:
        """How many watched keys still have no row."""
        with self._lock:
            return sum(len(run.pending) for run in self._followed)

    def arrivals(self) -> tuple[Arrival, ...]:
        """What was found so far of each scenario run that has acknowledged keys."""
        with self._lock:
            return tuple(self._arrival(run) for run in self._followed)

    def _arrival(self, run: _Followed) -> Arrival:
        lags_ms = np.array(run.lags_ms or [0.0])
        return Arrival(
            scenario_run=run.scenario.label,
            scenario=run.scenario.id,
            watched=len(run.lags_ms) + len(run.pending),
            late=len(run.late),
            missing=len(run.pending),
            lag_p50_ms=round(quantile(lags_ms, 0.5), 1),
            lag_p99_ms=round(quantile(lags_ms, 0.99), 1),
            lag_max_ms=round(quantile(lags_ms, 1.0), 1),
            resolution_ms=round(quantile(np.array(self._gaps_ms or [0.0]), 0.5), 1),
            late_keys=tuple(run.late[:_KEYS_NAMED]),
            unwatched=self._reason,
        )

    # --- the thread ---

    def _watch(self) -> None:
        try:
            with self._connect() as connection:
                if _is_standby(connection):
                    self._reason = "the truth DSN is a standby: a row may be late there and in time on the primary"
                    return
                self._poll(_Question(event_tables(connection, self._profile.truth)), connection)
        except psycopg.Error as error:
            self._reason = f"the database could not be asked: {' '.join(str(error).split())}"

    def _poll(self, question: _Question, connection: Connection[Any]) -> None:
        last_ns = time.monotonic_ns()
        deadline: float | None = None
        while True:
            if self._ending.is_set() and deadline is None:
                deadline = time.monotonic() + self._within_s
            with self._lock:
                for run in self._followed:
                    self._take(run, (time.monotonic_ns() - last_ns) / 1e9)
                pending = [key for run in self._followed for key in run.pending]
            began_ns = time.monotonic_ns()
            pending_then = set(pending)
            found = question.ask(connection, pending) if pending else set()
            done_ns = time.monotonic_ns()
            if pending:
                self._gaps_ms.append((done_ns - last_ns) / 1e6)
            last_ns = done_ns
            with self._lock:
                for run in self._followed:
                    _settle(run, pending_then & run.pending.keys(), found, began_ns, done_ns)
            is_done = not any(run.pending for run in self._followed)
            if deadline is not None and (is_done or time.monotonic() >= deadline):
                return
            rest_s = max(POLL_S, (done_ns - began_ns) / 1e9 / DUTY)
            if deadline is None:
                self._ending.wait(rest_s)
            else:
                time.sleep(min(rest_s, max(0.0, deadline - time.monotonic())))

    def _take(self, run: _Followed, elapsed_s: float) -> None:
        """Read what the workers have written since, and await some of the keys that were acknowledged."""
        run.credit = min(SAMPLED_PER_S, run.credit + SAMPLED_PER_S * elapsed_s)
        for path, offset in run.files.items():
            rows, run.files[path] = _read_rows(path, offset)
            for row in rows[np.isin(rows["error_kind"], WHOLE_ANSWERS)]:
                if run.credit < 1 or len(run.pending) >= _PENDING_MOST:
                    break
                share = run.targets.share(int(row["seq"]))
                good = run.good.get(share.request_class)
                if good is not None and int(row["status"]) in good:
                    self._await(run, int(row["seq"]), int(row["done_ns"]))

    def _await(self, run: _Followed, seq: int, answered_ns: int) -> None:
        for expected in run.targets.expect_all(seq):
            key = self._ids.get(expected.tenant, ""), expected.key
            if key not in run.seen:
                run.seen.add(key)
                run.pending[key] = _Awaited(answered_ns)
                run.credit -= 1


def _settle(run: _Followed, asked: set[_Key], found: set[_Key], began_ns: int, done_ns: int) -> None:
    """Take out the keys whose rows are there; note that the others of ``asked`` were not."""
    for key in asked:
        awaited = run.pending[key]
        if key not in found:
            awaited.missed_ns = began_ns
            continue
        del run.pending[key]
        if awaited.missed_ns:
            run.late.append(key[1])
        run.lags_ms.append((done_ns - awaited.answered_ns) / 1e6 if awaited.missed_ns else 0.0)


def _read_rows(path: Path, offset: int) -> tuple[np.ndarray[Any, np.dtype[np.void]], int]:
    """The whole rows of a file from an offset, and where the next begin."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:  # not there yet, or sealed already
        return np.empty(0, RESULT), offset
    whole = len(data) // RESULT.itemsize * RESULT.itemsize
    return np.frombuffer(data[:whole], RESULT), offset + whole


class _Question:
    """Asks for keys, by an index on the column where its type allows."""

    def __init__(self, tables: EventTables) -> None:
        truth = tables.truth.canonical
        column = tables.canonical.columns[truth.key]
        own = column.type if column.type in _BY_INDEX else ""
        self._query = sql.SQL("SELECT {tenant}, {key} FROM {table} WHERE {asked} = ANY({keys}::{kind}[])")
        self._names = {
            "tenant": tables.canonical_tenant,
            "key": tables.canonical_key,
            "table": tables.canonical.source,
            "asked": sql.Identifier(truth.key) if own else column.word,
            "kind": sql.SQL(own or "text"),
        }

    def ask(self, connection: Connection[Any], keys: Sequence[_Key]) -> set[_Key]:
        """Those of the keys that have a row."""
        values = sql.Literal(sorted({key for _, key in keys}))
        return set(connection.execute(self._query.format(keys=values, **self._names)).fetchall())


def _is_standby(connection: Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    return bool(row and row[0])


def await_arrival(
    connect: Callable[[], Connection[Any]],
    profile: Profile,
    sent: SentRequests,
    deadline_s: float,
) -> None:
    """Wait until every acknowledged canonical key has its row, until ``deadline_s`` of the monotonic clock."""
    missing = _acknowledged_keys(sent)
    with connect() as connection:
        question = _Question(event_tables(connection, profile.truth))
        while missing and (asked_s := time.monotonic()) < deadline_s:
            missing -= question.ask(connection, sorted(missing))
            took_s = time.monotonic() - asked_s
            if missing:
                time.sleep(min(max(0.1, 4 * took_s), max(0.0, deadline_s - asked_s - took_s)))


def _acknowledged_keys(sent: SentRequests) -> set[_Key]:
    ids = {tenant.name: tenant.id for tenant in sent.tenants}
    keys: set[_Key] = set()
    for run in sent.scenario_runs:
        targets = sent.targeter.bind(run.scenario)
        for seq in np.flatnonzero(run.codes == Outcome.ACKNOWLEDGED.code).tolist():
            keys |= {(ids.get(one.tenant, ""), one.key) for one in targets.expect_all(seq) if one.row is Row.CANONICAL}
    return keys
