"""The ladder: median to 99th percentile of each scenario at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rig.evidence.case import Case
from rig.model import Outcome, Scenario
from rig.report.plots.canvas import COLOURS, INK, LIMIT, log_scale, panels, runs_that_sent
from rig.stats import elapsed_ns, quantile, service_ms
from rig.text import milliseconds, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NO_STEPS = ("S8", "warm-up")
_GAP = 0.8
"""Room between two scenarios, in bars."""


def ladder(case: Case) -> Figure | None:
    """One panel, a group of bars a scenario; None where no step was run."""
    rungs: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for run in runs_that_sent(case, case.scenario_runs):
        plan = run.scenario
        if plan.id not in _NO_STEPS and plan.pace.rate_per_s is None:
            rungs.setdefault(plan.id, {}).setdefault(_step(plan), []).append(case.rows_of(run))
    if not rungs:
        return None
    groups = {scenario: {step: pd.concat(rows) for step, rows in rungs[scenario].items()} for scenario in sorted(rungs)}
    figure, (axes,) = panels(1, _seen(groups))
    ticks: dict[float, str] = {}
    at = 0.0
    for scenario, steps in groups.items():
        middle = at + (len(steps) - 1) / 2
        below = axes.get_xaxis_transform()
        axes.text(middle, -0.15, scenario, transform=below, ha="center", va="top", fontweight="bold", color=INK)
        for step, rows in steps.items():
            _bar(axes, at, rows, is_first=not ticks)
            ticks[at] = step
            at += 1
        at += _GAP
    axes.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.set(ylabel="service time (ms)", xlim=(-_GAP, at - 1))
    log_scale(axes)
    axes.legend(frameon=False, loc="lower right", ncols=2, bbox_to_anchor=(1, 1))
    return figure


def _bar(axes: Axes, at: float, rows: pd.DataFrame, *, is_first: bool) -> None:
    times_ms = service_ms(rows)
    longest_ms = float(elapsed_ns(rows, "sent_ns").max()) / 1e6  # an unanswered request is drawn where it was given up
    p50, p99 = (min(quantile(times_ms, share), longest_ms) for share in (0.5, 0.99))
    names = ("p50", "p99") if is_first else ("_p50", "_p99")  # the underscore keeps a label out of the legend
    axes.plot([at, at], [p50, p99], color=COLOURS[0], linewidth=5, alpha=0.35, solid_capstyle="butt")
    axes.plot(at, p50, "o", color=COLOURS[0], markersize=5, label=names[0])
    axes.plot(at, p99, "_", color=INK, markersize=10, markeredgewidth=2, label=names[1])
    wrong = int((rows["outcome"] != Outcome.ACKNOWLEDGED).sum())
    if wrong:
        mark = f"✕ {number(wrong)}"
        axes.annotate(mark, (at, p99), (0, 5), textcoords="offset points", ha="center", color=LIMIT, fontsize=8)


def _seen(groups: dict[str, dict[str, pd.DataFrame]]) -> str:
    p99_ms = {
        (scenario, step): quantile(service_ms(rows), 0.99)
        for scenario, steps in groups.items()
        for step, rows in steps.items()
    }
    (scenario, step), worst_ms = max(p99_ms.items(), key=lambda item: item[1])
    return f"Ladder: slowest p99 {milliseconds(worst_ms)}, of {scenario} at {step.replace(chr(10), ', ')}"


def _step(plan: Scenario) -> str:
    """``50``, ``1k``; a second line when it is spread over many tenants."""
    size = f"{plan.step // 1000}k" if plan.step and plan.step % 1000 == 0 else str(plan.step)
    return f"{size}\nT{len(plan.tenants)}" if len(plan.tenants) > 2 else size
