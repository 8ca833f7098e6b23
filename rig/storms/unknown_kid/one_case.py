"""One case of the storm of unknown key ids, live.

Flow: ``storm_case`` starts the origin and its tee, gives the subject a database of its own, has a fleet prepared and
held, waits for the start state of the case, releases, lets happen what the case says (rotation, outage, a blow to the
process that fetches), collects, and reads what the outside saw into a ``KeyStorm``. It judges nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from rig.evidence.key_storm import (
    CALL_COLUMNS,
    Decision,
    Door,
    Fetch,
    Holding,
    KeyCase,
    KeyStorm,
    Lane,
    LeaderFault,
    Mark,
    OriginChange,
    Start,
    no_calls,
)
from rig.machine.extras import missing
from rig.storms.command import prepare
from rig.storms.environment import StormEnvironment
from rig.storms.fleet import Fleet, Member
from rig.storms.pooler import find_pooler, run_pooler
from rig.storms.unknown_kid.callers import Part, Script, Told, storm
from rig.storms.unknown_kid.keyring import AUDIENCE, ISSUER, Keyring
from rig.storms.unknown_kid.origin import Counted, Origin, Tail, counted_origin, read_ledger
from rig.storms.unknown_kid.subjects import Subject
from rig.storms.unknown_kid.watch import DatabaseWatch, FetchWatch, by_member
from rig.target.postgres import Database

_START_S = 120.0
_SLACK_S = 15.0
_LOOK_S = 0.01
_OVERTAKEN_S = 3.0
"""A stopped leader is let go this long after it should have been overtaken."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is stormed, by how many processes, with so many unknown keys each, and which protections off."""

    subject: Subject
    keyring: Keyring = field(repr=False)
    processes: int
    key_ids: int = 200
    without: tuple[str, ...] = ()


def storm_case(
    environment: StormEnvironment,
    plan: Plan,
    case: KeyCase,
    *,
    asked: bool = False,
    exhibit: bool = False,
    fetched_ns: int | None = None,
) -> KeyStorm:
    """Storm a subject with one case, which was ``asked`` for by name, or is an ``exhibit``.

    ``fetched_ns`` is when a subject that runs already may last have fetched; None where each case makes its own.
    RigError where what is needed cannot be started.
    """
    blank = _blank(plan, case, asked=asked, exhibit=exhibit)
    if reason := _impossible(environment, plan, case):
        return replace(blank, not_run=reason)
    return _told(blank, plan, _let_loose(environment, plan, case, blank.label, fetched_ns))


def not_tried(plan: Plan, case: KeyCase, reason: str, *, exhibit: bool = False) -> KeyStorm:
    """What is left of a case that cannot be tried."""
    return replace(_blank(plan, case, exhibit=exhibit), not_run=reason)


def _blank(plan: Plan, case: KeyCase, *, asked: bool = False, exhibit: bool = False) -> KeyStorm:
    return KeyStorm(
        case=case.name,
        story=case.story,
        subject=plan.subject.name,
        without=plan.without,
        processes=plan.processes,
        verifier_settings=case.verifier_settings,
        gates=case.gates,
        necessary=case.necessary,
        asked=asked,
        exhibit=exhibit,
        note=plan.subject.note,
        start=case.start,
    )


def _impossible(environment: StormEnvironment, plan: Plan, case: KeyCase) -> str:
    """Why this case cannot be tried on this subject here; empty where it can."""
    subject = plan.subject
    if subject.needs and not subject.path and (why := missing(subject.needs, "verifiers")):
        return why
    if case.pooled and not subject.shared:
        return f"{subject.name} shares nothing through the database that a pooler could stand before"
    if case.pooled and find_pooler(environment.environ) is None:
        return "pgbouncer is not installed"
    if subject.remote and case.leader_fault is not None:
        return "the processes of the fleet are not the rig's to kill or stop"
    if subject.remote and case.start is not Start.SETTLED:
        return "what the processes of the fleet have cached is not the rig's to choose"
    return ""


@contextmanager
def _database(environment: StormEnvironment, subject: Subject) -> Iterator[Database]:
    """A database for one case, prepared by the subject where it has anything to prepare."""
    with environment.database("rig_kids") as database:
        if subject.prepare:
            environ = {"DATABASE_URL": database.runtime_dsn, "MIGRATION_DATABASE_URL": database.admin_dsn}
            prepare(
                (sys.executable, *subject.prepare), {**environment.environ, **environ}, f"what prepares {subject.name}"
            )
        yield database


