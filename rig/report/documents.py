"""The documents of a run for people and CIs: ``report.html``, ``summary.md``, ``junit.xml`` and the pictures.

Flow: ``documents`` renders all of them from the manifest, the case and the judgement; ``write`` puts them into a pack
that is not sealed yet. They hold nothing but evidence of the pack, so ``rig report`` can make them again at any time.

The HTML is one file that runs no script and loads nothing. Its content policy forbids both, because a pack may come
from a stranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.pack import Pack
from rig.evidence.power import power_sentence
from rig.evidence.truth import DiscrepancyKind
from rig.report.capacity_table import STEP_COLUMNS, step_rows
from rig.report.fault_table import COLUMNS, fault_rows
from rig.report.figures import scenario_run_figures
from rig.report.headline import headline
from rig.report.hover import hover_plots
from rig.report.junit import junit
from rig.report.plots import PLOTS, Plot, own_style, png
from rig.report.scenario_words import SCENARIOS
from rig.report.shown import GateShown, gate_lines
from rig.report.summary import command, find_gaps, gate_rows, pull_request, summary
from rig.report.template import render
from rig.text import by_word, one_line, shorten

_FIRST_KEYS = 50
"""Discrepancies and canary hits that the report shows; the pack holds all of them."""
_PROVED = (Verdict.FAIL, Verdict.INVALID)


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot as the report shows it; ``data`` is empty where there was nothing to draw."""

    plot: Plot
    data: bytes


def write(pack: Pack, manifest: Manifest, case: Case, judgement: Judgement, failing: Sequence[GateShown] = ()) -> None:
    """Put all documents into an unsealed pack."""
    for name, data in documents(manifest, case, judgement, failing).items():
        pack.write(name, data)


def documents(
    manifest: Manifest, case: Case, judgement: Judgement, failing: Sequence[GateShown] = ()
) -> dict[str, bytes]:
    """All documents of a run, by their name in the pack. ``failing`` are the failing gates with their examples."""
    pictures = tuple(_pictures(case))
    return {
        **{f"plots/{picture.plot.name}.png": picture.data for picture in pictures if picture.data},
        "report.html": html(manifest, case, judgement, pictures, failing).encode(),
        "pr.md": pull_request(manifest, judgement, failing).encode(),
        "summary.md": summary(manifest, case, judgement).encode(),
        "junit.xml": junit(manifest, judgement),
    }


def html(
    manifest: Manifest,
    case: Case,
    judgement: Judgement,
    pictures: tuple[Picture, ...],
    failing: Sequence[GateShown] = (),
) -> str:
    """The report as one self-contained page."""
    # A storm sends no scenario: none of the pictures of one is missing.
    wanted = () if (case.storms or case.key_storms) and not case.scenario_runs else pictures
    missing = tuple(f"{picture.plot.title}: needs {picture.plot.needs}" for picture in wanted if not picture.data)
    return render(
        "report.html.j2",
        manifest=manifest,
        case=case,
        judgement=judgement,
        power=power_sentence(judgement.detection_power),
        diagnosis=judgement.diagnosis,
        reasons=gate_rows(judgement.having(*_PROVED)),
        shown=tuple((page.gate.id, tuple(gate_lines(page))) for page in failing if page.has_examples),
        exit_gates=gate_rows(judgement.exit_gates),
        gates=gate_rows(judgement.plain_gates),
        linked={page.gate.id for page in failing if page.has_examples},
        scenarios=[(name, words) for name, words in SCENARIOS.items() if any(case.scenario_runs_of(name))],
        hover=hover_plots(case),
        pictures=tuple(picture for picture in pictures if picture.data),
        not_measured=(*find_gaps(case, judgement), *missing),
        headline=headline(case, judgement),
        has_figures=bool(case.certificate or case.truth or case.scenario_runs),
        faults=tuple(fault_rows(case)),
        fault_columns=COLUMNS,
        steps=tuple(step_rows(case)),
        step_columns=STEP_COLUMNS,
        scenario_runs=tuple(scenario_run_figures(case).itertuples(index=False)),
        discrepancies=tuple(islice(_discrepancies(case), _FIRST_KEYS)),
        discrepancy_count=sum(1 for _ in _discrepancies(case)),
        first_keys=_FIRST_KEYS,
        notes=_notes(case),
        command=command(manifest),
        origin=tuple(_origin(manifest)),
        fingerprint=tuple(_flat(manifest.fingerprint)),
        settings=tuple(_flat(manifest.settings)),
    )


def _pictures(case: Case) -> Iterator[Picture]:
    for plot in PLOTS:
        with own_style():
            figure = plot.draw(case)
            picture = b"" if figure is None else png(figure)
        yield Picture(plot, picture)


def _origin(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What must be the same to make the same run again."""
    about = manifest.fingerprint
    dirty = " with changes that were not committed" if about.get("commit_dirty") else ""
    database = about.get("database")
    for name, value in (
        ("run", manifest.key and manifest.key.run_id),
        ("seed", manifest.seed),
        ("rig", manifest.rig_version),
        ("commit of the rig", about.get("commit") and f"{about['commit']}{dirty}"),
        ("commit of the target", about.get("target_commit")),
        ("profile", manifest.profile.get("name")),
        ("sha256 of the profile", about.get("profile_sha256")),
        ("PostgreSQL", database.get("server_version") if isinstance(database, Mapping) else None),
        ("CI run", about.get("ci_run")),
    ):
        if value not in (None, ""):
            yield name, one_line(value)


def _discrepancies(case: Case) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong in the database: kind, place, key and detail. Personal data comes first."""
    if case.truth is None:
        return
    for hit in case.truth.canary_hits:
        yield "personal data", hit.place, hit.request, f"{hit.what} {hit.json_path}".strip()
    for key in case.truth.discrepancies:
        if key.kind is not DiscrepancyKind.RECOVERED:
            yield key.kind.value.replace("_", " "), f"{key.scenario_run}, tenant {key.tenant}", key.key, key.detail


def _notes(case: Case) -> tuple[str, ...]:
    of_scenario_runs = by_word((run.scenario.label, note) for run in case.scenario_runs for note in run.notes)
    of_truth = case.truth.notes if case.truth else ()
    return tuple(one_line(note) for note in (*case.notes, *of_truth, *of_scenario_runs))


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested tables as (``a.b``, words)."""
    for key, value in tree.items():
        name = f"{above}{one_line(key)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, shorten(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, 200)
