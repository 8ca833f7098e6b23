"""``S8.time`` and ``sustained.*``: how fast, held against a limit.

A limit that was kept with complete accounting stands whatever the client was like: a slow client cannot make a
service look fast. A limit that was missed is the target's fault only when the client was not at its own limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import pandas as pd

from rig.checks.case import Case
from rig.checks.instrument import client_limits, weakness
from rig.model import DriveReport, Gate, Verdict

DEGRADATION_LIMIT = 1.5
"""The last fifth's p95 may be so many times the first fifth's."""


def check_time(case: Case) -> list[Gate]:
    """The time gate over the trials of every scenario that has a time limit."""
    timed = dict.fromkeys(drive.scenario.id for drive in case.drives if drive.scenario.limit_s is not None)
    return [_time_gate(case, scenario) for scenario in timed]


def _time_gate(case: Case, scenario: str) -> Gate:
    drives = case.drives_of(scenario)
    limit_s = drives[0].scenario.limit_s or 0.0
    count = drives[0].scenario.count
    rule = f"{count:,} requests are all answered in under {limit_s:g} s, median of {len(drives)} trials"
    gate_id = f"{scenario}.time"
    elapsed_s = [_elapsed_s(case, drive) for drive in drives]
    middle_s = median(elapsed_s)
    figures: dict[str, object] = {
        "median_s": _seconds(middle_s, drives),
        "limit_s": limit_s,
        "trials_s": [_seconds(value, drives) for value in elapsed_s],
        "requests": count,
        "requests_per_s": round(count / middle_s) if middle_s < float("inf") else 0,
        "client_cpu_us_per_request": round(median(drive.cpu_us_per_request for drive in drives), 1),
        "client_all_in_us_per_request": round(median(drive.all_in_us_per_request for drive in drives), 1),
    }
    return _bounded(case, gate_id, rule, figures, drives, ok=middle_s < limit_s, reason=f"{figures['median_s']} s")


def _elapsed_s(case: Case, drive: DriveReport) -> float:
    """First request to last answer; infinite when a request was not answered."""
    answered = int((case.rows_of(drive)["status"] > 0).sum())
    return drive.elapsed_s if answered == drive.scenario.count else float("inf")


def _seconds(value: float, drives: Sequence[DriveReport]) -> float | str:
    return round(value, 2) if value < float("inf") else f"more than {drives[0].scenario.deadline_s:g}"


def _bounded(
    case: Case,
    gate_id: str,
    rule: str,
    figures: dict[str, object],
    drives: Sequence[DriveReport],
    *,
    ok: bool,
    reason: str,
) -> Gate:
    """The verdict on an upper bound (CONTRACT section 10)."""
    if any(drive.interrupted for drive in drives):
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the run was interrupted")
    missing = [note for drive in drives if not drive.complete for note in drive.notes]
    if missing:
        return Gate(gate_id, Verdict.INVALID, rule, figures, "; ".join(missing))
    if ok:
        return Gate(gate_id, Verdict.PASS, rule, figures)
    limits = list(dict.fromkeys(limit for drive in drives for limit in client_limits(drive)))
    limits += [weak] if (weak := weakness(case.certificate)) else []
    if limits:
        return Gate(gate_id, Verdict.INVALID, rule, figures, f"{reason}, but {'; '.join(limits)}")
    return Gate(gate_id, Verdict.FAIL, rule, figures, reason)


def check_sustained(case: Case) -> list[Gate]:
    """The gates of an open loop: response time, degradation, and that the rate was really offered."""
    gates: list[Gate] = []
    for drive in case.drives:
        if drive.scenario.p95_limit_ms is not None:
            gates += _sustained_gates(case, drive, drive.scenario.p95_limit_ms)
    return gates


def _sustained_gates(case: Case, drive: DriveReport, limit_ms: float) -> list[Gate]:
    name = drive.scenario.id
    rows = case.rows_of(drive)
    sent = rows[rows["sent_ns"] > 0].sort_values("intended_ns")
    response_ms = (sent["done_ns"] - sent["intended_ns"]) / 1e6
    skipped = drive.scenario.count - len(sent)
    rate_rule = f"{drive.scenario.pace.rate_per_s:g} requests/s are offered on schedule, none skipped"
    rate_figures: dict[str, object] = {
        "requests": drive.scenario.count,
        "skipped": skipped,
        **_quantiles("lag_ms", (sent["sent_ns"] - sent["intended_ns"]) / 1e6),
    }
    p95_rule = f"p95 of the response time, from the intended send, is at most {limit_ms:g} ms"
    p95_ms = float(response_ms.quantile(0.95)) if len(sent) else float("inf")
    p95_figures: dict[str, object] = {
        "limit_ms": limit_ms,
        **_quantiles("response_ms", response_ms),
        **_quantiles("service_ms", (sent["done_ns"] - sent["sent_ns"]) / 1e6),
    }
    drift_rule = f"p95 of the last fifth is at most {DEGRADATION_LIMIT:g} times that of the first fifth"
    first_ms, last_ms = _fifths(response_ms)
    drift_figures: dict[str, object] = {
        "first_fifth_p95_ms": round(first_ms, 2),
        "last_fifth_p95_ms": round(last_ms, 2),
    }
    drifted = f"{last_ms:.1f} ms against {first_ms:.1f} ms"
    drives = (drive,)
    return [
        _bounded(case, f"{name}.rate", rate_rule, rate_figures, drives, ok=not skipped, reason=f"{skipped} skipped"),
        _bounded(case, f"{name}.p95", p95_rule, p95_figures, drives, ok=p95_ms <= limit_ms, reason=f"{p95_ms:.1f} ms"),
        _bounded(
            case,
            f"{name}.degradation",
            drift_rule,
            drift_figures,
            drives,
            ok=len(sent) > 0 and last_ms <= DEGRADATION_LIMIT * first_ms,
            reason=drifted,
        ),
    ]


def _quantiles(name: str, values: pd.Series[float]) -> dict[str, object]:
    if values.empty:
        return {}
    return {f"{name}_p{share:g}": round(float(np.percentile(values, share)), 3) for share in (50, 95, 99, 100)}


def _fifths(values: pd.Series[float]) -> tuple[float, float]:
    """p95 of the first and of the last fifth, ms; the values stand in the order they were due."""
    if len(values) < 5:
        return 0.0, 0.0
    fifth = len(values) // 5
    return float(values.iloc[:fifth].quantile(0.95)), float(values.iloc[-fifth:].quantile(0.95))
