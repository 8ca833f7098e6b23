"""Latency over percentile, on the axis of HDR histograms: each further nine has the same width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rig.evidence.case import Case
from rig.evidence.scenario_runs import ScenarioRun
from rig.report.plots.canvas import (
    COLOURS,
    LIMIT,
    STYLES,
    by_rank,
    log_scale,
    nines,
    nines_axis,
    open_loop_runs,
    panels,
    runs_that_sent,
)
from rig.stats import elapsed_ns, quantile, response_ms
from rig.text import milliseconds, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def latency(case: Case) -> Figure | None:
    """A panel for the closed loop (S8) and one for the open (fixed rates); None without either."""
    groups = [group for group in (runs_that_sent(case, case.scenario_runs_of("S8")), open_loop_runs(case)) if group]
    if not groups:
        return None
    p99_ms = [quantile(response_ms(case.rows_of(run)), 0.99) for group in groups for run in group]
    figure, axes = panels(len(groups), f"Latency: p99 of the response time up to {milliseconds(max(p99_ms))}")
    for group, panel in zip(groups, axes, strict=True):
        _panel(panel, group, [case.rows_of(run) for run in group])
    return figure


def _panel(axes: Axes, group: tuple[ScenarioRun, ...], rows: list[pd.DataFrame]) -> None:
    is_open = bool(group[0].scenario.pace.rate_per_s)
    lowest_ms = []
    for index, (run, frame) in enumerate(zip(group, rows, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        name = f"trial {run.scenario.trial}" if len(group) > 1 else ""
        from_due_ms, from_sent_ms = elapsed_ns(frame, "intended_ns") / 1e6, elapsed_ns(frame, "sent_ns") / 1e6
        if is_open:
            by_rank(axes, from_due_ms, f"{name} response time".strip(), colour, "-")
            by_rank(axes, from_sent_ms, f"{name} service time".strip(), colour, "--")
        else:
            by_rank(axes, from_due_ms, name or "response time", colour, STYLES[index % len(STYLES)])
        lowest_ms.append(quantile(from_sent_ms, 0.02))
    limit_ms = group[0].scenario.p95_limit_ms
    if limit_ms:
        axes.hlines(limit_ms, 0, nines(0.95), color=LIMIT, linewidth=1.5, label=f"p95 limit {number(limit_ms)} ms")
    pace = "open loop" if is_open else "closed loop: response time is service time"
    axes.set_title(f"{group[0].scenario.id} ({pace})", loc="left", fontsize=10)
    most = max(len(frame) for frame in rows)
    nines_axis(axes, most, "share of requests that were at least as fast")
    log_scale(axes)
    # The few fastest requests would take most of the height.
    axes.set(ylabel="latency (ms)", ylim=(max(min(lowest_ms), 1e-3) / 1.5, None))
    axes.legend(frameon=False, loc="lower right", fontsize=9)
