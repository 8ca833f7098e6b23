"""``storm.<race test>.…``: what the five race tests claim, each gate from the figures of one report.

A member of the fleet without a report leaves no gate on PASS: what was seen to be wrong is FAIL all the same, but too
little of something may be the missing member's doing. Every gate also asks that something happened at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Generic, TypeVar

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.race_figures import (
    RACE_KINDS,
    ClaimFigures,
    MigrationFigures,
    RateLimitFigures,
    RefreshFigures,
    TenantFigures,
)
from rig.evidence.storm import RACE_TESTS, StormReport

Figures = TypeVar("Figures")

SCOPE_TOLERANCE = 0.1
"""Share by which a measured cap may differ from the promised one."""

KINDS = {
    storm: {name: GateKind(f"storm.{storm}.{name}", Kind.STORM, rule) for name, rule in race.rules.items()}
    for storm, race in RACE_KINDS.items()
}
RAN = GateKind("storm.*", Kind.STORM, "the storm was run")


def not_run_gate(report: StormReport) -> Gate:
    """The one gate of a storm that was not run: INVALID where it was asked for."""
    verdict = Verdict.INVALID if report.asked else Verdict.NOT_RUN
    return Gate(RAN.of(report.storm), verdict, RAN.rule, reason=report.not_run)


@emits(RAN, *(kind for kinds in KINDS.values() for kind in kinds.values()))
def check_race_tests(case: Case) -> list[Gate]:
    """The gates of every race test of the run."""
    judged = [report for report in case.storms if report.storm in RACE_TESTS and not report.display_only]
    return [gate for report in judged for gate in gates_of(report)]


def gates_of(report: StormReport) -> list[Gate]:
    """The gates of one report."""
    if report.not_run:
        return [not_run_gate(report)]
    return _CHECKERS[report.storm](_Gates(report, RACE_KINDS[report.storm].read(report.figures)))


class _Gates(Generic[Figures]):
    """Makes the gates of one race test from its figures."""

    def __init__(self, report: StormReport, figures: Figures) -> None:
        self.it = figures
        self._storm = report.storm
        self._missing = report.missing

    @property
    def is_whole(self) -> bool:
        """Whether every member reported: only then is too little of something the target's doing."""
        return not self._missing

    def gate(self, name: str, *shown: str, wrong: str = "", weak: str = "") -> Gate:
        """FAIL for what is ``wrong``, INVALID for what makes it ``weak`` or for members without a report, else PASS.

        The gate carries the figures of the names ``shown``.
        """
        figures = {key: _plain(getattr(self.it, key)) for key in shown}
        return KINDS[self._storm][name].decide(figures, wrong=wrong, unproven=weak or "; ".join(self._missing[:3]))

    def not_run(self, name: str, reason: str) -> Gate:
        """A gate whose claim the profile gives no means to try."""
        return KINDS[self._storm][name].not_run(reason)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _if(so: object, words: str) -> str:
    """The words where it is so, else none."""
    return words if so else ""


def _migration_race(gates: _Gates[MigrationFigures]) -> list[Gate]:
    it = gates.it
    failed = _count_failures(it.exit_codes) - it.refused
    failed_again = _count_failures(it.second_exit_codes) - it.second_refused
    again = _if(failed_again, f"{failed_again} replicas failed")
    nothing = _if(not it.commands_expected, "a lone replica changes nothing: there was nothing to race for")
    alone = _lacks_race(it)
    compared = ("commands", "commands_expected", "rows", "rows_expected", "differences", "not_compared")
    runs = sum(it.exit_codes.values())
    nobody = _if(it.nobody_migrated, f"in {it.nobody_migrated} of {len(it.met or [0])} races no replica migrated")
    return [
        gates.gate(
            "once",
            *("replicas", "racing", "met", *compared),
            wrong="; ".join(it.differences[:3]),
            weak=nothing or alone,
        ),
        gates.gate(
            "exit",
            *("replicas", "met", "exit_codes", "refused", "said", "elapsed_s"),
            wrong=_if(failed, f"{failed} of {runs} replicas failed: {', '.join(it.said[:2])}") or nobody,
            weak=alone or _if(not it.exit_codes, "no replica was seen to end"),
        ),
        gates.gate(
            "second-run",
            *("second_exit_codes", "second_changes"),
            wrong="; ".join(filter(None, [*it.second_changes[:3], again])),
            weak=nothing or _if(not it.second_exit_codes, "no replica ran a second time"),
        ),
    ]


def _count_failures(exit_codes: Mapping[str, int]) -> int:
    return sum(count for code, count in exit_codes.items() if code not in ("0", "none"))


