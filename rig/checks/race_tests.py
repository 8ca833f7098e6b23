"""``storm.<sister>.…``: what the sister storms claim, each gate from the figures of one report.

A member of the fleet without a report takes every PASS away: what an outside ledger shows to be wrong is FAIL all the
same, but that too little happened is then nobody's fault. Gates bound from both sides: a storm in which nothing
happened passes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.storm import (
    MATVIEW_REFRESH,
    MIGRATION_RACE,
    RATE_LIMIT,
    SCHEDULER_CLAIM,
    SISTERS,
    TENANT_LEAK,
    StormReport,
)

SCOPE_TOLERANCE = 0.1
"""Share by which a measured cap may differ from the promised one."""

_RULES: Mapping[str, Mapping[str, str]] = {
    MIGRATION_RACE: {
        "once": "the database holds what a lone replica makes of it: each version applied exactly once",
        "exit": "every replica ends with exit code 0",
        "second-run": "a second run of all replicas changes nothing and ends with exit code 0",
    },
    SCHEDULER_CLAIM: {
        "once": "each job's effect happens exactly once, but for one repeat of each job that the killed replica held "
        "(where the profile has no held_sql to tell them: one repeat in all, of any job)",
        "all": "every job has its effect and is done, also the one that a killed replica held",
    },
    RATE_LIMIT: {
        "scope": "the fleet lets through what is promised (L for scope fleet, N times L for process), and answers all",
    },
    MATVIEW_REFRESH: {
        "single": "at most one refresh of a view runs at a time, waiting for its lock included",
        "skip": "who does not refresh is answered at once, and nobody refreshes in turn after the first",
        "happens": "a refresh really happens, of every tenant's view where any are declared; no asker gets an error",
        "readers": "readers never wait for a refresh",
        "scheduled": "the target's own scheduler refreshes when nobody asks",
    },
    TENANT_LEAK: {
        "visible": "no request sees a row of another tenant, and a request of nobody sees none",
        "own": "every request of a tenant sees all its own rows",
        "worker": "in the worker's context nothing can change ingested rows",
        "dead-letters": "a job that fails lands among the worker's dead letters, once, with tenant and correlation id",
    },
}
"""What each gate of a storm asks for."""
KINDS = {
    storm: {name: GateKind(f"storm.{storm}.{name}", Kind.STORM, rule) for name, rule in rules.items()}
    for storm, rules in _RULES.items()
}
LOOSE = GateKind("storm.*", Kind.STORM, "the storm was let loose")


def loose(report: StormReport) -> Gate:
    """The one gate of a storm that was not tried: INVALID where it was asked for."""
    verdict = Verdict.INVALID if report.asked else Verdict.NOT_RUN
    return Gate(LOOSE.of(report.storm), verdict, LOOSE.rule, reason=report.not_run)


@emits(LOOSE, *(kind for kinds in KINDS.values() for kind in kinds.values()))
def check_sisters(case: Case) -> list[Gate]:
    """The gates of every sister storm that was let loose."""
    return [gate for report in case.storms if report.storm in SISTERS for gate in gates_of(report)]


def gates_of(report: StormReport) -> list[Gate]:
    """The gates of one report."""
    if report.not_run:
        return [loose(report)]
    return _CHECKERS[report.storm](_Figures(report))


class _Figures:
    """The figures of a report, and gates made from some of them."""

    def __init__(self, report: StormReport) -> None:
        self._report = report
        self.all: Mapping[str, Any] = report.figures

    def __getitem__(self, name: str) -> Any:
        return self.all[name]

    @property
    def whole(self) -> bool:
        """Whether every member reported: only then is too little of something the target's doing."""
        return not self._report.missing

    def gate(self, name: str, shown: str, *, wrong: str = "", weak: str = "") -> Gate:
        """FAIL for what is ``wrong``, INVALID for what makes it ``weak`` or for members without a report, else PASS.

        ``shown`` names the figures that the gate carries, with spaces between.
        """
        kind = KINDS[self._report.storm][name]
        figures = {key: self.all[key] for key in shown.split()}
        weak = weak or "; ".join(self._report.missing[:3])
        verdict = Verdict.FAIL if wrong else Verdict.INVALID if weak else Verdict.PASS
        return Gate(kind.pattern, verdict, kind.rule, figures, wrong or weak)

    def not_run(self, name: str, reason: str) -> Gate:
        """A gate that was not tried."""
        kind = KINDS[self._report.storm][name]
        return Gate(kind.pattern, Verdict.NOT_RUN, kind.rule, reason=reason)


