"""``S8.time`` and ``sustained.*``: how fast, held against a limit.

A limit that was kept with complete accounting stands whatever the client was like: a slow client cannot make a
service look fast. A limit that was missed is the target's fault only when the client was not at its own limit, and when
nobody else had taken the machine.
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
from rig.checks.instrument import client_limits, weakness
from rig.checks.latency_calibration import coverage_gaps, schedule_limits, too_close
from rig.diagnose.machine import weigh_machine
from rig.diagnose.measured import measure
from rig.evidence.case import NO_REPORT, Case, describe_missing_reports
from rig.evidence.gate import Gate, Verdict
from rig.evidence.history import was_skipped
from rig.evidence.scenario_runs import ScenarioRun
from rig.stats import latency_figures, quantile, quantile_figures, response_ms

DEGRADATION_LIMIT = 1.5
"""The last fifth's p95 may be so many times the first fifth's."""
OF_THE_LIMIT = 0.1
"""Of its limit: a p95 below this has room to grow tenfold. What it does down there, in milliseconds, is as much the
disk's and the scheduler's as the target's: a log that syncs in 5 ms now and in 20 ms a second later is no degradation.
"""
_PARTS = 5
_LEAST_IN_PART = 20
"""Of fewer requests the p95 would be the slowest."""

TIME = GateKind(
    "*.time",
    Kind.PERFORMANCE,
    "all requests of a drive are answered in less than its limit, median of its trials",
)
RATE = GateKind("*.rate", Kind.PERFORMANCE, "every request that is due at the rate is sent, none is skipped")
P95 = GateKind("*.p95", Kind.PERFORMANCE, "p95 of the response time, from the intended send, is within its limit")
DEGRADATION = GateKind(
    "*.degradation",
    Kind.PERFORMANCE,
    f"p95 of the last fifth (median of its parts) is at most {DEGRADATION_LIMIT:g} times that of the first fifth, or "
    f"within {OF_THE_LIMIT:.0%} of its limit",
)


@emits(TIME)
def check_time(case: Case) -> list[Gate]:
    """The time gate over the trials of every scenario that has a time limit."""
    timed = dict.fromkeys(
        scenario_run.scenario.id for scenario_run in case.scenario_runs if scenario_run.scenario.limit_s is not None
    )
    return [_time_gate(case, scenario) for scenario in timed]


def _time_gate(case: Case, scenario: str) -> Gate:
    scenario_runs = case.scenario_runs_of(scenario)
    limit_s = scenario_runs[0].scenario.limit_s or 0.0
    count = scenario_runs[0].scenario.count
    rule = f"{count:,} requests are all answered in under {limit_s:g} s, median of {len(scenario_runs)} trials"
    unfinished = [_why_no_time(case, scenario_run) for scenario_run in scenario_runs]
    middle_s = median(
        inf if why else scenario_run.elapsed_s for why, scenario_run in zip(unfinished, scenario_runs, strict=True)
    )
    # A trial without a time weighs as one that never ends; two good ones of three still carry the median.
    in_words = f"{middle_s:.2f} s" if middle_s < inf else max(unfinished)
    figures: dict[str, object] = {
        "median_s": round(middle_s, 2) if middle_s < inf else in_words,
        "limit_s": limit_s,
        "trials_s": [
            why or round(scenario_run.elapsed_s, 2) for why, scenario_run in zip(unfinished, scenario_runs, strict=True)
        ],
        "requests": count,
        "requests_per_s": round(count / middle_s),
        "client_cpu_us_per_request": round(
            median(scenario_run.cpu_us_per_request for scenario_run in scenario_runs), 1
        ),
        "client_all_in_us_per_request": round(
            median(scenario_run.all_in_us_per_request for scenario_run in scenario_runs), 1
        ),
    }
    return _bound_gate(case, TIME.of(scenario), rule, figures, scenario_runs, ok=middle_s < limit_s, reason=in_words)


def _why_no_time(case: Case, scenario_run: ScenarioRun) -> str:
    """Why a trial has no time from first request to last answer, in words; empty when it has."""
    rows = case.rows_of(scenario_run)
    unanswered = scenario_run.scenario.count - int((rows["status"] > 0).sum())
    if was_skipped(rows).any():
        return f"more than {scenario_run.scenario.deadline_s:g} s"
    if unanswered:
        return f"{unanswered} requests without an answer"
    return "" if scenario_run.elapsed_s > 0 else NO_REPORT


def _bound_gate(
    case: Case,
    gate_id: str,
    rule: str,
    figures: dict[str, object],
    scenario_runs: Sequence[ScenarioRun],
    *,
    ok: bool,
    reason: str,
    caveats: Sequence[str] = (),
) -> Gate:
    """The verdict on an upper bound. ``caveats``: why a missed one may not have been missed."""
    if any(scenario_run.interrupted for scenario_run in scenario_runs):
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the run was interrupted")
    if missing := describe_missing_reports(scenario_runs):
        return Gate(gate_id, Verdict.INVALID, rule, figures, missing)
    if ok:
        return Gate(gate_id, Verdict.PASS, rule, figures)
    limits = list(dict.fromkeys(limit for scenario_run in scenario_runs for limit in client_limits(scenario_run)))
    limits += [
        limit for scenario_run in scenario_runs for limit in schedule_limits(scenario_run, case.rows_of(scenario_run))
    ]
    limits += [weak] if (weak := weakness(case.certificate)) else []
    limits += [caveat for scenario_run in scenario_runs for caveat in coverage_gaps(case.certificate, scenario_run)]
    limits += _machine_caveats(case, scenario_runs)
    limits += caveats
    if limits:
        return Gate(gate_id, Verdict.INVALID, rule, figures, f"{reason}, but {'; '.join(limits)}")
    return Gate(gate_id, Verdict.FAIL, rule, figures, reason)


def _machine_caveats(case: Case, scenario_runs: Sequence[ScenarioRun]) -> list[str]:
    """What others took of the machine while the run waited for a core (H-F): it was not the target's then."""
    machine = weigh_machine(measure(case, scenario_runs))
    return [f"machine: {machine.because}"] if machine.outcome == "supported" else []


