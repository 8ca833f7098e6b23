"""``littles_law``: do the times in the history agree with what the workers saw while it happened?

Mean in the system = rate × mean response time holds for any load, whatever its distribution. The left side is sampled
by the workers as they go (requests due and not ended, twenty times a second); the right side comes from the rows. Where
the two part, rows are missing or their times are wrong. Beside it stands what the client itself cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.scenario_runs import ScenarioRun

LEAST_S = 2.0
"""Of a shorter drive too few samples were taken."""
SAMPLES_PER_S = 5.0
"""Twenty are taken; of a worker that took fewer than this one cannot say what it saw."""
SHARE, MARGIN = 0.25, 2.0
"""The two mean_in_system may differ by a quarter and two requests: the one is a sample, and both have edges."""

LITTLES_LAW = GateKind(
    "littles_law",
    Kind.INSTRUMENT,
    "mean in the system, as the workers sampled it, is rate × mean response time, as the history has it",
)


@dataclass(frozen=True, slots=True)
class MeanInSystem:
    """Both mean_in_system of the law for one drive, requests."""

    sampled: float
    computed: float

    @property
    def agree(self) -> bool:
        """True when they differ by no more than sampling explains; rows that are gone are not explained by it."""
        allowed = SHARE * max(self.sampled, self.computed) + MARGIN
        return self.computed > 0 and abs(self.sampled - self.computed) <= allowed


@emits(LITTLES_LAW)
def check_littles_law(case: Case) -> list[Gate]:
    """One gate over all drives that lasted long enough; its figures are the client's own cost in every pack."""
    if not case.scenario_runs:
        return []
    gate_id, rule = LITTLES_LAW.pattern, LITTLES_LAW.rule
    long_enough = {
        scenario_run.scenario.label: mean_in_system(scenario_run, case.rows_of(scenario_run))
        for scenario_run in case.scenario_runs
        if scenario_run.complete
        and scenario_run.elapsed_s >= LEAST_S
        and not scenario_run.interrupted
        and _has_samples(scenario_run)
    }
    off = [
        f"{label}: {found.sampled:.1f} sampled, {found.computed:.1f} computed"
        for label, found in long_enough.items()
        if not found.agree
    ]
    figures = {
        "scenario_runs": len(long_enough),
        "in_system": {label: (round(f.sampled, 1), round(f.computed, 1)) for label, f in long_enough.items()},
        **_cost(case.scenario_runs),
    }
    if off:
        return [Gate(gate_id, Verdict.INVALID, rule, figures, "; ".join(off[:5]))]
    if not long_enough:
        return [Gate(gate_id, Verdict.NOT_RUN, rule, figures, f"no drive took {LEAST_S:g} s and was sampled")]
    return [Gate(gate_id, Verdict.PASS, rule, figures)]


def mean_in_system(scenario_run: ScenarioRun, rows: pd.DataFrame) -> MeanInSystem:
    """Both mean_in_system for one drive that has an elapsed time. Pure."""
    sent = rows[rows["sent_ns"] > 0]
    response_ns = (sent["done_ns"] - sent["intended_ns"]).to_numpy(np.int64)
    rate_per_s = len(sent) / scenario_run.elapsed_s
    mean_s = float(response_ns.mean()) / 1e9 if len(sent) else 0.0
    return MeanInSystem(sum(report.in_system_mean for report in scenario_run.present), rate_per_s * mean_s)


def _has_samples(scenario_run: ScenarioRun) -> bool:
    """True when every worker that had something to do looked often enough."""
    return all(r.in_system_samples >= SAMPLES_PER_S * r.wall_s for r in scenario_run.present if r.sent)


def _cost(scenario_runs: tuple[ScenarioRun, ...]) -> dict[str, object]:
    reports = [report for scenario_run in scenario_runs for report in scenario_run.present]
    sent = sum(report.sent for report in reports)
    growth_bytes = max((report.rss_end_bytes - report.rss_start_bytes for report in reports), default=0)
    cpu_s = sum(report.cpu_user_s + report.cpu_system_s for report in reports)
    return {
        "client_cpu_us_per_request": round(cpu_s / sent * 1e6, 1) if sent else 0.0,
        "worker_utilisation_max": round(max((r.utilisation for r in reports if r.wall_s >= LEAST_S), default=0.0), 3),
        "worker_rss_max_mib": round(max((report.max_rss_bytes for report in reports), default=0) / 2**20),
        "worker_rss_growth_max_mib": round(growth_bytes / 2**20, 1),
    }
