"""The knee of a search for the capacity: response times over the rate, and below how busy each role was.

A point is a step; a cross one that the target missed, a hollow point one that client or machine could not drive. The
band is the interval of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import median
from typing import TYPE_CHECKING

from rig.checks.capacity import Capacity, CapacityStep, find_capacity
from rig.evidence.capacity import CAPACITY, StepResult
from rig.evidence.case import Case
from rig.report.capacity_table import utilisation
from rig.report.plots.canvas import COLOURS, LIMIT, STYLES, legend_beside, log_scale, panels_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHTS = (3.0, 2.2)
_CLOSE = 0.03
"""A line passes through one point for so much of a rate."""
_MARKS = {StepResult.HELD: "o", StepResult.MISSED: "x", StepResult.UNDRIVEN: "$○$"}


def capacity(case: Case) -> Figure | None:
    """Two panels; None where nobody searched."""
    if not case.scenario_runs_of(CAPACITY):
        return None
    from matplotlib.ticker import LogLocator, NullFormatter

    found = find_capacity(case)
    steps = sorted(found.steps, key=lambda step: step.rate_per_s)
    figure, (times, shares) = panels_below(_HEIGHTS, f"Capacity: {found.words}")
    _draw_times(times, steps)
    _draw_shares(shares, case, steps)
    for axes in (times, shares):
        _draw_answer(axes, found)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        legend_beside(axes, fontsize=8)
    shares.set_xlabel("requests/s that were due")
    return figure


def _draw_times(axes: Axes, steps: list[CapacityStep]) -> None:
    rates = [step.rate_per_s for step in steps]
    for word, colour, style in zip(("p50", "p95", "p99"), COLOURS, STYLES, strict=False):
        times_ms = [step.latencies_ms[f"response_{word}_ms"] for step in steps]
        axes.plot(*_medians(rates, times_ms), label=word, color=colour, linestyle=style, linewidth=1.2)
        for step, time_ms in zip(steps, times_ms, strict=True):
            axes.scatter([step.rate_per_s], [time_ms], marker=_MARKS[step.result], s=26, color=colour, linewidths=1.2)
    axes.axhline(steps[0].run.scenario.p95_limit_ms or 0.0, color=LIMIT, linewidth=1, label="limit of p95")
    axes.set_ylabel("response time (ms)")
    log_scale(axes)


def _draw_shares(axes: Axes, case: Case, steps: list[CapacityStep]) -> None:
    seen = [utilisation(case, step.run) for step in steps]
    for role, colour, style in zip(seen[0], COLOURS, STYLES, strict=False):
        known = [(step.rate_per_s, 100 * busy) for step, each in zip(steps, seen, strict=True) if (busy := each[role])]
        where = _medians([rate for rate, _ in known], [busy for _, busy in known])
        axes.plot(*where, marker=".", label=role, color=colour, linestyle=style)
    axes.set_ylabel("busy (%)")
    axes.set_ylim(0, 105)


def _draw_answer(axes: Axes, found: Capacity) -> None:
    if (answer := found.estimate) is not None:
        axes.axvspan(answer.low_per_s, answer.high_per_s, color=LIMIT, alpha=0.12, linewidth=0, zorder=0)


def _medians(rates: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Rates that are close together as one, with the median of their values."""
    near: dict[int, list[tuple[float, float]]] = {}
    for rate, value in zip(rates, values, strict=True):
        near.setdefault(round(log(rate) / _CLOSE), []).append((rate, value))
    points = [tuple(zip(*each, strict=True)) for each in near.values()]
    return [median(rates) for rates, _ in points], [median(values) for _, values in points]
