"""``capacity.*``: the highest rate that the target holds, and whether it was the target that held no more.

A step is *held* where all that was due was sent and answered as asked, the p95 is within its limit and does not grow
from the first fifth to the last, the rows came in at that rate, and none is wrong. A step that was held counts whatever
the client was like. One that was missed counts only where client and machine did their part; else it was *not driven*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import inf
from typing import Any

import pandas as pd

from rig.checks.answers import STALE
from rig.checks.gates import GateKind, Kind, emits
from rig.checks.instrument import client_limits, describe_lost_rows, weakness
from rig.checks.knee import Estimate, Trial, estimate
from rig.checks.latency_calibration import coverage_gaps, lag_limits, largest_error_ms, too_close
from rig.checks.performance import fifths_p95_ms, is_excused
from rig.checks.rows import FAULTS
from rig.diagnose.strangers import Span, Strangers, find_strangers
from rig.evidence.capacity import CAPACITY, StepResult
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.gate import Gate
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.truth import Arrival, DiscrepancyKind
from rig.limits import STALE_MOST
from rig.model import Outcome
from rig.stats import latency_figures, pacer_lag_ns, quantile, response_ms
from rig.text import counted, number

_BACKLOG_SHARE = 0.1
"""Where rows come after the answer, they may come so much of the step's time later than at the slowest step."""
_GROWTH, _FIFTHS_APART = 0.025, 0.8
"""A p95 that grows by this share of the time: so much of what arrives is never worked off. The first and the last fifth
are so much of a step apart.
"""
_WRONG_ROWS = (*FAULTS, DiscrepancyKind.ALTERED, DiscrepancyKind.VANISHED, DiscrepancyKind.CHANGED)
_NAMED = 3
_WHOLE = 0.9
"""A step that lasts for this share of the time asked for counts as a whole one."""
_CLOCK_SHARE = 0.01
"""Clocks that are unsure by more than this share of a step: its workers may not have sent at the same time."""

HELD = GateKind(
    "capacity.held",
    Kind.PERFORMANCE,
    "the target holds a rate: all is answered as asked, p95 within its limit, rows right; it survives higher ones",
)
BRACKET = GateKind(
    "capacity.bracket",
    Kind.INSTRUMENT,
    "the target itself misses a higher rate, so what it holds is its capacity and not that of client or machine",
)


