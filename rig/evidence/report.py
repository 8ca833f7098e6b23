"""What people read of a run: ``report.html``, ``summary.md``, ``junit.xml`` and the pictures.

Flow: ``documents`` renders all of them from the manifest, the case and the judgement, as names and bytes; ``write``
puts them into a pack that is not sealed yet. They hold nothing that is not in the evidence, so they can be made again
at any time, elsewhere.

The HTML is one file without scripts or anything to load, and its policy forbids both: a pack may come from a stranger.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from rig.checks.case import Case
from rig.evidence.judgement import Judgement
from rig.evidence.junit import junit
from rig.evidence.manifest import Manifest
from rig.evidence.pack import Pack
from rig.evidence.plots import PLOTS, Plot, png
from rig.evidence.summary import command, lines, not_measured, summary
from rig.evidence.text import number, one_line, shortened, value_words
from rig.model import Anomaly, DriveReport, Outcome, Verdict

_FIRST_KEYS = 50
"""Unclean keys and canary hits shown; all of them are in the pack."""
_PROVED = (Verdict.FAIL, Verdict.INVALID)


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot as the report shows it; ``data`` is empty where there was nothing to draw."""

    plot: Plot
    data: bytes

    @property
    def uri(self) -> str:
        """The picture inlined."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode("ascii")


def write(pack: Pack, manifest: Manifest, case: Case, judgement: Judgement) -> None:
    """Put all documents into an unsealed pack."""
    for name, data in documents(manifest, case, judgement).items():
        pack.write(name, data)


def documents(manifest: Manifest, case: Case, judgement: Judgement) -> dict[str, bytes]:
    """All documents of a run, by their name in the pack."""
    pictures = tuple(_pictures(case))
    return {
        **{f"plots/{picture.plot.name}.png": picture.data for picture in pictures if picture.data},
        "report.html": html(manifest, case, judgement, pictures).encode(),
        "summary.md": summary(manifest, case, judgement).encode(),
        "junit.xml": junit(manifest, judgement),
    }


def html(manifest: Manifest, case: Case, judgement: Judgement, pictures: tuple[Picture, ...]) -> str:
    """The report as one self-contained page."""
    environment = Environment(
        loader=PackageLoader("rig.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "value": value_words, "line": one_line, "short": shortened}
    style = environment.get_template("report.css").render()
    missing = tuple(f"{picture.plot.title}: needs {picture.plot.needs}" for picture in pictures if not picture.data)
    return environment.get_template("report.html.j2").render(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii"),
        manifest=manifest,
        case=case,
        judgement=judgement,
        reasons=lines(judgement.having(*_PROVED)),
        exit_gates=lines(judgement.exit_gates),
        gates=lines(judgement.plain_gates),
        pictures=tuple(picture for picture in pictures if picture.data),
        not_measured=(*not_measured(case, judgement), *missing),
        drives=tuple(_drive_figures(case)),
        unclean=tuple(islice(_unclean(case), _FIRST_KEYS)),
        unclean_count=sum(1 for _ in _unclean(case)),
        first_keys=_FIRST_KEYS,
        notes=_notes(case),
        command=command(manifest),
        fingerprint=tuple(_flat(manifest.fingerprint)),
        settings=tuple(_flat(manifest.settings)),
    )


def _pictures(case: Case) -> Iterator[Picture]:
    for plot in PLOTS:
        figure = plot.draw(case)
        yield Picture(plot, b"" if figure is None else png(figure))


@dataclass(frozen=True, slots=True)
class DriveFigures:
    """One drive in a row of the report; times of the requests that were sent, in milliseconds of response time."""

    label: str
    outcomes: Mapping[str, int]
    elapsed_s: float
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    all_in_us: float


def _drive_figures(case: Case) -> Iterator[DriveFigures]:
    by_drive = dict(tuple(case.history.groupby("drive", observed=True)))
    for drive in case.drives:
        rows = by_drive.get(drive.scenario.label)
        if rows is None:
            yield _silent(drive)
            continue
        sent = rows[rows["sent_ns"] > 0]
        response_ms = (sent["done_ns"] - sent["intended_ns"]).to_numpy(np.int64) / 1e6
        p50_ms, p99_ms = np.quantile(response_ms, (0.5, 0.99)) if len(response_ms) else (np.nan, np.nan)
        counts = rows["outcome"].value_counts()
        yield DriveFigures(
            label=drive.scenario.label,
            outcomes={outcome.value: int(counts.get(outcome, 0)) for outcome in Outcome},
            elapsed_s=drive.elapsed_s,
            rps=len(sent) / drive.elapsed_s if drive.elapsed_s else np.nan,
            p50_ms=float(p50_ms),
            p99_ms=float(p99_ms),
            cpu_us=drive.cpu_us_per_request,
            all_in_us=drive.all_in_us_per_request,
        )


def _silent(drive: DriveReport) -> DriveFigures:
    """A drive of which no row is left."""
    none = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    return DriveFigures(drive.scenario.label, none, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)


def _unclean(case: Case) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong in the database, by kind, place, key and detail; personal data first, what is harmless left out."""
    if case.truth is None:
        return
    for hit in case.truth.canary_hits:
        yield "personal data", hit.place, hit.request, f"{hit.what} {hit.json_path}".strip()
    for key in case.truth.unclean:
        if key.kind is not Anomaly.RECOVERED:
            yield key.kind.value.replace("_", " "), f"{key.drive}, tenant {key.tenant}", key.key, key.detail


def _notes(case: Case) -> tuple[str, ...]:
    of_drives = (f"{drive.scenario.label}: {note}" for drive in case.drives for note in drive.notes)
    of_truth = case.truth.notes if case.truth else ()
    return tuple(one_line(note) for note in (*case.notes, *of_truth, *of_drives))


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested tables as (``a.b``, words)."""
    for key, value in tree.items():
        name = f"{above}{one_line(key)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, shortened(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, 200)
