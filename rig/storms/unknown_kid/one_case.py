"""One case of the key storm, live.

Flow: ``run_case`` starts the origin and its recording proxy, makes a database for the subject, starts a fleet, waits
for the start state of the case and releases the fleet. Then it does what the case says (rotation, outage, a fault of
the process that fetches), collects the reports, and puts all that was observed into a ``KeyStorm``. It judges nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rig.evidence.incident import Incident, Mishap
from rig.evidence.key_case import KeyCase, LeaderFault, OriginChange, Start, Token
from rig.evidence.key_storm import CALL_COLUMNS, DatabaseConnections, Decision, Fetch, Holding, KeyStorm, Mark, no_calls
from rig.machine.extras import missing
from rig.machine.supervisor import temporary_folder
from rig.storms.command import prepare
from rig.storms.environment import StormEnvironment
from rig.storms.fleet import Fleet, Member
from rig.storms.pooler import find_pooler, run_pooler
from rig.storms.unknown_kid.call_journal import OpenCall, read_open_calls
from rig.storms.unknown_kid.callers import CallerReport, MemberScript, call_verifier
from rig.storms.unknown_kid.forger import Forged, forging
from rig.storms.unknown_kid.keyring import AUDIENCE, Keyring
from rig.storms.unknown_kid.origin import CountedFetch, LedgerTail, RecordedOrigin, open_origin, read_ledger
from rig.storms.unknown_kid.store_fault import StoreBreaker, breakable_store
from rig.storms.unknown_kid.subjects import Subject
from rig.storms.unknown_kid.watch import DatabaseWatch, FetchWatch, by_member
from rig.target.postgres import Database

_START_S = 120.0
_SLACK_S = 15.0
_LOOK_S = 0.01
_TTL_MOST_S = 60.0
"""A withdrawn key is waited for no longer."""
_TAKEOVER_S = 3.0
"""A stopped leader goes on this long after another should have taken over."""


@dataclass(frozen=True, slots=True)
class CasePlan:
    """The subject, how many processes call it with how many unknown key ids each, and which protections are off."""

    subject: Subject
    keyring: Keyring = field(repr=False)
    processes: int
    key_ids: int = 200
    without: tuple[str, ...] = ()


def run_case(
    environment: StormEnvironment,
    plan: CasePlan,
    case: KeyCase,
    *,
    asked: bool = False,
    fetched_ns: int | None = None,
) -> KeyStorm:
    """Run one case against a subject. ``asked``: it was asked for by name.

    ``fetched_ns`` is when a subject that runs already may last have fetched; None where each case starts its own.
    RigError where what is needed cannot be started.
    """
    empty = _empty_report(plan, case, asked=asked)
    if reason := _reason_not_to_run(environment, plan, case):
        return replace(empty, not_run=reason)
    return _complete(empty, plan, _run_and_observe(environment, plan, case, empty.label, fetched_ns))


def _empty_report(plan: CasePlan, case: KeyCase, *, asked: bool) -> KeyStorm:
    return KeyStorm(
        case=case.name,
        story=case.story,
        subject=plan.subject.name,
        without=plan.without,
        processes=plan.processes,
        verifier_settings=case.verifier_settings,
        gates=case.gates,
        necessary=case.necessary,
        traits=plan.subject.traits,
        asked=asked,
        start=case.start,
    )


def _reason_not_to_run(environment: StormEnvironment, plan: CasePlan, case: KeyCase) -> str:
    """Why this case cannot be run against this subject here; empty where it can."""
    subject = plan.subject
    if subject.needs and not subject.path and (why := missing(subject.needs, "verifiers")):
        return why
    if case.pooled and not subject.uses_database:
        return f"{subject.name} does not use the database, so there is nothing to put a pooler in front of"
    if case.store_fault is not None and not subject.uses_database:
        return f"{subject.name} does not use the database, so nothing of it is away when that is"
    if case.pooled and find_pooler(environment.environ) is None:
        return "pgbouncer is not installed"
    withdraws = case.asks(Token.WITHDRAWN)
    if (case.start is Start.EXPIRED or withdraws) and not subject.traits.expires:
        return f"the keys of {subject.name} never expire by themselves (promises.expires)"
    if withdraws and (ttl_s := case.verifier_settings.ttl_s) > _TTL_MOST_S:
        return f"its keys expire after {ttl_s:g} s (promises.ttl_s), and the rig waits for {_TTL_MOST_S:g} s at most"
    if subject.remote and case.leader_fault is not None:
        return "the rig cannot kill or stop processes of a fleet that runs already"
    if subject.remote and case.start is not Start.CACHED:
        return "the rig cannot choose what a fleet that runs already has cached"
    return ""


@contextmanager
def _database(environment: StormEnvironment, subject: Subject) -> Iterator[Database]:
    """A database for one case, with the tables of the subject where it has any."""
    with environment.database("rig_kids") as database:
        if subject.prepare:
            environ = {"DATABASE_URL": database.runtime_dsn, "MIGRATION_DATABASE_URL": database.admin_dsn}
            command = environment.command(subject.prepare, "storms.unknown-kid.prepare")
            prepare(command, {**environment.environ, **environ}, f"what prepares {subject.name}")
        yield database


@contextmanager
def _open_pooler(environment: StormEnvironment, plan: CasePlan, case: KeyCase, label: str, dsn: str) -> Iterator[str]:
    """The DSN by which the fleet reaches its database: through a pooler in the case that is about one."""
    if not case.pooled:
        yield dsn
        return
    connections = max(2, plan.processes // 2)
    log_file = environment.log_file(f"{label}-pgbouncer")
    with run_pooler(dsn, environment.environ, server_connections=connections, log_file=log_file) as through:
        yield through


def _script(
    plan: CasePlan,
    case: KeyCase,
    url: str,
    dsn: str,
    journal: Path,
    log_file: Path,
    known: tuple[str, ...],
    forged: tuple[Forged, ...],
) -> MemberScript:
    """What every member does."""
    environ = {
        **case.verifier_settings.environ(),
        "JWKS_URL": url,
        "JWKS_ISSUER": plan.keyring.issuer,
        "JWKS_AUDIENCE": AUDIENCE,
        "JWKS_ALGORITHMS": ",".join(plan.subject.traits.algorithms),
        "JWKS_WITHOUT": ",".join(plan.without),
        "DATABASE_URL": dsn,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **dict(plan.subject.environ),
    }
    return MemberScript(
        factory=plan.subject.factory,
        path=plan.subject.path,
        module_dir=plan.subject.module_dir,
        environ=environ,
        journal=str(journal),
        log_file=str(log_file),
        known=known,
        unnamed=plan.keyring.unnamed_tokens(),
        lapsing=plan.keyring.lapsing_tokens() if case.asks(Token.LAPSED) else (),
        rotated=plan.keyring.rotated_token(),
        forged=forged,
        traits=plan.subject.traits,
        clients=tuple(replace(one, count=plan.key_ids if one.count is None else one.count) for one in case.clients),
        warm=case.start is not Start.COLD,
    )


@dataclass
class _FleetObservations:
    """What was seen of the fleet, from its release to its end."""

    released_ns: int
    ended_ns: int = 0
    skew_ns: int | None = None
    members: list[Member] = field(default_factory=list)
    makers: Mapping[int, int] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    killed: int | None = None


@dataclass(frozen=True, slots=True)
class _OutsideObservations:
    """What was seen from outside the fleet since the origin was started; read when the fleet has ended."""

    fleet: _FleetObservations
    origin: Sequence[CountedFetch]
    proxy_fetches: Sequence[CountedFetch]
    connections: DatabaseConnections | None
    decisions: Sequence[Decision]
    holdings: Sequence[Holding]
    open_calls: Sequence[OpenCall]


def _run_and_observe(
    environment: StormEnvironment, plan: CasePlan, case: KeyCase, label: str, fetched_ns: int | None
) -> _OutsideObservations:
    """Start what the case needs, run the fleet to its end, and read what was seen from outside."""
    with ExitStack() as stack:
        database = stack.enter_context(_database(environment, plan.subject))
        origin = stack.enter_context(open_origin(environment.folder / "ledger", label, plan.subject.origin_port))
        plan = replace(plan, keyring=replace(plan.keyring, issuer=origin.issuer(plan.subject.issuer)))
        cache_control = plan.subject.cache_control
        origin.change(document=plan.keyring.document(), issuer=plan.keyring.issuer, cache_control=cache_control)
        watch = stack.enter_context(DatabaseWatch(database.admin_dsn))
        journal = stack.enter_context(temporary_folder("rig-calls-"))
        log_file = environment.log_file(f"{label}-subject")
        known = plan.keyring.known_tokens()
        forged = stack.enter_context(forging(plan.keyring, plan.subject.traits.unchecked, known))
        with (
            _open_pooler(environment, plan, case, label, database.runtime_dsn) as direct,
            breakable_store(case.store_fault, database, direct) as (dsn, breaker),
            Fleet(
                plan.processes, call_verifier, _script(plan, case, origin.url, dsn, journal, log_file, known, forged)
            ) as fleet,
        ):
            observed = _CaseRun(plan, case, origin, fleet, fetched_ns, breaker).run()
        query = plan.subject.decisions_sql
        return _OutsideObservations(
            observed,
            origin=read_ledger(origin.origin_ledger),
            proxy_fetches=read_ledger(origin.proxy_ledger),
            connections=watch.count_connections(),
            decisions=watch.decisions(query) if query else (),
            holdings=watch.holdings,
            open_calls=tuple(call for call in read_open_calls(journal) if call.member != observed.killed),
        )


def _complete(empty: KeyStorm, plan: CasePlan, outside: _OutsideObservations) -> KeyStorm:
    """The report of the storm from its release on. Fetches before it made the start state; they are only counted."""
    seen = outside.fleet
    before = sum(counted.fetch.start_ns < seen.released_ns for counted in outside.origin)
    return replace(
        empty,
        skew_ns=seen.skew_ns,
        released_ns=seen.released_ns,
        ended_ns=seen.ended_ns,
        before=before,
        early=tuple(counted.fetch for counted in outside.origin[:before]),
        fetches=_attribute(outside.origin, before, seen.makers),
        proxy_fetches=tuple(
            counted.fetch for counted in outside.proxy_fetches if counted.fetch.start_ns >= seen.released_ns
        ),
        own=_count_own_fetches(seen.members),
        decisions=tuple(outside.decisions[before:]),
        marks=tuple(seen.marks),
        holdings=tuple(holding for holding in outside.holdings if holding.at_ns >= seen.released_ns),
        connections=outside.connections if plan.subject.uses_database else None,
        missing=tuple(
            f"process {member.number} {member.error}"
            for member in seen.members
            if member.error and member.number != seen.killed
        ),
        incidents=_incidents(seen.members, outside.open_calls),
        calls=_calls(seen.members),
    )


class _CaseRun:
    """One case from the start of the fleet to its last report. All of it happens in one thread."""

    def __init__(
        self,
        plan: CasePlan,
        case: KeyCase,
        origin: RecordedOrigin,
        fleet: Fleet,
        fetched_ns: int | None,
        breaker: StoreBreaker | None,
    ) -> None:
        self._plan = plan
        self._fetched_ns = fetched_ns
        self._case = case
        self._origin = origin
        self._fleet = fleet
        self._tail = LedgerTail(origin.proxy_ledger)
        self._stopped: int | None = None
        self._breaker = breaker

    def run(self) -> _FleetObservations:
        """Prepare, release, watch, collect."""
        try:
            if self._case.start is Start.COLD:
                self._change_origin_now()
            self._wait_for_end_of_cool_down()
            self._fleet.start(_START_S)
            self._wait_for_start_state()
            if self._case.start is not Start.COLD:
                self._change_origin_now()
            seen = _FleetObservations(self._fleet.release())
            self._change_origin_later(seen)
            self._watch(seen)
            return seen
        finally:
            self._tail.close()

    def _change_origin_now(self) -> None:
        for change in self._case.origin:
            if change.at_s <= 0:
                self._origin.change(**self._request(change))

    def _change_origin_later(self, seen: _FleetObservations) -> None:
        for change in self._case.origin:
            at_ns = seen.released_ns + round(max(0.0, change.at_s) * 1e9)
            if change.at_s > 0:
                self._origin.change(**self._request(change), at_ns=at_ns)
            if change.rotated is not None:
                seen.marks.append(Mark(at_ns, "rotation" if change.rotated else "withdrawal"))
            if change.mode is not None:
                seen.marks.append(Mark(at_ns, f"origin {change.mode}"))

    def _request(self, change: OriginChange) -> dict[str, Any]:
        request: dict[str, Any] = {}
        if change.mode is not None:
            request["mode"] = change.mode
        if change.delay_s is not None:
            request["delay_s"] = change.delay_s
        if change.rotated is not None:
            request["document"] = self._plan.keyring.document(rotated=change.rotated)
        return request

    def _wait_for_end_of_cool_down(self) -> None:
        """A fleet that runs already may still be in its cool-down. The first tokens of the members may need a fetch."""
        if self._fetched_ns is not None:
            due_s = self._fetched_ns / 1e9 + self._case.verifier_settings.cool_down_s * 1.02 + 0.02
            time.sleep(max(0.0, due_s - time.monotonic()))

    def _wait_for_start_state(self) -> None:
        """Wait until the last fetch is as long ago as the start state of the case asks."""
        verifier_settings = self._case.verifier_settings
        age_s = {
            Start.COLD: 0.0,
            Start.CACHED: verifier_settings.cool_down_s,
            Start.EXPIRED: verifier_settings.ttl_s + verifier_settings.cool_down_s,
        }
        fetches = self._tail.read()
        last_ns = max((counted.fetch.end_ns or counted.fetch.start_ns for counted in fetches), default=0)
        due_s = last_ns / 1e9 + age_s[self._case.start] * 1.02 + 0.02
        while self._fleet.poll() and (left_s := due_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.1))

    def _watch(self, seen: _FleetObservations) -> None:
        watch = FetchWatch(self._tail, self._fleet.pids, self._origin.port)
        deadline = time.monotonic() + self._case.duration_s + _SLACK_S
        while self._fleet.poll() and time.monotonic() < deadline:
            fetches = watch.read_fetches()
            if self._case.leader_fault is not None:
                since = [counted for counted in fetches if counted.fetch.start_ns >= seen.released_ns]
                self._inject_leader_fault(self._case.leader_fault, seen, since, watch.members)
            if self._breaker is not None:
                self._break_store(self._breaker, seen)
            time.sleep(_LOOK_S)
        if self._stopped is not None:
            self._fleet.cont(self._stopped)
        seen.members = self._fleet.collect(0.0)
        seen.ended_ns = time.monotonic_ns()
        seen.skew_ns = self._fleet.skew_ns
        seen.makers = by_member(watch.read_fetches(), watch.members)

    def _break_store(self, breaker: StoreBreaker, seen: _FleetObservations) -> None:
        """Break the store and heal it, each when it is due."""
        since_s = (time.monotonic_ns() - seen.released_ns) / 1e9
        due = zip(self._case.store_fault_s, ("store away", "store back"), (breaker.strike, breaker.heal), strict=True)
        for at_s, what, act in due:
            if since_s >= at_s and not any(mark.what == what for mark in seen.marks):
                seen.marks.append(Mark(act(), what))

    def _inject_leader_fault(
        self,
        leader_fault: LeaderFault,
        seen: _FleetObservations,
        fetches: list[CountedFetch],
        members: Mapping[str, int],
    ) -> None:
        """Kill or stop the process of the first fetch in the middle of it; a stopped one goes on after the takeover."""
        now_ns = time.monotonic_ns()
        injected = [mark for mark in seen.marks if mark.what == leader_fault.value]
        if not injected:
            first = fetches[0] if fetches else None
            if first is None or now_ns < first.fetch.start_ns + self._case.leader_fault_after_s * 1e9:
                return
            member = members.get(first.peer)
            if member is None or first.fetch.end_ns is not None:
                return  # the fetch is over: without a mark its gate is INVALID
            seen.marks.append(Mark(now_ns, leader_fault.value, member))
            if leader_fault is LeaderFault.KILL:
                self._fleet.kill(member)
                seen.killed = member
            else:
                self._fleet.stop(member)
                self._stopped = member
        elif self._stopped is not None:
            limit_ns = (self._case.verifier_settings.leader_timeout_s + _TAKEOVER_S) * 1e9
            if len(fetches) > 1 or now_ns - injected[0].at_ns > limit_ns:
                self._fleet.cont(self._stopped)
                seen.marks.append(Mark(now_ns, "continue", self._stopped))
                self._stopped = None


def _attribute(fetches: Sequence[CountedFetch], before: int, makers: Mapping[int, int]) -> tuple[Fetch, ...]:
    """The origin's fetches since the release, with the members that were seen at the recording proxy.

    Both count in the same order.
    """
    return tuple(
        replace(counted.fetch, member=makers.get(index)) for index, counted in enumerate(fetches) if index >= before
    )


def _incidents(members: Sequence[Member], open_calls: Sequence[OpenCall]) -> tuple[Incident, ...]:
    """What the members noted, and the calls that did not come back, with what became of their process."""
    noted = [one for member in members if isinstance(member.result, CallerReport) for one in member.result.incidents]
    deaths = {member.number: member.error for member in members if not member.error.startswith("gave no")}
    lost = [
        Incident(Mishap.NO_ANSWER, call.member, call.kind, deaths.get(call.member) or "hung", call.token)
        for call in open_calls
    ]
    return (*lost, *noted)


def _count_own_fetches(members: list[Member]) -> int | None:
    reports = [member.result for member in members if isinstance(member.result, CallerReport)]
    counts = [report.fetches for report in reports if report.fetches is not None]
    return sum(counts) if reports and len(counts) == len(reports) else None


def _calls(members: list[Member]) -> pd.DataFrame:
    rows = [
        (member.number, *call)
        for member in members
        if isinstance(member.result, CallerReport)
        for call in member.result.calls
    ]
    if not rows:
        return no_calls()
    return pd.DataFrame(rows, columns=list(CALL_COLUMNS)).sort_values("start_ns", ignore_index=True)