@dataclass(frozen=True, slots=True)
class CapacityStep:
    """One step of a search, judged. ``why`` it was not held; empty where it was."""

    run: ScenarioRun
    result: StepResult
    why: str
    latencies_ms: dict[str, float]
    answered_per_s: float
    is_brief: bool = False

    @property
    def rate_per_s(self) -> float:
        return self.run.scenario.pace.rate_per_s or 0.0

    @property
    def trial(self) -> Trial:
        """What the search knows of it."""
        return Trial(self.rate_per_s, self.result, self.is_brief)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The answer of a search. ``held_per_s``: the highest rate that was held, 0 for none; ``missed_per_s``: the lowest
    that the target missed, None for none. ``estimate``: where both are there.
    """

    steps: tuple[CapacityStep, ...]
    held_per_s: float
    missed_per_s: float | None
    estimate: Estimate | None

    @property
    def words(self) -> str:
        """The answer as a phrase."""
        if (found := self.estimate) is not None:
            low, high = number(found.low_per_s), number(found.high_per_s)
            return f"{number(found.per_s)}/s, 90 % interval {low} to {high}/s"
        if self.held_per_s:
            return f"at least {self.held_per_s:,.4g}/s"
        if self.missed_per_s is not None:
            return f"less than {self.missed_per_s:,.4g}/s"
        return "not known"

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        return {
            "answer": self.words,
            "estimate": self.estimate and asdict(self.estimate),
            "held_per_s": self.held_per_s,
            "missed_per_s": self.missed_per_s,
            "steps": [
                {"rate_per_s": step.rate_per_s, "result": step.result.value, "why": step.why, "is_brief": step.is_brief}
                | {"answered_per_s": round(step.answered_per_s, 1), **step.latencies_ms}
                for step in self.steps
            ],
        }


def judge_step(case: Case, run: ScenarioRun, arrivals: Sequence[Arrival] = ()) -> CapacityStep:
    """One step, from all that the case has of it. While the search goes on there is no truth but ``arrivals``."""
    rows = case.rows_of(run)
    latencies_ms = latency_figures(rows)
    make = partial(
        CapacityStep,
        run,
        latencies_ms=latencies_ms,
        answered_per_s=_answered_per_s(run, rows),
        is_brief=_is_brief(case, run),
    )
    missing = describe_missing_reports([run]) or describe_lost_rows(case, [run])
    if unseen := "it was interrupted" if run.interrupted else missing:
        return make(StepResult.UNDRIVEN, unseen)
    if apart := "; ".join(_find_unsure_clocks(run)):
        return make(StepResult.UNDRIVEN, apart)
    if not (rows["sent_ns"] > 0).any():
        return make(StepResult.UNDRIVEN, "nothing was sent")
    if wrong := "; ".join((*_wrong_answers(run, rows), *_wrong_rows(case, run))):
        return make(StepResult.MISSED, wrong)

    def find_slow(excused_ms: float = 0.0) -> str:
        return "; ".join((*_slow(run, rows, excused_ms), *_late_rows(case, run, arrivals, excused_ms)))

    if not (slow := find_slow()):
        return make(StepResult.HELD, "")
    if limits := "; ".join(dict.fromkeys(_limits(case, run, rows, find_slow))):
        return make(StepResult.UNDRIVEN, f"{slow}, but {limits}")
    return make(StepResult.MISSED, slow)


def find_capacity(case: Case) -> Capacity:
    """The answer, from all steps of a case."""
    steps = tuple(judge_step(case, run) for run in case.scenario_runs_of(CAPACITY))
    held = max((step.rate_per_s for step in steps if step.result is StepResult.HELD), default=0.0)
    missed = min((step.rate_per_s for step in steps if step.result is StepResult.MISSED), default=None)
    return Capacity(steps, held, missed, estimate([step.trial for step in steps]))


def was_overloaded(case: Case, at_ns: pd.Series[int]) -> pd.Series[bool]:
    """Which moments lie in a step that asked for more than was held, or after it before the next one began."""
    over = pd.Series(data=False, index=at_ns.index)
    for step in find_capacity(case).steps:
        over[at_ns >= case.rows_of(step.run)["intended_ns"].min()] = step.result is not StepResult.HELD
    return over


@emits(HELD, BRACKET)
def check_capacity(case: Case) -> list[Gate]:
    """Both gates; none where no step was made."""
    if not case.scenario_runs_of(CAPACITY):
        return []
    found = find_capacity(case)
    if not any(step.run.scenario.count for step in found.steps):
        return [kind.not_run("it had no request to send") for kind in (HELD, BRACKET)]
    undriven = [step for step in found.steps if step.result is StepResult.UNDRIVEN]
    figures: dict[str, object] = {
        "capacity": found.words,
        "p95_limit_ms": found.steps[0].run.scenario.p95_limit_ms,
        "steps": len(found.steps),
        **{str(result): sum(step.result is result for step in found.steps) for result in StepResult},
        "highest_held_per_s": round(found.held_per_s, 1),
        "lowest_missed_per_s": found.missed_per_s and round(found.missed_per_s, 1),
        "ended": case.capacity.ended if case.capacity else "",
    }
    wrong = unproven = ""
    if not found.held_per_s and found.missed_per_s is not None:
        lowest = min(found.steps, key=lambda step: step.rate_per_s)
        wrong = f"{lowest.rate_per_s:,.4g}/s is not held: {lowest.why}" if lowest.result is StepResult.MISSED else ""
        unproven = f"no step was held: {lowest.why}"
    elif not found.held_per_s:
        unproven = f"no step was driven: {undriven[0].why}"
    elif case.truth is None:
        unproven = NOT_READ
    if case.capacity and case.capacity.broken:
        wrong = case.capacity.broken
    return [HELD.decide(figures, wrong=wrong, unproven=unproven), _bracket(case, found, undriven)]


def _bracket(case: Case, found: Capacity, undriven: list[CapacityStep]) -> Gate:
    figures: dict[str, object] = {
        "width": None if found.estimate is None else f"{found.estimate.width:.1%}",
        "not_driven": [f"{step.rate_per_s:,.4g}/s: {step.why}" for step in undriven[:_NAMED]],
    }
    if not found.held_per_s:
        return BRACKET.not_run("no rate was held", figures)
    if found.estimate is not None:
        return BRACKET.decide(figures)
    said = case.capacity
    if said is not None and found.held_per_s >= said.most_per_s:
        return BRACKET.not_run(f"no more than {said.most_per_s:,.4g}/s was asked for", figures)
    above = [step for step in undriven if step.rate_per_s > found.held_per_s]
    why = said.ended if said else ""
    if above:
        first = min(above, key=lambda step: step.rate_per_s)
        why = f"{first.rate_per_s:,.4g}/s could not be driven: {first.why}"
    return BRACKET.decide(figures, unproven=f"{found.words} is held, and the target missed no higher rate; {why}")


# --- one step ---


def _find_unsure_clocks(run: ScenarioRun) -> Iterator[str]:
    """Workers that may have sent before or after the others: then a step never had the rate that it asked for."""
    most_ms = _CLOCK_SHARE * 1e3 * run.scenario.count / (run.scenario.pace.rate_per_s or 1.0)
    for report in run.present:
        if report.elsewhere is not None and (error_ms := report.elsewhere.clock_error_ns / 1e6) > most_ms:
            yield (
                f"the clock of {report.name} may be off by {error_ms:,.0f} ms, and {most_ms:,.0f} ms are allowed: use "
                "a faster line to it, or longer steps (--seconds)"
            )


def _find_strangers_elsewhere(run: ScenarioRun) -> list[Strangers]:
    """What no worker of the run held of each other machine on which one ran."""
    found = []
    for each in run.elsewhere:
        here = [worker for worker in run.present if worker.elsewhere and worker.elsewhere.boot_id == each.boot_id]
        ours = sum((worker.cpu_user_s + worker.cpu_system_s) / worker.wall_s for worker in here if worker.wall_s)
        cores = len(each.machine.cores_busy) or 1
        share = max(0.0, each.machine.busy - ours / cores)
        found.append(Strangers(share, each.machine.busy, ((f"all on {each.host}", share * cores),)))
    return found


def _is_brief(case: Case, run: ScenarioRun) -> bool:
    """Whether it was shorter than was asked for; a count in whole requests is no exact time."""
    seconds = run.scenario.count / (run.scenario.pace.rate_per_s or 1.0)
    return case.capacity is not None and seconds < _WHOLE * case.capacity.plan.step_s


def _answered_per_s(run: ScenarioRun, rows: pd.DataFrame) -> float:
    """Good answers a second, while requests were due at the full rate."""
    pace = run.scenario.pace
    if rows.empty or not pace.rate_per_s:
        return 0.0
    from_ns = rows["intended_ns"].min() + pace.ramp_over_s * 1e9
    to_ns = rows["intended_ns"].max() + 1e9 / pace.rate_per_s
    good = rows.loc[rows["outcome"] == Outcome.ACKNOWLEDGED, "done_ns"]
    return float(((good > from_ns) & (good <= to_ns)).sum() / (to_ns - from_ns) * 1e9)


def _wrong_answers(run: ScenarioRun, rows: pd.DataFrame) -> Iterator[str]:
    """Answers that no client can be to blame for."""
    refused = rows[rows["outcome"] == Outcome.REFUSED]
    for status, count in refused["status"].value_counts().items():
        yield f"{count:,} of {counted(run.scenario.count, 'answer')} had status {status}"


def _wrong_rows(case: Case, run: ScenarioRun) -> Iterator[str]:
    groups = [group for group in case.truth.groups if group.scenario_run == run.scenario.label] if case.truth else []
    for kind in _WRONG_ROWS:
        if count := sum(group.discrepancies.get(kind, 0) for group in groups):
            yield f"{counted(count, 'row')} {kind.replace('_', ' ')}"


def _late_rows(case: Case, run: ScenarioRun, arrivals: Sequence[Arrival], excused_ms: float) -> Iterator[str]:
    """Where rows come after the answer: whether they came in as fast as they were sent."""
    if not (case.profile.get("truth") or {}).get("arrival"):
        return
    seen = case.truth.arrivals if case.truth is not None else arrivals
    lags_ms, missing = ({each.scenario_run: getattr(each, name) for each in seen} for name in ("lag_p99_ms", "missing"))
    label = run.scenario.label
    slowest = min(case.scenario_runs_of(CAPACITY), key=lambda each: each.scenario.pace.rate_per_s or 0.0)
    base_ms, lag_ms = lags_ms.get(slowest.scenario.label, 0.0), lags_ms.get(label, 0.0)
    allowed_ms = base_ms + _BACKLOG_SHARE * 1e3 * run.scenario.count / (run.scenario.pace.rate_per_s or 1.0)
    if missing.get(label):
        yield f"{counted(missing[label], 'row')} had not come when the next step began"
    elif lag_ms - excused_ms > allowed_ms:
        yield f"rows came {lag_ms:,.0f} ms after their answers (p99): slower than they were sent"


def _slow(run: ScenarioRun, rows: pd.DataFrame, excused_ms: float) -> Iterator[str]:
    """What was too slow, or not answered; still, if each answer had come ``excused_ms`` sooner."""
    limit_ms, p95_ms = run.scenario.p95_limit_ms or 0.0, quantile(response_ms(rows), 0.95) - excused_ms
    sent = rows[rows["sent_ns"] > 0]
    if skipped := run.scenario.count - len(sent):
        yield counted(skipped, "request was not sent", "requests were not sent")
    unanswered = sent[sent["outcome"] != Outcome.ACKNOWLEDGED]
    stale = int((unanswered["error_kind"] == STALE).sum())
    excused = stale if stale <= STALE_MOST * run.scenario.count else 0
    if count := int((unanswered["status"] == 0).sum()) - excused:
        yield f"{counted(count, 'request')} had no answer"
    if not p95_ms <= limit_ms:
        yield f"p95 is {p95_ms:,.0f} ms" if p95_ms < inf else "p95 is no answer"
    else:
        first_ms, last_ms = fifths_p95_ms(rows.sort_values("seq"))
        between_ms = _FIFTHS_APART * 1e3 * run.scenario.count / (run.scenario.pace.rate_per_s or 1.0)
        if last_ms - excused_ms - first_ms > _GROWTH * between_ms:
            yield f"p95 grew from {first_ms:,.0f} to {last_ms:,.0f} ms"


def _limits(case: Case, run: ScenarioRun, rows: pd.DataFrame, find_slow: Callable[[float], str]) -> Iterator[str]:
    """Why a slow step may not be the target's fault. ``find_slow``: what stays if all came so much sooner (ms)."""
    limit_ms, latencies_ms = run.scenario.p95_limit_ms or 0.0, latency_figures(rows)
    yield from client_limits(run)
    if weak := weakness(case.certificate):
        yield weak
    lag_ms, error_ms = quantile(pacer_lag_ns(rows) / 1e6, 0.99), largest_error_ms(case.certificate, run)
    if not find_slow(lag_ms + error_ms):  # what client and clock may have added explains it
        yield from lag_limits(run, rows)
        yield from coverage_gaps(case.certificate, run)
        yield from too_close(case.certificate, latencies_ms["response_p95_ms"], limit_ms)
    here = find_strangers(case.samples, [Span(*run.span_ns)])
    for strangers in ([here] if here else []) + _find_strangers_elsewhere(run):
        if not strangers.noticeable:
            continue
        is_full, theirs_ms = is_excused(inf, 0.0, strangers), 2 * strangers.share * latencies_ms["response_p95_ms"]
        if is_full or (theirs_ms < inf and not find_slow(theirs_ms)):
            yield f"the machine was busy: {strangers}"
    if latencies_ms["response_p95_ms"] > limit_ms and latencies_ms["service_p95_ms"] <= limit_ms:
        yield f"client: requests waited for one of its {run.scenario.pace.connections} connections"
