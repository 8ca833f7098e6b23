"""``S8.time`` and ``sustained.*``: how fast, held against a limit.

A limit that was kept, with all requests accounted for, passes whatever the client was like: a slow client cannot make a
service look fast. A missed limit is the target's fault only where the client was not at its own limit and strangers do
not explain it. One rule holds for all gates: where strangers held a share s of the machine while the figure arose, the
figure without them would be (1 − 2 s) of it. Only where that is within the limit, the gate is INVALID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf, isnan
from statistics import median

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.instrument import client_limits, describe_lost_rows, weakness
from rig.checks.latency_calibration import coverage_gaps, schedule_limits, too_close
from rig.diagnose.numbers import BUSY, FOREIGN
from rig.diagnose.strangers import Span, Strangers, find_strangers, merge_spans
from rig.errors import ErrorKind
from rig.evidence.capacity import CAPACITY
from rig.evidence.case import NO_REPORT, Case, describe_missing_reports
from rig.evidence.gate import Gate, Verdict
from rig.evidence.history import was_skipped
from rig.evidence.scenario_runs import ScenarioRun
from rig.stats import latency_figures, quantile, quantile_figures, response_ms

DEGRADATION_LIMIT = 1.5
"""The p95 of the last fifth over that of the first fifth may be this much."""
OF_THE_LIMIT = 0.1
"""A p95 below this share of its limit has room to grow tenfold, and does not count as degraded. At a few milliseconds
the disk and the scheduler matter as much as the target: a log may sync in 5 ms now and in 20 ms a second later."""
_NOTHING = "it had no request to send"
_PARTS = 5
_LEAST_IN_PART = 20
"""With fewer requests the p95 would be the slowest of them."""
_LEAST_IN_FIFTH = 5
"""With fewer requests their median says no more."""

TIME = GateKind(
    "*.time",
    Kind.PERFORMANCE,
    "all requests of a trial are answered within the limit, median of the trials",
)
RATE = GateKind("*.rate", Kind.PERFORMANCE, "every request that is due at the rate is sent, none is skipped")
P95 = GateKind(
    "*.p95", Kind.PERFORMANCE, "p95 of the response time, counted from when a request was due, is within its limit"
)
DEGRADATION = GateKind(
    "*.degradation",
    Kind.PERFORMANCE,
    f"p95 of the last fifth (median of its parts) is at most {DEGRADATION_LIMIT:g} times that of the first fifth, "
    f"or at most {OF_THE_LIMIT:.0%} of its limit",
)


@emits(TIME)
def check_time(case: Case) -> list[Gate]:
    """The time gate over the trials of every scenario that has a time limit."""
    timed = dict.fromkeys(run.scenario.id for run in case.scenario_runs if run.scenario.limit_s is not None)
    return [
        _time_gate(case, scenario)
        if any(run.scenario.count for run in case.scenario_runs_of(scenario))
        else TIME.not_run(_NOTHING, name=scenario)
        for scenario in timed
    ]


def _time_gate(case: Case, scenario: str) -> Gate:
    runs = case.scenario_runs_of(scenario)
    limit_s = runs[0].scenario.limit_s or 0.0
    count = runs[0].scenario.count
    rule = f"{count:,} requests are all answered in under {limit_s:g} s, median of {len(runs)} trials"
    unfinished = [_why_no_time(case, run) for run in runs]
    middle_s = median(inf if why else run.elapsed_s for why, run in zip(unfinished, runs, strict=True))
    # A trial without a time counts as one that never ends, so two good trials of three still make the median.
    in_words = f"{middle_s:.2f} s" if middle_s < inf else next(why for why in unfinished if why)
    figures: dict[str, object] = {
        "median_s": round(middle_s, 2) if middle_s < inf else in_words,
        "limit_s": limit_s,
        "trials_s": [why or round(run.elapsed_s, 2) for why, run in zip(unfinished, runs, strict=True)],
        "requests": count,
        "requests_per_s": round(count / middle_s),
        "client_cpu_us_per_request": round(median(run.cpu_us_per_request for run in runs), 1),
        "client_all_in_us_per_request": round(median(run.all_in_us_per_request for run in runs), 1),
    }
    seen = [find_strangers(case.samples, [Span(*run.span_ns)]) for run in runs]
    alone_s = median(_time_alone_s(case, run, strangers) for run, strangers in zip(runs, seen, strict=True))
    worst = max((strangers for strangers in seen if strangers), key=lambda strangers: strangers.share, default=None)
    return _bound_gate(
        case,
        TIME.of(scenario),
        rule,
        figures,
        runs,
        ok=middle_s < limit_s,
        reason=in_words,
        strangers=worst,
        excused=alone_s < limit_s,
        alone=f"{alone_s:.2f} s" if alone_s < inf else "",
    )


def _why_no_time(case: Case, run: ScenarioRun) -> str:
    """Why a trial has no time from first request to last answer, with the time that it took at least; "" if it has."""
    rows = case.rows_of(run)
    unanswered = run.scenario.count - int((rows["status"] > 0).sum())
    if was_skipped(rows).any():
        return f"more than {run.scenario.deadline_s:g} s"
    if unanswered and run.elapsed_s > 0:
        return f"≥ {run.elapsed_s:.2f} s, {unanswered} requests without an answer"
    return "" if run.elapsed_s > 0 else NO_REPORT


def _time_alone_s(case: Case, run: ScenarioRun, strangers: Strangers | None) -> float:
    """How long a trial would have taken at least without strangers. No stranger explains a lost connection."""
    rows = case.rows_of(run)
    if was_skipped(rows).any():
        return _alone(max(run.elapsed_s, run.scenario.deadline_s), strangers)
    lost = (rows["status"] == 0) & (rows["error_kind"] != ErrorKind.TIMEOUT.name.lower())
    return inf if lost.any() or len(rows) < run.scenario.count else _alone(run.elapsed_s, strangers)


def _alone(figure: float, strangers: Strangers | None) -> float:
    """What a figure would have been without the strangers that were there while it arose."""
    return figure * max(0.0, 1 - 2 * strangers.share) if strangers and strangers.noticeable else figure


def _bound_gate(
    case: Case,
    gate_id: str,
    rule: str,
    figures: dict[str, object],
    runs: Sequence[ScenarioRun],
    *,
    ok: bool,
    reason: str,
    strangers: Strangers | None = None,
    excused: bool = False,
    alone: str = "",
    caveats: Sequence[str] = (),
) -> Gate:
    """Judge an upper bound. ``caveats``, and strangers where ``excused``, say why a missed one may not be.

    ``alone`` is what the figure would have been at least without the strangers.
    """
    if strangers and strangers.noticeable:
        figures = figures | {"strangers_share": round(strangers.share, 3)}
    missing = "the run was interrupted" if any(run.interrupted for run in runs) else describe_missing_reports(runs)
    missing = missing or describe_lost_rows(case, runs)
    if ok or missing:
        return Gate(gate_id, Verdict.INVALID if missing else Verdict.PASS, rule, figures, missing)
    limits = list(dict.fromkeys(limit for run in runs for limit in client_limits(run)))
    limits += [limit for run in runs for limit in schedule_limits(run, case.rows_of(run))]
    limits += [weak] if (weak := weakness(case.certificate)) else []
    limits += [caveat for run in runs for caveat in coverage_gaps(case.certificate, run)]
    disturbed = strangers is not None and strangers.noticeable
    if disturbed and excused:
        limits += [f"the machine was busy: {strangers}: try again on a quiet one"]
    limits += caveats
    if limits:
        return Gate(gate_id, Verdict.INVALID, rule, figures, f"{reason}, but {'; '.join(limits)}")
    at_least = f", and without them it would be {alone} at least" if alone else ""
    beside = f", which does not come from others: {strangers}{at_least}" if disturbed else ""
    return Gate(gate_id, Verdict.FAIL, rule, figures, f"{reason}{beside}")


@emits(RATE, P95, DEGRADATION)
def check_sustained_load(case: Case) -> list[Gate]:
    """The gates of an open loop: response time, degradation, and whether all requests were sent.

    None for the steps of ``rig capacity``, which are to miss their limit in the end.
    """
    gates: list[Gate] = []
    for run in case.scenario_runs:
        if run.scenario.p95_limit_ms is None or run.scenario.id == CAPACITY:
            continue
        if not run.scenario.count:
            gates += [kind.not_run(_NOTHING, name=run.scenario.id) for kind in (RATE, P95, DEGRADATION)]
        else:
            gates += _sustained_gates(case, run, run.scenario.p95_limit_ms)
    return gates


def _sustained_gates(case: Case, run: ScenarioRun, limit_ms: float) -> list[Gate]:
    rows = case.rows_of(run).sort_values("seq")
    runs = (run,)
    return [
        _rate_gate(case, runs, rows),
        _p95_gate(case, runs, rows, limit_ms),
        _degradation_gate(case, runs, rows, limit_ms),
    ]


def _rate_gate(case: Case, runs: tuple[ScenarioRun], rows: pd.DataFrame) -> Gate:
    """The lag is a figure only. The response time includes it, and a large lag makes a missed limit INVALID."""
    scenario = runs[0].scenario
    rule = f"every request that is due at {scenario.pace.rate_per_s:g}/s is sent, none is skipped"
    sent = rows[rows["sent_ns"] > 0]
    skipped = scenario.count - len(sent)
    figures: dict[str, object] = {
        "requests": scenario.count,
        "skipped": skipped,
        **_shown(quantile_figures("lag", (sent["sent_ns"] - sent["intended_ns"]) / 1e6)),
    }
    return _bound_gate(case, RATE.of(scenario.id), rule, figures, runs, ok=not skipped, reason=f"{skipped} skipped")


def _p95_gate(case: Case, runs: tuple[ScenarioRun], rows: pd.DataFrame, limit_ms: float) -> Gate:
    rule = f"p95 of the response time, from when a request was due, is at most {limit_ms:g} ms"
    latencies = latency_figures(rows)
    p95_ms = latencies["response_p95_ms"]
    late = rows[response_ms(rows) > limit_ms]
    spans = merge_spans(Span(due, done) for due, done in zip(late["intended_ns"], late["done_ns"], strict=True))
    strangers = find_strangers(case.samples, spans)
    return _bound_gate(
        case,
        P95.of(runs[0].scenario.id),
        rule,
        {"limit_ms": limit_ms, **_shown(latencies)},
        runs,
        ok=p95_ms <= limit_ms,
        reason=f"p95 is {_in_ms(p95_ms)} ms",
        strangers=strangers,
        excused=is_excused(p95_ms, limit_ms, strangers),
        alone=f"{_in_ms(_alone(p95_ms, strangers))} ms" if p95_ms < inf else "",
        caveats=too_close(case.certificate, p95_ms, limit_ms),
    )


def is_excused(figure_ms: float, limit_ms: float, strangers: Strangers | None) -> bool:
    """Whether strangers may have caused a response time over its limit.

    In an open loop a queue grows as long as cores are missing, however few, so a full machine that is largely theirs
    explains any time.
    """
    if strangers is None:
        return False
    full = strangers.busy >= BUSY and strangers.share >= FOREIGN
    return full or (figure_ms < inf and _alone(figure_ms, strangers) <= limit_ms)


def _degradation_gate(case: Case, runs: tuple[ScenarioRun], rows: pd.DataFrame, limit_ms: float) -> Gate:
    gate_id, rule = DEGRADATION.of(runs[0].scenario.id), DEGRADATION.rule
    first_ms, last_ms = fifths_p95_ms(rows)
    figures: dict[str, object] = {"first_fifth_p95_ms": _in_ms(first_ms), "last_fifth_p95_ms": _in_ms(last_ms)}
    if not first_ms < inf:
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the first fifth has no p95 to compare the last with")
    allowed_ms = max(DEGRADATION_LIMIT * first_ms, OF_THE_LIMIT * limit_ms)
    last = rows[len(rows) - len(rows) // 5 :]
    strangers = find_strangers(case.samples, [Span(int(last["intended_ns"].min()), int(last["done_ns"].max()))])
    return _bound_gate(
        case,
        gate_id,
        rule,
        figures,
        runs,
        ok=last_ms <= allowed_ms,
        reason=f"{_in_ms(last_ms)} ms against {_in_ms(first_ms)} ms",
        strangers=strangers,
        excused=is_excused(last_ms, allowed_ms, strangers),
        caveats=_describe_few(response_ms(last), allowed_ms),
    )


def _describe_few(last_ms: NDArray[np.float64], allowed_ms: float) -> list[str]:
    """Why a last fifth shows no degradation: it has few requests, and some slow ones among them are not most."""
    count = len(last_ms)
    if count >= _LEAST_IN_PART or (count >= _LEAST_IN_FIFTH and quantile(last_ms, 0.5) > allowed_ms):
        return []
    return [f"a fifth has {count} requests, of which the slowest is the p95: send for longer, or more of them"]


def fifths_p95_ms(rows: pd.DataFrame) -> tuple[float, float]:
    """The lasting p95 of the first and of the last fifth of an open loop, whose rows are in their order."""
    fifth, times_ms = len(rows) // 5, response_ms(rows)
    return _lasting_p95(times_ms[:fifth]), _lasting_p95(times_ms[len(rows) - fifth :])


def _lasting_p95(values: NDArray[np.float64]) -> float:
    """The median of the p95 of up to five parts, one after another.

    A single stall, such as a disk that syncs for a tenth of a second, raises the p95 of a whole fifth of a short
    scenario run, but only of one part in it. A service that degrades stays slow in most parts.
    """
    parts = max(1, min(_PARTS, len(values) // _LEAST_IN_PART))
    ends = [len(values) * part // parts for part in range(parts + 1)]
    return median(quantile(values[begin:end], 0.95) for begin, end in pairwise(ends))


def _shown(figures: Mapping[str, float]) -> dict[str, object]:
    """The figures that there are, fit for JSON, which has no infinity."""
    return {name: _in_ms(value) for name, value in figures.items() if not isnan(value)}


def _in_ms(value: float) -> float | str:
    return round(value, 3) if value < inf else "no answer"
