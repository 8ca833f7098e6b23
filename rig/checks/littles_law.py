"""``littles_law``: the times in the history agree with what the workers saw while they sent.

Mean in the system = rate × mean response time holds for any load. The workers sample the left side twenty times a
second: requests that are due and have not ended. The right side comes from the rows; for requests that were due and
never sent it comes from the workers. Where the two differ, rows are missing or their times are wrong. The gate's
figures also say what the client itself cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate
from rig.evidence.scenario_runs import ScenarioRun

LEAST_SAMPLES = 20
"""Where load begins or ends between two samples, the mean is off by at most half a sample: by a 20th for both ends."""
SAMPLES_PER_S = 5.0
"""Twenty are due. A worker that took fewer than this saw too little."""
SHARE, MARGIN = 0.25, 2.0
"""The two sides may differ by a quarter and two requests, because one of them is sampled."""

LITTLES_LAW = GateKind(
    "littles_law",
    Kind.INSTRUMENT,
    "the mean number of requests in the system, which the workers sampled, is rate × mean response time of the history",
)


@dataclass(frozen=True, slots=True)
class MeanInSystem:
    """Both sides of the law for one scenario run, requests."""

    sampled: float
    computed: float

    @property
    def agree(self) -> bool:
        """True where they differ by no more than sampling explains; missing rows make a larger difference."""
        allowed = SHARE * max(self.sampled, self.computed) + MARGIN
        return self.computed > 0 and abs(self.sampled - self.computed) <= allowed


@emits(LITTLES_LAW)
def check_littles_law(case: Case) -> list[Gate]:
    """One gate over all scenario runs that were sampled often enough; it has the client's cost among its figures."""
    if not case.scenario_runs:
        return []
    weighed = {
        run.scenario.label: mean_in_system(run, case.rows_of(run))
        for run in case.scenario_runs
        if run.complete and run.elapsed_s > 0 and not run.interrupted and _has_samples(run)
    }
    off = [
        f"{label}: {found.sampled:.1f} sampled, {found.computed:.1f} computed"
        for label, found in weighed.items()
        if not found.agree
    ]
    figures = {
        "scenario_runs": len(weighed),
        "in_system": {label: (round(f.sampled, 1), round(f.computed, 1)) for label, f in weighed.items()},
        **_cost(case.scenario_runs),
    }
    if not weighed:
        return [LITTLES_LAW.not_run(f"no scenario run was sampled {LEAST_SAMPLES} times by each worker", figures)]
    return [LITTLES_LAW.decide(figures, unproven="; ".join(off[:5]))]


def mean_in_system(run: ScenarioRun, rows: pd.DataFrame) -> MeanInSystem:
    """Both sides for one scenario run that has an elapsed time. A worker that ended earlier had none later."""
    sampled = sum(
        r.in_system_mean * min(1.0, (r.last_done_ns - r.first_sent_ns) / 1e9 / run.elapsed_s) for r in run.present
    )
    sent = rows[rows["sent_ns"] > 0]
    response_ns = (sent["done_ns"] - sent["intended_ns"]).to_numpy(np.int64)
    rate_per_s = len(sent) / run.elapsed_s
    mean_s = float(response_ns.mean()) / 1e9 if len(sent) else 0.0
    unsent = sum(report.unsent_waited_s for report in run.present) / run.elapsed_s
    return MeanInSystem(sampled, rate_per_s * mean_s + unsent)


def _has_samples(run: ScenarioRun) -> bool:
    """True where every worker that sent anything sampled often enough."""
    return all(r.in_system_samples >= max(LEAST_SAMPLES, SAMPLES_PER_S * r.wall_s) for r in run.present if r.sent)


def _cost(runs: tuple[ScenarioRun, ...]) -> dict[str, object]:
    reports = [report for run in runs for report in run.present]
    sent = sum(report.sent for report in reports)
    growth_bytes = max((report.rss_end_bytes - report.rss_start_bytes for report in reports), default=0)
    cpu_s = sum(report.cpu_user_s + report.cpu_system_s for report in reports)
    return {
        "client_cpu_us_per_request": round(cpu_s / sent * 1e6, 1) if sent else 0.0,
        "worker_utilisation_max": round(
            max((r.utilisation for r in reports if r.in_system_samples >= LEAST_SAMPLES), default=0.0), 3
        ),
        "worker_rss_max_mib": round(max((report.max_rss_bytes for report in reports), default=0) / 2**20),
        "worker_rss_growth_max_mib": round(growth_bytes / 2**20, 1),
    }
