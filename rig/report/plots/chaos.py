"""S11 on one time axis: how attempts ended, how fast events came in, which faults struck meanwhile.

Panels from the top: answers a second by outcome; first attempts and redeliveries a second that were acknowledged; when
each event was acknowledged after it was due. Shaded bands are faults, from strike to healing, with the numbers that the
table of faults has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rig.checks.aftermath import attempts_of
from rig.evidence.case import Case
from rig.evidence.chaos import FaultRecord
from rig.model import Outcome
from rig.report.plots.canvas import COLOURS, LIMIT, STYLES, legend_beside, panels_below, stack_outcomes, thousands
from rig.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHTS = (2.2, 1.8, 1.8)
_BINS = 240
_LEAST_BIN_S = 0.1
_NUMBERS_MOST = 40
"""The numbers of more faults would overlap."""
_WORDS = {
    Outcome.ACKNOWLEDGED: "acknowledged",
    Outcome.REFUSED: "answered otherwise",
    Outcome.INDETERMINATE: "no answer",
    Outcome.NOT_SENT: "no connection",
}


def chaos(case: Case) -> Figure | None:
    """Three panels; None where S11 sent nothing."""
    rows = attempts_of(case)
    if case.chaos is None or rows.empty:
        return None
    begin_ns, end_ns = int(rows["intended_ns"].min()), int(rows["done_ns"].max())
    bins = max(2, min(_BINS, int((end_ns - begin_ns) / 1e9 / _LEAST_BIN_S)))
    edges_ns = np.linspace(begin_ns, end_ns, bins + 1)
    struck = case.chaos.struck
    again = int((rows["attempt"] > 1).sum())
    title = f"Chaos: {number(len(struck))} faults, {number(rows['seq'].nunique())} events, {number(again)} redeliveries"
    figure, (answers, rates, delays) = panels_below(_HEIGHTS, title)
    stack_outcomes(answers, rows, edges_ns, _WORDS)
    answers.set_ylabel("attempts/s")
    _draw_rates(rates, rows, edges_ns)
    _draw_delays(delays, rows, begin_ns)
    for axes in (answers, rates, delays):
        for record in struck:
            _shade(axes, record, begin_ns, is_named=axes is answers and len(struck) <= _NUMBERS_MOST)
        axes.set_xlim(0, (end_ns - begin_ns) / 1e9)
    for axes in (answers, rates):
        legend_beside(axes, fontsize=8)
    delays.set_xlabel("time since the first event was due (s)")
    return figure


def _draw_rates(axes: Axes, rows: pd.DataFrame, edges_ns: np.ndarray) -> None:
    good = rows[rows["outcome"] == Outcome.ACKNOWLEDGED]
    width_s = (edges_ns[1] - edges_ns[0]) / 1e9
    at_s = (edges_ns[:-1] - edges_ns[0]) / 1e9 + width_s / 2
    for index, (is_first, label) in enumerate(((True, "first attempts"), (False, "redeliveries"))):
        counts = np.histogram(good.loc[(good["attempt"] == 1) == is_first, "done_ns"], edges_ns)[0]
        axes.plot(at_s, counts / width_s, label=label, color=COLOURS[index], linestyle=STYLES[index], linewidth=1.4)
    axes.set_ylabel("acknowledged/s")
    axes.set_ylim(0, None)
    thousands(axes)


def _draw_delays(axes: Axes, rows: pd.DataFrame, begin_ns: int) -> None:
    good = rows[rows["outcome"] == Outcome.ACKNOWLEDGED].groupby("seq")["done_ns"].min()
    due = rows[rows["attempt"] == 1].set_index("seq")["intended_ns"].reindex(good.index)
    axes.scatter((due - begin_ns) / 1e9, (good - due) / 1e9, s=3, color=COLOURS[0], linewidths=0)
    axes.set_ylabel("due to acknowledged (s)")
    axes.set_ylim(0, None)


def _shade(axes: Axes, record: FaultRecord, begin_ns: int, *, is_named: bool) -> None:
    from_s, to_s = (record.strike_begun_ns - begin_ns) / 1e9, (record.healed_ns - begin_ns) / 1e9
    axes.axvspan(from_s, to_s, color=LIMIT, alpha=0.12, linewidth=0, zorder=0)
    if is_named:
        where = ((from_s + to_s) / 2, 1.01)
        axes.annotate(
            str(record.number), where, xycoords=axes.get_xaxis_transform(), fontsize=8, color=LIMIT, ha="center"
        )
