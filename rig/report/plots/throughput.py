"""Answers per second over time, stacked by outcome: a panel for each S8 trial and each drive at a fixed rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rig.evidence.case import Case
from rig.evidence.drives import DriveReport
from rig.model import Outcome
from rig.report.plots.canvas import OUTCOMES, paced, panels, seconds, sent_rows, that_sent, thousands
from rig.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40
_MOST_PANELS = 4
_SAID = {
    Outcome.OK: "answered as expected",
    Outcome.FAIL: "answered otherwise, or no connection",
    Outcome.INFO: "no answer (timeout, lost connection)",
}


def throughput(case: Case) -> Figure | None:
    """A panel a drive, at most four, on one scale; where no S8 was run, the largest drives. None without any."""
    drives = (*that_sent(case, case.drives_of("S8")), *paced(case))[-_MOST_PANELS:] or _largest(case)
    if not drives:
        return None
    rows = [case.rows_of(drive) for drive in drives]
    sent = [sent_rows(frame) for frame in rows]
    wrong = sum(int((frame["outcome"] != Outcome.OK).sum()) for frame in sent)
    skipped = sum(len(frame) for frame in rows) - sum(len(frame) for frame in sent)
    rates = [round(len(frame) / drive.elapsed_s) for drive, frame in zip(drives, sent, strict=True) if drive.elapsed_s]
    span = " to ".join(number(rate) for rate in sorted({min(rates, default=0), max(rates, default=0)}))
    title = f"Throughput: {span} requests/s, "
    title += f"{number(wrong)} not answered as expected" if wrong else "all answered as expected"
    figure, axes = panels(len(drives), title + (f", {number(skipped)} never sent" if skipped else ""), share_y=True)
    for drive, frame, panel in zip(drives, sent, axes, strict=True):
        _stacked(panel, frame, drive)
    axes[0].set_ylabel("answers per second")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(OUTCOMES))
    return figure


def _stacked(axes: Axes, rows: pd.DataFrame, drive: DriveReport) -> None:
    done_s = seconds(rows, "done_ns")
    edges = np.linspace(0, max(float(done_s.max(initial=0)), 1e-3), _BINS + 1)
    width = float(edges[1])
    below = np.zeros(_BINS)
    for outcome, colour, hatch in OUTCOMES:
        counts, _ = np.histogram(done_s[(rows["outcome"] == outcome).to_numpy()], edges)
        rate = counts / width
        # One shape an outcome: bars beside each other show seams where their edges fall between two pixels.
        axes.stairs(
            below + rate,
            edges,
            baseline=below,
            fill=True,
            facecolor=colour,
            edgecolor="white",
            hatch=hatch,
            label=_SAID[outcome],
            linewidth=0,
        )
        below = below + rate
    axes.set_title(_name(drive), loc="left", fontsize=10)
    axes.set(xlabel="time (s)", xlim=(0, edges[-1]))
    thousands(axes)


def _name(drive: DriveReport) -> str:
    plan = drive.scenario
    if plan.pace.rate_per_s:
        return f"{plan.id}, {number(plan.pace.rate_per_s)}/s due"
    return f"{plan.id} trial {plan.trial}, {drive.elapsed_s:.2f} s" if plan.id == "S8" else f"{plan.id} at {plan.step}"


def _largest(case: Case, most: int = 3) -> tuple[DriveReport, ...]:
    """The drives of most requests, in the order they were run."""
    drives = that_sent(case, case.drives)
    chosen = sorted(drives, key=lambda drive: -drive.scenario.count)[:most]
    return tuple(drive for drive in drives if drive in chosen)