def _if(so: object, words: str) -> str:
    """The words where it is so, else none."""
    return words if so else ""


def _migration_race(it: _Figures) -> list[Gate]:
    failed = {code: count for code, count in it["exit_codes"].items() if code not in ("0", "none")}
    said = ", ".join(it["said"][:2])
    failed_again = {code: count for code, count in it["second_exit_codes"].items() if code not in ("0", "none")}
    failed_again_said = _if(failed_again, f"{sum(failed_again.values())} replicas failed")
    nothing = _if(not it["commands_expected"], "a lone replica changes nothing: there was nothing to race for")
    alone = _if(it["racing"] < 2, "no two replicas ran at the same time: nobody raced")
    return [
        it.gate(
            "once",
            "replicas racing commands commands_expected rows rows_expected differences",
            wrong="; ".join(it["differences"][:3]),
            weak=nothing or alone,
        ),
        it.gate(
            "exit",
            "replicas exit_codes said elapsed_s",
            wrong=_if(failed, f"{sum(failed.values())} of {it['replicas']} replicas failed: {said}"),
            weak=alone,
        ),
        it.gate(
            "second-run",
            "second_exit_codes second_changes",
            wrong="; ".join(filter(None, [*it["second_changes"][:3], failed_again_said])),
            weak=nothing,
        ),
    ]


def _scheduler_claim(it: _Figures) -> list[Gate]:
    failed = {code: count for code, count in it["exit_codes"].items() if code != "0"}
    left = it.whole and (it["unfinished"] or it["jobs_without_effect"])
    return [
        _once(it),
        it.gate(
            "all",
            "jobs jobs_without_effect unfinished killed exit_codes elapsed_s",
            wrong=_if(left, f"{it['unfinished']} jobs are not done, {it['jobs_without_effect']} had no effect")
            or _if(failed, f"replicas ended with {failed}"),
            weak=_if(not it["killed"], "no replica was seen holding a job, so none was killed in mid-job"),
        ),
    ]


def _once(it: _Figures) -> Gate:
    shown = "replicas jobs effects jobs_repeated repeats repeated killed"
    weak = _if(not it["effects"], "no effect was seen")
    if "held" in it.all:  # else the profile cannot tell whose job was repeated
        unexplained = it["repeats_unexplained"]
        names = ", ".join(it["unexplained"])
        wrong = _if(unexplained, f"{unexplained} repeats that no kill explains, of {names}")
        return it.gate("once", f"{shown} held repeats_unexplained unexplained", wrong=wrong, weak=weak)
    allowed = 1 if it["killed"] else 0
    beyond = it["repeats"] > allowed
    wrong = _if(beyond, f"{it['repeats']} repeats of {it['jobs_repeated']} jobs, {allowed} allowed")
    return it.gate("once", shown, wrong=wrong, weak=weak)


def _rate_limit(it: _Figures) -> list[Gate]:
    promised = 1 if it["promised"] == "fleet" else it["replicas"]
    excess = (it["scope_factor"] - promised) / promised
    off = excess > SCOPE_TOLERANCE or (it.whole and excess < -SCOPE_TOLERANCE)
    unreached = it["asked"] < 2 * it["limit"] * it["replicas"] or not it["limited"]
    return [
        it.gate(
            "scope",
            "scope_factor promised replicas limit window_s cap granted windows asked limited other_statuses",
            wrong=_if(off, f"the fleet lets through {it['scope_factor']:g} times the limit, promised is {promised}")
            or _if(it["other_statuses"], f"answers that are neither granted nor limited: {it['other_statuses']}"),
            weak=_if(unreached, f"{it['asked']} questions, {it['limited']} limited: the limit was never reached")
            or _if(it["replicas"] < 2, "one replica cannot tell a shared limit from its own"),
        ),
    ]