def _lacks_race(it: MigrationFigures) -> str:
    if it.met is None:  # a pack from before it was counted
        return _if(it.racing < 2, "no two replicas ran at the same time: nobody raced")
    raced = sum(met >= 2 for met in it.met)
    return _if(not raced, f"in none of {len(it.met)} races a second replica was there when the first changed something")


def _scheduler_claim(gates: _Gates[ClaimFigures]) -> list[Gate]:
    it = gates.it
    late = _if(it.races_cut_short, f"in {it.races_cut_short} races jobs were still being done when timeout_s was over")
    failed = {code: count for code, count in it.exit_codes.items() if code != "0" and not (late and code == "timeout")}
    is_incomplete = gates.is_whole and (it.unfinished or it.jobs_without_effect) and not late
    left = f"{it.unfinished} jobs are not done, {it.jobs_without_effect} had no effect"
    if it.lease_s is not None:
        left = f"never done: {left}, and none was done for {it.lease_s:g} s"
    elif it.held and it.unfinished:
        left += f" (the killed replicas held {len(it.held)}; if they come back after a time, say so in lease_s)"
    return [
        _once(gates),
        gates.gate(
            "all",
            *("jobs", "jobs_without_effect", "unfinished", "killed", "kills"),
            *("recovered_after_s", "exit_codes", "elapsed_s"),
            wrong=_if(is_incomplete, left) or _if(failed, f"replicas ended with {failed}"),
            weak=_if(not it.jobs, "there was no job")
            or _if(late, f"{late}: raise it, or give fewer jobs")
            or _if(it.replicas < 2, "one replica has nobody to do the job that it dies in")
            or _if(
                not it.killed,
                "in a race no replica was seen holding a job, so none was killed in the middle of one: "
                "give more or longer jobs",
            ),
        ),
    ]


def _once(gates: _Gates[ClaimFigures]) -> Gate:
    it = gates.it
    shown = ("replicas", "jobs", "effects", "jobs_repeated", "repeats", "repeated", "killed", "kills")
    weak = _if(not it.effects, "no effect was seen")
    if it.unexplained is None:  # the profile cannot tell whose job was repeated
        allowed = int(it.killed) if it.kills is None else len(it.kills)
        message = f"{it.repeats} repeats of {it.jobs_repeated} jobs, {allowed} allowed"
        return gates.gate("once", *shown, wrong=_if(it.repeats > allowed, message), weak=weak)
    message = f"{it.repeats_unexplained} repeats that no kill explains, of {', '.join(it.unexplained)}"
    shown_too = ("held", "repeats_unexplained", "unexplained")
    return gates.gate("once", *shown, *shown_too, wrong=_if(it.repeats_unexplained, message), weak=weak)


def _rate_limit(gates: _Gates[RateLimitFigures]) -> list[Gate]:
    it = gates.it
    limiters = it.replicas * (it.processes or 1)
    promised = 1 if it.promised == "fleet" else limiters
    excess = (it.scope_factor - promised) / promised
    is_short = excess < -SCOPE_TOLERANCE
    is_shared = it.processes > 1 and promised > 1  # which of them a connection reaches is the system's choice
    is_off = excess > SCOPE_TOLERANCE or (gates.is_whole and bool(it.asked) and is_short and not is_shared)
    is_unreached = it.asked < 2 * it.limit * limiters or not it.limited
    return [
        gates.gate(
            "scope",
            *("scope_factor", "promised", "replicas", "processes", "limit", "window_s", "cap", "granted", "windows"),
            *("asked", "limited", "other_statuses", "answered", "scope_factor_of_each"),
            wrong=_if(is_off, f"the fleet lets through {it.scope_factor:g} times the limit, promised is {promised}")
            or _if(it.other_statuses, f"answers that are neither granted nor limited: {it.other_statuses}"),
            weak=_if(is_unreached, f"{it.asked} requests, {it.limited} limited: the limit was never reached")
            or _if(limiters < 2, "one process cannot tell a shared limit from its own")
            or _if(is_short, f"{it.scope_factor:g} times the limit: not each of {limiters} processes was asked enough")
            or _if(promised == 1, _lacks_processes(it)),
        ),
    ]


def _lacks_processes(it: RateLimitFigures) -> str:
    """Why a limit of each process would have looked like a shared one; empty where it would not."""
    if it.answered == {}:
        return "nobody saw which processes answered: name a header that tells in process_header"
    if it.scope_factor_of_each is None or it.scope_factor_of_each > 1 + 2 * SCOPE_TOLERANCE:
        return ""
    return (
        f"{len(it.answered or ())} of {it.replicas * it.processes} processes answered, the others too seldom: with a "
        f"limit of each the fleet would let through {it.scope_factor_of_each:g} times the limit, as with a shared one"
    )