@contextmanager
def _way(environment: StormEnvironment, plan: Plan, case: KeyCase, label: str, dsn: str) -> Iterator[str]:
    """The DSN by which the fleet reaches its database: past a pooler in the cases that are about one."""
    if not case.pooled:
        yield dsn
        return
    connections = max(2, plan.processes // 2)
    log_file = environment.log_file(f"{label}-pgbouncer")
    with run_pooler(dsn, environment.environ, server_connections=connections, log_file=log_file) as through:
        yield through


def _script(plan: Plan, case: KeyCase, url: str, dsn: str) -> Script:
    """What every member does."""
    environ = {
        **case.verifier_settings.environ(),
        "JWKS_URL": url,
        "JWKS_ISSUER": ISSUER,
        "JWKS_AUDIENCE": AUDIENCE,
        "JWKS_WITHOUT": ",".join(plan.without),
        "DATABASE_URL": dsn,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **dict(plan.subject.environ),
    }
    return Script(
        factory=plan.subject.factory,
        path=plan.subject.path,
        environ=environ,
        known=plan.keyring.known_tokens(),
        known_key_id=plan.keyring.known_key_id,
        rotated=plan.keyring.rotated_token(),
        parts=tuple(_part(lane, plan.key_ids) for lane in case.lanes),
        warm=case.start is not Start.COLD,
    )


def _part(lane: Lane, key_ids: int) -> Part:
    calls = key_ids if lane.count is None else lane.count
    return Part(lane.token.value, calls, lane.pace_s, lane.from_s, lane.until_s, lane.beside)


@dataclass
class _Seen:
    """What one storm left in the rig's hands."""

    released_ns: int
    ended_ns: int = 0
    skew_ns: int | None = None
    members: list[Member] = field(default_factory=list)
    makers: Mapping[int, int] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    killed: int | None = None


@dataclass(frozen=True, slots=True)
class _Outside:
    """What was seen of one storm from outside, since the origin was started; read when the fleet had gone."""

    seen: _Seen
    origin: Sequence[Counted]
    tee: Sequence[Counted]
    door: Door | None
    decisions: Sequence[Decision]
    holdings: Sequence[Holding]


def _let_loose(
    environment: StormEnvironment, plan: Plan, case: KeyCase, label: str, fetched_ns: int | None
) -> _Outside:
    """Start what the case needs, storm, end the fleet, and read what the outside saw."""
    with ExitStack() as stack:
        database = stack.enter_context(_database(environment, plan.subject))
        origin = stack.enter_context(counted_origin(environment.folder / "ledger", label, plan.subject.origin_port))
        origin.order(document=plan.keyring.document())
        watch = stack.enter_context(DatabaseWatch(database.admin_dsn))
        with (
            _way(environment, plan, case, label, database.runtime_dsn) as dsn,
            Fleet(plan.processes, storm, _script(plan, case, origin.url, dsn)) as fleet,
        ):
            seen = _Storm(plan, case, origin, fleet, fetched_ns).run()
        query = plan.subject.decisions_sql
        return _Outside(
            seen,
            origin=read_ledger(origin.origin_ledger),
            tee=read_ledger(origin.tee_ledger),
            door=watch.door(),
            decisions=watch.decisions(query) if query else (),
            holdings=watch.holdings,
        )


def _told(blank: KeyStorm, plan: Plan, outside: _Outside) -> KeyStorm:
    """The storm from its release on; what was fetched ``before`` made the start state, and is only counted."""
    seen = outside.seen
    before = sum(counted.fetch.start_ns < seen.released_ns for counted in outside.origin)
    return replace(
        blank,
        skew_ns=seen.skew_ns,
        released_ns=seen.released_ns,
        ended_ns=seen.ended_ns,
        before=before,
        fetches=_attributed(outside.origin, before, seen.makers),
        tee=tuple(counted.fetch for counted in outside.tee if counted.fetch.start_ns >= seen.released_ns),
        own=_own(seen.members),
        decisions=tuple(outside.decisions[before:]),
        marks=tuple(seen.marks),
        holdings=tuple(holding for holding in outside.holdings if holding.at_ns >= seen.released_ns),
        door=outside.door if plan.subject.shared else None,
        missing=tuple(
            f"process {member.number} {member.error}"
            for member in seen.members
            if member.error and member.number != seen.killed
        ),
        calls=_calls(seen.members),
    )


class _Storm:
    """The time from the start of the fleet to its last report; what happens in it happens in this one thread."""

    def __init__(self, plan: Plan, case: KeyCase, origin: Origin, fleet: Fleet, fetched_ns: int | None = None) -> None:
        self._plan = plan
        self._fetched_ns = fetched_ns
        self._case = case
        self._origin = origin
        self._fleet = fleet
        self._tail = Tail(origin.tee_ledger)
        self._stopped: int | None = None

    def run(self) -> _Seen:
        """Prepare, release, watch, collect."""
        try:
            if self._case.start is Start.COLD:
                self._order_at_once()
            self._wait_for_leave_to_fetch()
            self._fleet.start(_START_S)
            self._wait_for_start_state()
            if self._case.start is not Start.COLD:
                self._order_at_once()
            seen = _Seen(self._fleet.release())
            self._order_later(seen)
            self._watch(seen)
            return seen
        finally:
            self._tail.close()

    def _order_at_once(self) -> None:
        for change in self._case.origin:
            if change.at_s <= 0:
                self._origin.order(**self._order(change))

    def _order_later(self, seen: _Seen) -> None:
        for change in self._case.origin:
            at_ns = seen.released_ns + round(max(0.0, change.at_s) * 1e9)
            if change.at_s > 0:
                self._origin.order(**self._order(change), at_ns=at_ns)
            if change.rotated:
                seen.marks.append(Mark(at_ns, "rotation"))
            if change.mode is not None:
                seen.marks.append(Mark(at_ns, f"origin {change.mode}"))

    def _order(self, change: OriginChange) -> dict[str, Any]:
        order: dict[str, Any] = {}
        if change.mode is not None:
            order["mode"] = change.mode
        if change.delay_s is not None:
            order["delay_s"] = change.delay_s
        if change.rotated is not None:
            order["document"] = self._plan.keyring.document(rotated=change.rotated)
        return order

    def _wait_for_leave_to_fetch(self) -> None:
        """What runs already keeps its floor from case to case, and the members' first tokens may need a fetch."""
        if self._fetched_ns is not None:
            due_s = self._fetched_ns / 1e9 + self._case.verifier_settings.floor_s * 1.02 + 0.02
            time.sleep(max(0.0, due_s - time.monotonic()))

    def _wait_for_start_state(self) -> None:
        """The age of the cached set is part of the case: wait until the last fetch is as long ago as it says."""
        verifier_settings = self._case.verifier_settings
        age_s = {
            Start.COLD: 0.0,
            Start.SETTLED: verifier_settings.floor_s,
            Start.EXPIRED: verifier_settings.ttl_s + verifier_settings.floor_s,
        }
        fetches = self._tail.read()
        last_ns = max((counted.fetch.end_ns or counted.fetch.start_ns for counted in fetches), default=0)
        due_s = last_ns / 1e9 + age_s[self._case.start] * 1.02 + 0.02
        while self._fleet.poll() and (left_s := due_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.1))

    def _watch(self, seen: _Seen) -> None:
        watch = FetchWatch(self._tail, self._fleet.pids, self._origin.port)
        deadline = time.monotonic() + self._case.duration_s + _SLACK_S
        while self._fleet.poll() and time.monotonic() < deadline:
            fetches = watch.look()
            if self._case.leader_fault is not None:
                since = [counted for counted in fetches if counted.fetch.start_ns >= seen.released_ns]
                self._strike(self._case.leader_fault, seen, since, watch.members)
            time.sleep(_LOOK_S)
        if self._stopped is not None:
            self._fleet.cont(self._stopped)
        seen.members = self._fleet.collect(0.0)
        seen.ended_ns = time.monotonic_ns()
        seen.skew_ns = self._fleet.skew_ns
        seen.makers = by_member(watch.look(), watch.members)

    def _strike(
        self, leader_fault: LeaderFault, seen: _Seen, fetches: list[Counted], members: Mapping[str, int]
    ) -> None:
        """Hit the process of the first fetch, in the middle of it; let a stopped one go when it has been overtaken."""
        now_ns = time.monotonic_ns()
        struck = [mark for mark in seen.marks if mark.what == leader_fault.value]
        if not struck:
            first = fetches[0] if fetches else None
            if first is None or now_ns < first.fetch.start_ns + self._case.leader_fault_after_s * 1e9:
                return
            member = members.get(first.peer)
            if member is None or first.fetch.end_ns is not None:
                return  # nobody is there any more: the case shows no blow, and its gate is not judged
            seen.marks.append(Mark(now_ns, leader_fault.value, member))
            if leader_fault is LeaderFault.KILL:
                self._fleet.kill(member)
                seen.killed = member
            else:
                self._fleet.stop(member)
                self._stopped = member
        elif self._stopped is not None:
            limit_ns = (self._case.verifier_settings.leader_timeout_s + _OVERTAKEN_S) * 1e9
            if len(fetches) > 1 or now_ns - struck[0].at_ns > limit_ns:
                self._fleet.cont(self._stopped)
                seen.marks.append(Mark(now_ns, "continue", self._stopped))
                self._stopped = None


def _attributed(fetches: Sequence[Counted], before: int, makers: Mapping[int, int]) -> tuple[Fetch, ...]:
    """The origin's fetches since the release, with the members that the tee saw: both count in the same order."""
    return tuple(
        replace(counted.fetch, member=makers.get(index)) for index, counted in enumerate(fetches) if index >= before
    )


def _own(members: list[Member]) -> int | None:
    told = [member.result for member in members if isinstance(member.result, Told)]
    counts = [one.fetches for one in told if one.fetches is not None]
    return sum(counts) if told and len(counts) == len(told) else None


def _calls(members: list[Member]) -> pd.DataFrame:
    rows = [
        (member.number, *call) for member in members if isinstance(member.result, Told) for call in member.result.calls
    ]
    if not rows:
        return no_calls()
    return pd.DataFrame(rows, columns=list(CALL_COLUMNS)).sort_values("start_ns", ignore_index=True)
