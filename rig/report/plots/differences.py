"""A forest plot of a comparison: every figure's change with its interval, against the line of no change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rig.report.comparison import Difference
from rig.report.interval import LEVEL
from rig.report.plots.canvas import INK, blank_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {
    "better": ("#009e73", "D", "better"),
    "worse": ("#d55e00", "s", "worse"),
    "different": ("#0072b2", "^", "different"),
    "open": ("#888888", "o", "no difference can be claimed"),
}
_TICKS = (0.01, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
_FINE_TICKS, _WIDE = (0.9, 1.1), 1.6
"""On a wide axis they would lie too close to 0."""
_LEAST_REACH = 1.1


def differences_plot(differences: Sequence[Difference]) -> bytes:
    """The picture as PNG; empty where nothing is compared. On an axis of ratios, half and double are equally far."""
    if not differences:
        return b""
    figure = blank_figure(0.26 * len(differences) + 1.3)
    axes = figure.subplots()
    drawn: set[str] = set()
    for row, each in enumerate(differences):
        _row(axes, row, each, is_first=each.meaning not in drawn)
        drawn.add(each.meaning)
    axes.axvline(1, color=INK, linewidth=1)
    _ratio_axis(axes, max(_LEAST_REACH, *(_reach(each) for each in differences)) ** 1.08)
    axes.set_yticks(np.arange(len(differences)), [f"{each.subject}: {each.figure.words}" for each in differences])
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8)
    return png(figure)


def _row(axes: Axes, row: int, each: Difference, *, is_first: bool) -> None:
    colour, mark, label = _LOOKS[each.meaning]
    if each.low is not None and each.high is not None:
        axes.plot([1 + each.low, 1 + each.high], [row, row], color=colour, linewidth=1.8, zorder=1)
    axes.plot(
        1 + each.change,
        row,
        mark,
        color=colour,
        markerfacecolor=colour if each.claim else "white",
        markersize=5,
        label=label if is_first else f"_{label}",  # the underscore keeps a label out of the legend
    )


def _reach(each: Difference) -> float:
    """How far from 1 a row goes, to either side, as a ratio above 1."""
    ratios = [1 + share for share in (each.change, each.low, each.high) if share is not None]
    return max(max(ratio, 1 / ratio) for ratio in ratios)


def _ratio_axis(axes: Axes, limit: float) -> None:
    axes.set_xscale("log")
    ticks = [tick for tick in _TICKS if 1 / limit <= tick <= limit and (limit < _WIDE or tick not in _FINE_TICKS)]
    axes.set_xticks(ticks, ["0" if tick == 1 else f"{tick - 1:+.0%}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlim=(1 / limit, limit), xlabel=f"second run against the first, log scale; line: {LEVEL:.0%} interval")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
