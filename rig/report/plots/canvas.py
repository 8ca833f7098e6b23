"""What the pictures share: panels, colours, scales, and the columns of the history as numbers.

Only matplotlib's object interface is used: no pyplot, no state of the process is changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.evidence.case import Case
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#333333"
LIMIT = "#b2182b"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
"""Okabe and Ito's, which all kinds of colour vision tell apart."""
STYLES = ("-", "--", "-.", ":")
POINTS = 2000
"""A line of more points shows no more at the size of a report."""

OUTCOMES = (
    (Outcome.ACKNOWLEDGED, "#0072b2", ""),
    (Outcome.REFUSED, "#d55e00", "///"),
    (Outcome.INDETERMINATE, "#f0c419", "..."),
    (Outcome.NOT_SENT, "#999999", "xxx"),
)
"""Colour and hatch of what may become of a request that was tried, from the bottom of a stack to its top."""

_MARKS = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
_LEAST_MARKS = 3
"""With fewer on it an axis cannot be read."""
_GRID = "#dddddd"
_DPI = 144
_PALETTE = 128
"""Colours of a picture: lines and flat areas with smooth edges need no more."""


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes. A palette makes it a third of the size, and no other."""
    from matplotlib.text import Text
    from PIL import Image

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names of the target's stand there, and a `$` in one is no formula
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(_PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    return data.getvalue()


def panels(columns: int, title: str, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side, plain and alike."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    grid = figure.subplots(1, columns, sharey=share_y, squeeze=False)
    axes: list[Axes] = list(grid[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", color=_GRID, linewidth=0.6)
        each.set_axisbelow(True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure, axes


def panels_below(heights: Sequence[float], title: str) -> tuple[Figure, list[Axes]]:
    """A figure of panels one below the other, of those heights in inches, each with a time axis of its own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, sum(heights) + 1.0), layout="constrained")
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights))
    axes: list[Axes] = [row[0] for row in grid]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time since the release (s)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure, axes


def thousands(axes: Axes) -> None:
    """Label the y axis with whole numbers, thousands set apart."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def log_scale(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers, not powers, and enough of them."""
    from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter

    class Marks(LogLocator):
        """At 1, 2 and 5; at round numbers where fewer than three of those are in sight."""

        def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
            marks: Sequence[float] = super().tick_values(vmin, vmax)
            if sum(vmin <= mark <= vmax for mark in marks) < _LEAST_MARKS:
                marks = AutoLocator().tick_values(vmin, vmax)
            return marks

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(Marks(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def by_rank(axes: Axes, values: NDArray[np.float64], label: str, colour: str, style: str) -> None:
    """A line of values over the share of them that are not above, on the axis of ``nines``."""
    ordered, count = np.sort(values), len(values)
    rank = np.unique(count - np.geomspace(1, count, min(POINTS, count)).astype(int))
    axes.plot(nines(rank / count), ordered[rank], linewidth=1.8, label=label, color=colour, linestyle=style)


def nines(share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Where a share lies on the axis: 0.9 at 1, 0.99 at 2, 0.999 at 3."""
    return np.asarray(-np.log10(1 - np.asarray(share)), dtype=np.float64)


def nines_axis(axes: Axes, most: int, label: str) -> None:
    """An x axis of ``nines`` from 0, marked as far as ``most`` values can tell."""
    marks = [mark for mark in _MARKS if 1 - mark >= 0.9 / most]
    axes.set_xticks([float(nines(mark)) for mark in marks], [f"{100 * mark:g} %" for mark in marks])
    axes.set(xlabel=label, xlim=(0, None))


def runs_that_sent(case: Case, runs: Iterable[ScenarioRun]) -> tuple[ScenarioRun, ...]:
    """Those of the drives that sent anything."""
    sent = set(case.history.loc[case.history["sent_ns"] > 0, "scenario_run"])
    return tuple(run for run in runs if run.scenario.label in sent)


def open_loop_runs(case: Case) -> tuple[ScenarioRun, ...]:
    """The drives of the open loop that sent anything."""
    return runs_that_sent(case, (run for run in case.scenario_runs if run.scenario.pace.rate_per_s))


def sent_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The requests that went out."""
    return rows[rows["sent_ns"] > 0]


def seconds(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Times as seconds since the first request of the rows, all of which were sent."""
    first_ns = int(rows["sent_ns"].min()) if len(rows) else 0
    return np.asarray((rows[column].to_numpy(np.int64) - first_ns) / 1e9, dtype=np.float64)