def _matview_refresh(it: _Figures) -> list[Gate]:
    views = len(it["tenants"]) or 1
    refreshes, asked = it["refreshes"], it["askers"]
    nothing = _if(not refreshes, "no refresh happened")
    short = it["refresh_longest_ms"] <= it["reader_patience_ms"]
    missed = it.whole and len(it["refreshes_by_view"]) < views
    queued = it["skipped_late"] or it["refreshed_in_turn"]
    return [
        it.gate(
            "single",
            "askers refreshes concurrent_max refreshes_by_view refresh_longest_ms",
            wrong=_if(it["concurrent_max"] > 1, f"{it['concurrent_max']} refreshes of one view at a time"),
            weak=nothing or _if(asked < 2 * views, "one asker has no rival"),
        ),
        it.gate(
            "skip",
            "askers refreshes refreshed_in_turn skipped skipped_late skip_longest_ms refresh_longest_ms",
            wrong=_if(
                queued and not short, f"{it['refreshed_in_turn']} askers refreshed in turn, {it['skipped_late']} waited"
            ),
            # The askers' own start is spread over as long: who came late would look like one who waited.
            weak=nothing or _if(short, "the refresh is shorter than a reader's patience: it could not show a wait"),
        ),
        it.gate(
            "happens",
            "refreshes refreshes_by_view tenants ask_errors",
            wrong="; ".join(it["ask_errors"][:2])
            or _if(missed, f"{len(it['refreshes_by_view'])} of {views} views were refreshed"),
        ),
        it.gate(
            "readers",
            "reads reads_blocked read_longest_ms reader_patience_ms refresh_longest_ms read_errors",
            wrong=_if(it["reads_blocked"], f"{it['reads_blocked']} of {it['reads']} reads were blocked")
            or "; ".join(it["read_errors"][:2]),
            weak=_if(not it["reads"], "no read was made")
            or _if(short, "the refresh is shorter than a reader's patience: it could not show a block"),
        ),
        _scheduled(it),
    ]


def _scheduled(it: _Figures) -> Gate:
    if it["scheduled"] is None:
        return it.not_run("scheduled", "the profile names no scheduler")
    fired, after_s = it["scheduled"]["fired"], it["scheduled"]["after_s"]
    return it.gate("scheduled", "scheduled", wrong=_if(not fired, f"none within {after_s} s"))


def _tenant_leak(it: _Figures) -> list[Gate]:
    nothing = _if(not it["requests"], "nothing was asked")
    told = "tenants_that_read" in it.all  # packs from before it was counted have none
    unread = told and it["tenants"] - it["tenants_that_read"]
    return [
        it.gate(
            "visible",
            "tenants connections requests requests_of_nobody leaks first_leaks" + _if(told, " tenants_that_read"),
            wrong=_if(it["leaks"], f"{it['leaks']} requests saw rows of others: {'; '.join(it['first_leaks'][:2])}"),
            weak=nothing or _if(unread, f"{unread} of {it['tenants']} tenants never read anything: who could leak?"),
        ),
        it.gate(
            "own",
            "requests short_answers errors",
            wrong=_if(it["short_answers"], f"{it['short_answers']} answers were short") or "; ".join(it["errors"][:2]),
            weak=nothing,
        ),
        _worker(it),
        _dead_letters(it),
    ]


def _worker(it: _Figures) -> Gate:
    if it["worker"] is None:
        return it.not_run("worker", "the profile names no worker_context_sql")
    changed, tries = it["worker"]["changed"], it["worker"]["tries"]
    return it.gate(
        "worker",
        "worker",
        wrong=_if(changed, "the ingested rows are not what they were"),
        weak=_if(not tries, "no tamper_sql was given"),
    )


def _dead_letters(it: _Figures) -> Gate:
    if it["failed_jobs"] is None:
        return it.not_run("dead-letters", "the profile names no worker")
    made, found, others = (it["failed_jobs"][name] for name in ("made", "found", "others"))
    amiss = found != made or others > 0
    wrong = _if(amiss, f"{found} of {made} failed jobs were found, and {others} other letters")
    return it.gate("dead-letters", "failed_jobs", wrong=wrong)


_CHECKERS: Mapping[str, Callable[[_Figures], list[Gate]]] = {
    MIGRATION_RACE: _migration_race,
    SCHEDULER_CLAIM: _scheduler_claim,
    RATE_LIMIT: _rate_limit,
    MATVIEW_REFRESH: _matview_refresh,
    TENANT_LEAK: _tenant_leak,
}
