"""What the pictures share: panels, colours, scales, and the columns of the history as numbers.

Only matplotlib's object interface is used: no pyplot, no state of the process is changed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.evidence.capacity import CAPACITY
from rig.evidence.case import Case
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#333333"
LIMIT = "#b2182b"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
"""Okabe and Ito's palette, which people with any kind of colour vision can tell apart."""
STYLES = ("-", "--", "-.", ":")
POINTS = 2000
"""More points on a line would not show at the size of a report."""

OUTCOMES = (
    (Outcome.ACKNOWLEDGED, "#0072b2", ""),
    (Outcome.REFUSED, "#d55e00", "///"),
    (Outcome.INDETERMINATE, "#f0c419", "..."),
    (Outcome.NOT_SENT, "#999999", "xxx"),
)
"""Colour and hatch of each outcome, from the bottom of a stack to its top."""

_MARKS = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
_LEAST_MARKS = 3
"""An axis with fewer marks is hard to read."""
_GRID = "#dddddd"
_DPI = 120
_PALETTE = 128
"""Colours of a picture. Lines and flat areas with smooth edges need no more."""


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's own defaults, whatever backend and style the shell and the user's files name.

    A notebook's shell names a backend that exists in the notebook alone, and the import of matplotlib refuses it.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def png(figure: Figure) -> bytes:
    """The figure as PNG. The same figure gives the same bytes. The palette makes the file a third of the size."""
    from matplotlib.text import Text
    from PIL import Image

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a `$` in a name of the target is no formula
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(_PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    return data.getvalue()


def panels(columns: int, title: str, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side."""
    figure = blank_figure(4, title)
    axes: list[Axes] = list(figure.subplots(1, columns, sharey=share_y, squeeze=False)[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", color=_GRID, linewidth=0.6)
        each.set_axisbelow(True)
    return figure, axes


def panels_below(heights: Sequence[float], title: str) -> tuple[Figure, list[Axes]]:
    """A figure of panels one below the other, of those heights in inches, each with a time axis of its own."""
    figure = blank_figure(sum(heights) + 1.0, title)
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights))
    axes: list[Axes] = [row[0] for row in grid]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time since the release (s)")
    return figure, axes


def blank_figure(height: float, title: str = "") -> Figure:
    """A figure as wide as a report, its height in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, height), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def legend_beside(axes: Axes, **how: Any) -> None:
    """The legend to the right of a panel."""
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), **how)


def stack_outcomes(axes: Axes, rows: pd.DataFrame, edges_ns: NDArray[Any], words: Mapping[Outcome, str]) -> None:
    """Stack the answers a second of those outcomes that ``words`` label, over the seconds since the first edge."""
    edges_s = (edges_ns - edges_ns[0]) / 1e9
    below: NDArray[np.float64] = np.zeros(len(edges_ns) - 1)
    for outcome, colour, hatch in (looks for looks in OUTCOMES if looks[0] in words):
        done_ns = rows.loc[rows["outcome"] == outcome, "done_ns"].to_numpy(np.int64)
        top = below + np.histogram(done_ns, edges_ns)[0] / np.diff(edges_s)
        # One shape an outcome: bars beside each other show seams where their edges fall between two pixels.
        shape = axes.stairs(top, edges_s, baseline=below, fill=True, label=words[outcome])
        shape.set(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0)
        below = top
    thousands(axes)


def thousands(axes: Axes) -> None:
    """Label the y axis with whole numbers and commas between thousands."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def log_scale(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers, not powers, and enough of them."""
    from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter

    class Marks(LogLocator):
        """At 1, 2 and 5; at round numbers where fewer than three of those are visible."""

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
    """A line of sorted values over the share of values that are at most as large, on the axis of ``nines``."""
    ordered, count = np.sort(values), len(values)
    rank = np.unique(count - np.geomspace(1, count, min(POINTS, count)).astype(int))
    axes.plot(nines(rank / count), ordered[rank], linewidth=1.8, label=label, color=colour, linestyle=style)


def nines(share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Where a share lies on the axis: 0.9 at 1, 0.99 at 2, 0.999 at 3."""
    return np.asarray(-np.log10(1 - np.asarray(share)), dtype=np.float64)


def nines_axis(axes: Axes, most: int, label: str) -> None:
    """An x axis of ``nines`` from 0, with marks up to the share that ``most`` values can show."""
    marks = [mark for mark in _MARKS if 1 - mark >= 0.9 / most]
    axes.set_xticks([float(nines(mark)) for mark in marks], [f"{100 * mark:g} %" for mark in marks])
    axes.set(xlabel=label, xlim=(0, None))


def runs_that_sent(case: Case, runs: Iterable[ScenarioRun]) -> tuple[ScenarioRun, ...]:
    """Those of the scenario runs that sent anything."""
    sent = set(case.history.loc[case.history["sent_ns"] > 0, "scenario_run"])
    return tuple(run for run in runs if run.scenario.label in sent)


def open_loop_runs(case: Case) -> tuple[ScenarioRun, ...]:
    """The scenario runs of the open loop that sent anything, without the steps of a search for the capacity."""
    runs = (run for run in case.scenario_runs if run.scenario.pace.rate_per_s and run.scenario.id != CAPACITY)
    return runs_that_sent(case, runs)


def sent_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The requests that went out."""
    return rows[rows["sent_ns"] > 0]


def seconds(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Times as seconds since the first request of the rows, all of which were sent."""
    first_ns = int(rows["sent_ns"].min()) if len(rows) else 0
    return np.asarray((rows[column].to_numpy(np.int64) - first_ns) / 1e9, dtype=np.float64)
