"""The latency calibration: the error against known latency, and what a freeze of the server looked like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rig.evidence.case import Case
from rig.evidence.latency_calibration import TOLERANCE_MS, TOLERANCE_SHARE, Freeze
from rig.report.plots.canvas import COLOURS, LIMIT, STYLES, by_rank, log_scale, nines_axis, panels
from rig.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHARE = "share of requests with at most this value"
_MS = 1e6


def latency_calibration(case: Case) -> Figure | None:
    """Errors on the left, the freeze on the right; None without a latency certificate and its rows."""
    found = case.certificate.latency_calibration if case.certificate else None
    rows = case.latency_calibration[case.latency_calibration["status"] == 200]
    if found is None or rows.empty:
        return None
    covered = f"covered up to {number(found.covered_rate_per_s)}/s"
    figure, (errors, frozen) = panels(2, f"Latency calibration: {covered}, resolution {found.resolution_ms:.2g} ms")
    _errors(errors, rows[rows["behaviour"] != "freeze"])
    _freeze(frozen, rows[rows["behaviour"] == "freeze"], found.freeze)
    return figure


def _errors(axes: Axes, rows: pd.DataFrame) -> None:
    """One line a rate, all delays together: error as a multiple of what is exact."""
    most = 1
    for index, (rate_per_s, part) in enumerate(rows.groupby("rate_per_s")):
        delivered_ms = part["delivered_ns"].to_numpy(np.int64) / _MS
        measured_ms = (part["done_ns"] - part["sent_ns"]).to_numpy(np.int64) / _MS
        error = np.abs(measured_ms - delivered_ms) / np.maximum(TOLERANCE_MS, TOLERANCE_SHARE * delivered_ms)
        by_rank(axes, error, f"{rate_per_s:,.0f}/s", COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)])
        most = max(most, len(part))
    axes.axhline(1, color=LIMIT, linewidth=1.5, label=f"exact: {TOLERANCE_MS:g} ms or {TOLERANCE_SHARE:.0%}")
    nines_axis(axes, most, _SHARE)
    log_scale(axes)
    axes.set_title("error of the measured latency", loc="left", fontsize=10)
    axes.set(ylabel="error ÷ what is exact", ylim=(0.01, None))
    axes.legend(frameon=False, loc="lower right", fontsize=9)


def _freeze(axes: Axes, rows: pd.DataFrame, freeze: Freeze) -> None:
    for name, since, style in (("response time", "intended_ns", "-"), ("service time", "sent_ns", "--")):
        by_rank(axes, (rows["done_ns"] - rows[since]).to_numpy(np.int64) / _MS, name, COLOURS[0], style)
    axes.axhline(freeze.froze_s * 1e3, color=LIMIT, linewidth=1.5, label="length of the freeze")
    nines_axis(axes, len(rows), _SHARE)
    log_scale(axes)
    axes.set_title(f"a freeze of {freeze.froze_s:g} s, open loop", loc="left", fontsize=10)
    axes.set(ylabel="latency (ms)")
    axes.legend(frameon=False, loc="lower right", fontsize=9)
