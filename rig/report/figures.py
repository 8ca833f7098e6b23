"""The figures of each scenario run, a row each: the same for the report, for a comparison and for a notebook.

Flow: ``scenario_run_figures`` takes a case and gives a frame of the columns in ``FIGURES``. A figure that the evidence
does not hold is NaN, never 0. Latencies are those of ``rig.stats``, which the gates judge too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rig.diagnose import aas
from rig.evidence.case import Case
from rig.evidence.history import span_of
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Outcome
from rig.stats import latency_figures

FIGURES: Mapping[str, str] = {
    "scenario_run": "unique name within the run",
    "scenario": "S1 … S9, sustained, warm-up",
    "step": "N of the ladder step",
    "route": "which of the profile's routes",
    "tenants": "over how many tenants it was spread",
    "trial": "from 1",
    "complete": "every worker reported and nothing was interrupted",
    "acknowledged": "requests answered as their class asks",
    "refused": "requests answered otherwise",
    "indeterminate": "requests without a whole answer: their rows may or may not exist",
    "not_sent": "requests that the rig skipped, or for which no connection could be opened",
    "began_s": "first request, seconds since the run began",
    "elapsed_s": "first request to last answer, seconds",
    "rps": "requests sent in a second",
    "response_p50_ms": "from when a request was due to its answer, milliseconds; infinite: it has none",
    "response_p95_ms": "",
    "response_p99_ms": "",
    "response_max_ms": "",
    "service_p50_ms": "from when a request was sent to its answer, milliseconds; infinite: it has none",
    "service_p95_ms": "",
    "service_p99_ms": "",
    "service_max_ms": "",
    "client_cpu_us_per_request": "processor time of the load workers, user and system, microseconds",
    "client_all_in_us_per_request": "the same with building, signing and the last flush",
    "active_sessions": "average active sessions in the database; NaN with fewer than 10 samples",
}
"""Every column of ``scenario_run_figures`` and what it says."""

_LEAST_LOOKS = 10


def scenario_run_figures(case: Case) -> pd.DataFrame:
    """A row per scenario run, in the order in which they were made; columns: ``FIGURES``."""
    rows = dict(tuple(case.history.groupby("scenario_run", observed=True)))
    nothing = case.history.iloc[:0]
    runs = [_figures(case, run, rows.get(run.scenario.label, nothing)) for run in case.scenario_runs]
    return pd.DataFrame(runs, columns=list(FIGURES))


def _figures(case: Case, run: ScenarioRun, rows: pd.DataFrame) -> dict[str, Any]:
    plan = run.scenario
    sent = rows[rows["sent_ns"] > 0]
    counts = rows["outcome"].value_counts()
    reported = bool(run.present) and len(sent) > 0
    return {
        "scenario_run": plan.label,
        "scenario": plan.id,
        "step": plan.step,
        "route": plan.route,
        "tenants": len(plan.tenants),
        "trial": plan.trial,
        "complete": run.complete and not run.interrupted,
        **{outcome.value: int(counts.get(outcome, 0)) for outcome in Outcome if outcome.value in FIGURES},
        "began_s": (int(sent["sent_ns"].min()) - case.epoch_monotonic_ns) / 1e9 if len(sent) else np.nan,
        "elapsed_s": run.elapsed_s if reported else np.nan,
        "rps": len(sent) / run.elapsed_s if reported and run.elapsed_s else np.nan,
        **latency_figures(rows),
        "client_cpu_us_per_request": run.cpu_us_per_request if reported else np.nan,
        "client_all_in_us_per_request": run.all_in_us_per_request if reported else np.nan,
        "active_sessions": _active_sessions(case, sent),
    }


def _active_sessions(case: Case, sent: pd.DataFrame) -> float:
    if sent.empty or case.samples.sessions.empty:
        return np.nan
    start_ns, end_ns = span_of(sent)
    looks = case.samples.sessions["at_ns"].between(start_ns, end_ns, inclusive="left")
    return float(aas.by_event(case.samples, start_ns, end_ns).sum()) if looks.sum() >= _LEAST_LOOKS else np.nan
