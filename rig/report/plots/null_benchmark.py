"""The client against a stub that does nothing: its rate against the floor, and who was busy meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rig.evidence.case import Case
from rig.evidence.certificate import Certificate, NullTrial
from rig.report.plots.canvas import COLOURS, INK, LIMIT, panels, thousands
from rig.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHARES: tuple[tuple[str, Callable[[NullTrial], float]], ...] = (
    ("client\nworker", lambda trial: trial.worker_utilisation),
    ("stub", lambda trial: trial.stub_utilisation),
    ("busiest\ncore", lambda trial: max(trial.cores_busy, default=0.0)),
    ("mean of\ncores", lambda trial: float(np.mean(trial.cores_busy or (0.0,)))),
    ("worker\nstalled", lambda trial: trial.stalled),
    ("steal", lambda trial: trial.steal),
)


def null_benchmark(case: Case) -> Figure | None:
    """Rates on the left, utilisation on the right; None without a certificate."""
    certificate = case.certificate
    if certificate is None or not certificate.trials:
        return None
    times = f"{certificate.headroom:.1f} times the floor of {number(certificate.floor_rps)}"
    reason = f" ({certificate.reason})" if certificate.reason else ""
    figure, (rates, busy) = panels(2, f"Null benchmark: {number(certificate.rps)} requests/s, {times}{reason}")
    names = [f"trial {index}" for index in range(1, len(certificate.trials) + 1)]
    _rates(rates, certificate, names)
    _busy(busy, certificate, names)
    return figure


def _rates(axes: Axes, certificate: Certificate, names: list[str]) -> None:
    rps = [round(trial.rps) for trial in certificate.trials]
    bars = axes.bar(names, rps, color=COLOURS[0], width=0.6)
    axes.bar_label(bars, [number(rate) for rate in rps], padding=2, fontsize=9)
    axes.axhline(certificate.floor_rps, color=LIMIT, linewidth=1.5, label=f"floor {number(certificate.floor_rps)}")
    axes.set_title("rate", loc="left", fontsize=10)
    axes.set_ylabel("requests/s")
    axes.margins(y=0.15)
    thousands(axes)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))


def _busy(axes: Axes, certificate: Certificate, names: list[str]) -> None:
    percent = [[100 * share(trial) for trial in certificate.trials] for _, share in _SHARES]
    width = 0.8 / len(names)
    positions = [float(position) for position in range(len(_SHARES))]
    for index, name in enumerate(names):
        left = [position + (index + 0.5) * width - 0.4 for position in positions]
        heights = [values[index] for values in percent]
        axes.bar(left, heights, width * 0.9, color=COLOURS[index % len(COLOURS)], label=name)
    for position, values in zip(positions, percent, strict=True):
        axes.text(position, max(values) + 2, f"{np.median(values):.0f}", ha="center", fontsize=9, color=INK)
    axes.set_xticks(positions, [name for name, _ in _SHARES], fontsize=9)
    axes.set_title("who was busy (figures: median)", loc="left", fontsize=10)
    axes.set(ylabel="% of one core", ylim=(0, max(110, 1.15 * max(map(max, percent)))))
    axes.legend(frameon=False, loc="upper right", fontsize=8)
