"""``rig history FOLDER``: the finished runs in a folder, oldest first, and a plot of their figures over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.gate import Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import VERDICTS, Pack
from rig.evidence.pack_folder import MANIFEST
from rig.report.plots.canvas import COLOURS, own_style, png
from rig.text import some

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "s8_s": ("S8.time", "median_s", "S8 (s)"),
        "p95_ms": ("sustained.p95", "response_p95_ms", "sustained p95 (ms)"),
        "client_rps": ("calibration.null", "rps", "client (requests/s)"),
    }
)
"""What is drawn over time: the gate, its figure, and the name on the axis."""
_LARGEST_FIGURE = 1e12
"""No run measures more; a plot of more could not be drawn."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run. ``failed`` names its gates that are FAIL or INVALID; ``figures`` has what it measured of ``FIGURES``."""

    pack: str
    started_utc: datetime
    verb: str
    profile: str
    verdict: Verdict
    exit_code: int
    failed: tuple[str, ...]
    figures: Mapping[str, float]


def read_history_of(folder: Path) -> tuple[tuple[PastRun, ...], tuple[str, ...]]:
    """The judged packs in a folder, oldest first, and why others in it could not be read.

    UsageError where there is neither; EvidenceError where none could be read.
    """
    runs, unread = [], []
    for manifest_file in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            if (run := _read_run(Pack.open(manifest_file.parent))) is not None:
                runs.append(run)
        except EvidenceError as error:
            unread.append(str(error))
    if not runs and unread:
        raise EvidenceError(f"{folder} holds no evidence pack that can be read: {some(unread, 3)}")
    if not runs:
        raise UsageError(f"{folder} holds no judged evidence pack; give the folder that --out of your runs names")
    return tuple(sorted(runs, key=lambda run: run.started_utc)), tuple(unread)


def _read_run(pack: Pack) -> PastRun | None:
    """The run of a pack; None where nothing was judged. EvidenceError where what is read of it was changed."""
    judgement, manifest = pack.judgement(), pack.manifest()
    if judgement is None:
        return None
    pack.require_intact_files(MANIFEST, VERDICTS)
    return PastRun(
        pack=pack.name,
        started_utc=manifest.started_utc,
        verb=manifest.verb,
        profile=str(manifest.profile.get("name", "")),
        verdict=judgement.verdict,
        exit_code=judgement.exit_code,
        failed=tuple(gate.id for gate in judgement.having(Verdict.FAIL, Verdict.INVALID)),
        figures=_figures(judgement),
    )


def _figures(judgement: Judgement) -> dict[str, float]:
    seen = {gate.id: gate.figures for gate in judgement.gates}
    values = {name: seen.get(gate, {}).get(figure) for name, (gate, figure, _) in FIGURES.items()}
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and 0 <= value < _LARGEST_FIGURE
    }


def plot_history(runs: tuple[PastRun, ...], file: Path) -> None:
    """Draw the figures of the runs over time as PNG. ConfigError where the file cannot be written."""
    with own_style():
        data = png(_draw(runs))
    try:
        file.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"--plot {file} cannot be written: {error.strerror}") from None


def _draw(runs: tuple[PastRun, ...]) -> Figure:
    from matplotlib.figure import Figure

    names = [name for name in FIGURES if any(name in run.figures for run in runs)] or list(FIGURES)[:1]
    figure = Figure(figsize=(9, 2.4 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        having = [run for run in runs if name in run.figures]
        for passed, colour, marker in ((True, COLOURS[0], "o"), (False, "crimson", "X")):
            some = [run for run in having if (run.verdict is Verdict.PASS) is passed]
            axes.plot(
                [run.started_utc for run in some],
                [run.figures[name] for run in some],
                marker,
                color=colour,
                label="PASS" if passed else "not PASS",
            )
        highest = max((run.figures[name] for run in having), default=1.0)
        axes.set(ylabel=FIGURES[name][2], ylim=(0, 1.1 * highest))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=8)
    figure.axes[0].legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return figure
