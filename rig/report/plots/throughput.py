"""Answers per second over time, stacked by outcome: a panel for each S8 trial and each scenario run at a fixed rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rig.evidence.case import Case
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Outcome
from rig.report.plots.canvas import OUTCOMES, open_loop_runs, panels, runs_that_sent, sent_rows, stack_outcomes
from rig.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40
_MOST_PANELS = 4
_WORDS = {
    Outcome.ACKNOWLEDGED: "answered as expected",
    Outcome.REFUSED: "answered otherwise",
    Outcome.INDETERMINATE: "no answer (timeout, lost connection)",
    Outcome.NOT_SENT: "no connection",
}


def throughput(case: Case) -> Figure | None:
    """A panel a scenario run, at most four, on one scale; the largest ones where S8 was not run. None without any."""
    runs = (*runs_that_sent(case, case.scenario_runs_of("S8")), *open_loop_runs(case))[-_MOST_PANELS:] or _largest(case)
    if not runs:
        return None
    rows = [case.rows_of(run) for run in runs]
    sent = [sent_rows(frame) for frame in rows]
    wrong = sum(int((frame["outcome"] != Outcome.ACKNOWLEDGED).sum()) for frame in sent)
    skipped = sum(len(frame) for frame in rows) - sum(len(frame) for frame in sent)
    rates = [round(len(frame) / run.elapsed_s) for run, frame in zip(runs, sent, strict=True) if run.elapsed_s]
    span = " to ".join(number(rate) for rate in sorted({min(rates, default=0), max(rates, default=0)}))
    title = f"Throughput: {span} requests/s, "
    title += f"{number(wrong)} not answered as expected" if wrong else "all answered as expected"
    figure, axes = panels(len(runs), title + (f", {number(skipped)} never sent" if skipped else ""), share_y=True)
    for run, frame, panel in zip(runs, sent, axes, strict=True):
        _draw_outcomes(panel, frame, run)
    axes[0].set_ylabel("answers per second")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(OUTCOMES))
    return figure


def _draw_outcomes(axes: Axes, rows: pd.DataFrame, run: ScenarioRun) -> None:
    first_ns = int(rows["sent_ns"].min())
    last_ns = max(int(rows["done_ns"].max()), first_ns + 1_000_000)
    stack_outcomes(axes, rows, np.linspace(first_ns, last_ns, _BINS + 1), _WORDS)
    axes.set_title(_name(run), loc="left", fontsize=10)
    axes.set(xlabel="time (s)", xlim=(0, (last_ns - first_ns) / 1e9))


def _name(run: ScenarioRun) -> str:
    plan = run.scenario
    if plan.pace.rate_per_s:
        return f"{plan.id}, {number(plan.pace.rate_per_s)}/s due"
    return f"{plan.id} trial {plan.trial}, {run.elapsed_s:.2f} s" if plan.id == "S8" else f"{plan.id} at {plan.step}"


def _largest(case: Case) -> tuple[ScenarioRun, ...]:
    """The three scenario runs with the most requests, in the order in which they were made."""
    runs = runs_that_sent(case, case.scenario_runs)
    chosen = sorted(runs, key=lambda run: -run.scenario.count)[:3]
    return tuple(run for run in runs if run in chosen)
