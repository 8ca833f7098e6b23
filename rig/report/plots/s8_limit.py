"""S8 against its limit: answers so far over the time since the first request, a line a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rig.evidence.case import Case
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Outcome
from rig.report.plots.canvas import (
    COLOURS,
    INK,
    LIMIT,
    POINTS,
    STYLES,
    legend_beside,
    panels,
    runs_that_sent,
    seconds,
    sent_rows,
    thousands,
)
from rig.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def s8_limit(case: Case) -> Figure | None:
    """One panel; None without an S8 trial."""
    trials = runs_that_sent(case, case.scenario_runs_of("S8"))
    if not trials:
        return None
    plan = trials[0].scenario
    median_s = float(np.median([trial.elapsed_s for trial in trials]))
    title = f"S8: {number(plan.count)} requests in {median_s:.2f} s" + (" (median)" if len(trials) > 1 else "")
    figure, (axes,) = panels(1, title + (f", limit {number(plan.limit_s)} s" if plan.limit_s else ""))
    for index, trial in enumerate(trials):
        _trial_line(axes, case, trial, COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)])
    axes.axhline(plan.count, color=INK, linewidth=0.8, linestyle=":", label="all requests")
    if plan.limit_s:
        axes.axvline(plan.limit_s, color=LIMIT, linewidth=1.5, label=f"limit {number(plan.limit_s)} s")
        pace = [0, plan.limit_s], [0, plan.count]
        axes.plot(*pace, color=LIMIT, linewidth=0.8, linestyle="--", label="slowest pace that passes")
    axes.set(xlabel="time since the first request (s)", ylabel="requests answered", xlim=(0, None), ylim=(0, None))
    thousands(axes)
    legend_beside(axes)
    return figure


def _trial_line(axes: Axes, case: Case, trial: ScenarioRun, colour: str, style: str) -> None:
    rows = sent_rows(case.rows_of(trial))
    answered = rows["outcome"].isin([Outcome.ACKNOWLEDGED, Outcome.REFUSED]).to_numpy()
    done_s = np.sort(seconds(rows, "done_ns")[answered])
    label = f"trial {trial.scenario.trial}: {trial.elapsed_s:.2f} s"
    if len(done_s) < trial.scenario.count:
        label += f", {number(trial.scenario.count - len(done_s))} not answered"
    points = np.linspace(0, len(done_s) - 1, min(POINTS, len(done_s))).astype(int)
    axes.plot(done_s[points], points + 1, label=label, linewidth=2, color=colour, linestyle=style)