@emits(RATE, P95, DEGRADATION)
def check_sustained_load(case: Case) -> list[Gate]:
    """The gates of an open loop: response time, degradation, and that all of it was sent."""
    gates: list[Gate] = []
    for scenario_run in case.scenario_runs:
        if scenario_run.scenario.p95_limit_ms is not None:
            gates += _sustained_gates(case, scenario_run, scenario_run.scenario.p95_limit_ms)
    return gates


def _sustained_gates(case: Case, scenario_run: ScenarioRun, limit_ms: float) -> list[Gate]:
    rows = case.rows_of(scenario_run).sort_values("seq")
    scenario_runs = (scenario_run,)
    return [
        _rate_gate(case, scenario_runs, rows),
        _p95_gate(case, scenario_runs, rows, limit_ms),
        _degradation_gate(case, scenario_runs, rows, limit_ms),
    ]


def _rate_gate(case: Case, scenario_runs: tuple[ScenarioRun], rows: pd.DataFrame) -> Gate:
    """How late they were sent is a figure only: the response time counts it, and a missed limit is INVALID by it."""
    scenario = scenario_runs[0].scenario
    rule = f"every request that is due at {scenario.pace.rate_per_s:g}/s is sent, none is skipped"
    sent = rows[rows["sent_ns"] > 0]
    skipped = scenario.count - len(sent)
    figures: dict[str, object] = {
        "requests": scenario.count,
        "skipped": skipped,
        **_shown(quantile_figures("lag", (sent["sent_ns"] - sent["intended_ns"]) / 1e6)),
    }
    return _bound_gate(
        case, RATE.of(scenario.id), rule, figures, scenario_runs, ok=not skipped, reason=f"{skipped} skipped"
    )


def _p95_gate(case: Case, scenario_runs: tuple[ScenarioRun], rows: pd.DataFrame, limit_ms: float) -> Gate:
    rule = f"p95 of the response time, from the intended send, is at most {limit_ms:g} ms"
    latencies = latency_figures(rows)
    p95_ms = latencies["response_p95_ms"]
    figures = {"limit_ms": limit_ms, **_shown(latencies)}
    gate_id = P95.of(scenario_runs[0].scenario.id)
    reason = f"p95 is {_in_ms(p95_ms)} ms"
    caveats = too_close(case.certificate, p95_ms, limit_ms)
    return _bound_gate(
        case, gate_id, rule, figures, scenario_runs, ok=p95_ms <= limit_ms, reason=reason, caveats=caveats
    )


def _degradation_gate(case: Case, scenario_runs: tuple[ScenarioRun], rows: pd.DataFrame, limit_ms: float) -> Gate:
    gate_id, rule = DEGRADATION.of(scenario_runs[0].scenario.id), DEGRADATION.rule
    fifth = len(rows) // 5
    times_ms = response_ms(rows)
    first_ms, last_ms = _lasting_p95(times_ms[:fifth]), _lasting_p95(times_ms[len(rows) - fifth :])
    figures: dict[str, object] = {"first_fifth_p95_ms": _in_ms(first_ms), "last_fifth_p95_ms": _in_ms(last_ms)}
    if not first_ms < inf:
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the first fifth has no p95 to compare the last with")
    reason = f"{_in_ms(last_ms)} ms against {_in_ms(first_ms)} ms"
    ok = last_ms <= max(DEGRADATION_LIMIT * first_ms, OF_THE_LIMIT * limit_ms)
    return _bound_gate(case, gate_id, rule, figures, scenario_runs, ok=ok, reason=reason)


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