def _matview_refresh(gates: _Gates[RefreshFigures]) -> list[Gate]:
    it = gates.it
    views = len(it.tenants) or 1
    nothing = _if(not it.refreshes, "no refresh happened")
    short = _if(it.is_short, "the refresh is shorter than a reader waits, so nobody could be seen to wait for it")
    is_one_missing = gates.is_whole and it.askers > 0 and len(it.refreshes_by_view) < views
    is_queue = (it.skipped_late or it.refreshed_in_turn) and not it.is_short
    skip = ("askers", "refreshes", "refreshed_in_turn", "skipped", "skipped_late", "skip_longest_ms")
    readers = ("reads", "reads_blocked", "read_longest_ms", "reader_wait_timeout_ms", "read_errors")
    return [
        gates.gate(
            "single",
            *("askers", "refreshes", "concurrent_max", "refreshes_by_view", "refresh_longest_ms"),
            wrong=_if(it.concurrent_max > 1, f"{it.concurrent_max} refreshes of one view at a time"),
            weak=nothing or _if(it.askers < 2 * views, "one caller has no rival"),
        ),
        gates.gate(
            "skip",
            *(*skip, "refresh_longest_ms"),
            wrong=_if(is_queue, f"{it.refreshed_in_turn} callers refreshed in turn, {it.skipped_late} waited"),
            # The callers' own start is spread over as long: who came late would look like one who waited.
            weak=nothing or short,
        ),
        gates.gate(
            "happens",
            *("refreshes", "refreshes_by_view", "tenants", "ask_errors"),
            wrong="; ".join(it.ask_errors[:2])
            or _if(is_one_missing, f"{len(it.refreshes_by_view)} of {views} views were refreshed"),
            weak=_if(not it.askers, "nobody asked"),
        ),
        gates.gate(
            "readers",
            *(*readers, "refresh_longest_ms"),
            wrong=_if(it.reads_blocked, f"{it.reads_blocked} of {it.reads} reads were blocked")
            or "; ".join(it.read_errors[:2]),
            weak=_if(not it.reads, "no read was made") or short,
        ),
        _own_scheduler(gates),
    ]


def _own_scheduler(gates: _Gates[RefreshFigures]) -> Gate:
    if (it := gates.it.scheduled) is None:
        return gates.not_run("scheduled", "the profile names no scheduler")
    return gates.gate("scheduled", "scheduled", wrong=_if(not it.fired, f"none within {it.after_s} s"))


def _tenant_leak(gates: _Gates[TenantFigures]) -> list[Gate]:
    it = gates.it
    nothing = _if(not it.requests, "nothing was asked")
    read = it.tenants if it.tenants_that_read is None else it.tenants_that_read
    unread = _if(read < it.tenants, f"{it.tenants - read} of {it.tenants} tenants never read anything: who could leak?")
    return [
        gates.gate(
            "visible",
            *("tenants", "connections", "requests", "requests_of_nobody", "leaks", "first_leaks", "tenants_that_read"),
            wrong=_if(it.leaks, f"{it.leaks} requests saw rows of others: {'; '.join(it.first_leaks[:2])}"),
            weak=nothing or unread,
        ),
        gates.gate(
            "own",
            *("requests", "short_answers", "errors"),
            wrong=_if(it.short_answers, f"{it.short_answers} answers were short") or "; ".join(it.errors[:2]),
            weak=nothing,
        ),
        _worker(gates),
        _dead_letters(gates),
    ]


def _worker(gates: _Gates[TenantFigures]) -> Gate:
    if (it := gates.it.worker) is None:
        return gates.not_run("worker", "the profile names no worker_context_sql")
    wrong = _if(it.changed, "the ingested rows are not what they were")
    return gates.gate("worker", "worker", wrong=wrong, weak=_if(not it.tries, "no tamper_sql was given"))


def _dead_letters(gates: _Gates[TenantFigures]) -> Gate:
    if (it := gates.it.failed_jobs) is None:
        return gates.not_run("dead-letters", "the profile names no worker")
    is_amiss = it.found != it.made or it.others > 0
    wrong = _if(is_amiss, f"{it.found} of {it.made} failed jobs were found, and {it.others} other letters")
    return gates.gate("dead-letters", "failed_jobs", wrong=wrong, weak=_if(not it.made, "no job failed"))


_CHECKERS: Mapping[str, Callable[[_Gates[Any]], list[Gate]]] = {
    "migration-race": _migration_race,
    "scheduler-claim": _scheduler_claim,
    "rate-limit": _rate_limit,
    "matview-refresh": _matview_refresh,
    "tenant-leak": _tenant_leak,
}
