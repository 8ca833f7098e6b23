"""Every gate against seeded defects: a gate that cannot turn red proves nothing, one that turns red at everything
proves as little.

Flow: the reference service runs once healthy and once with each defect, over the same scenarios; each run is judged as
any other. A defect declares which gates must turn red and which must stay green; those cells are the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rig.calibrate.cores import plan_of_this_machine
from rig.checks.judge import judge
from rig.engine.pool import Pool
from rig.errors import ExitCode, UsageError
from rig.lifeline import Lifeline
from rig.model import Certificate, Gate, Verdict
from rig.postgres import open_cluster
from rig.record import Record
from rig.run import Reporter, begin, certify, storm
from rig.settings import Job
from rig.store import new_store
from scenarios.ladder import Ladder

STEP = 1000
"""One ladder step: two processes share 1,000 valid events, so that one of them sees the 500 that a defect waits for."""

_ROWS = tuple(f"S{number}.rows" for number in range(1, 10))
_ANSWERS = tuple(f"S{number}.answers" for number in range(1, 10))
_WHOLE = ("totals", "duplicates", "privacy.rows", "privacy.logs", "S8.time", "accounting")


@dataclass(frozen=True, slots=True)
class Defect:
    """What a seeded defect must do to the gates. ``open`` ones may turn either way: chance or order decides."""

    name: str
    red: tuple[str, ...]
    open: tuple[str, ...] = ()

    def cells(self) -> dict[str, Verdict]:
        """Expected verdict of every declared gate."""
        green = [gate for gate in (*_ROWS, *_ANSWERS, *_WHOLE) if gate not in self.red + self.open]
        return dict.fromkeys(self.red, Verdict.FAIL) | dict.fromkeys(green, Verdict.PASS)


HEALTHY = Defect("healthy", red=())

DEFECTS = (
    # Of few or replayed events chance decides whether one is among the forgotten.
    Defect("ack-without-storing", red=("S2.rows", "S8.rows", "totals", "EG3.1"), open=("S6.rows", "S9.rows")),
    Defect("no-deduplication", red=("S1.rows", "S5.rows", "S6.rows", "S8.rows", "duplicates", "totals", "EG3.2")),
    Defect("global-deduplication", red=("S5.rows", "totals", "EG3.2")),
    Defect("malformed-dropped", red=("S3.rows", "S6.rows", "S8.rows", "totals", "EG3.3")),
    # A refused body may or may not leave a row.
    Defect("invalid-json-500", red=("S7.answers",), open=("S7.rows", "totals")),
    Defect("personal-data-kept", red=("privacy.rows", "EG3.1")),
    Defect("personal-data-logged", red=("privacy.logs", "EG3.1")),
    Defect("alias-not-normalised", red=("S9.rows",)),
    Defect("slow", red=("S8.time", "EG3.4")),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One gate under one defect."""

    gate: str
    defect: str
    expected: Verdict
    observed: Verdict

    @property
    def right(self) -> bool:
        """True when the gate did what the defect declares."""
        return self.expected is self.observed


@dataclass(frozen=True, slots=True)
class Proof:
    """All cells of a proof and where the runs lie."""

    cells: tuple[Cell, ...]
    packs: Mapping[str, Path]

    @property
    def score(self) -> float:
        """Share of cells that are right."""
        return sum(cell.right for cell in self.cells) / len(self.cells) if self.cells else 0.0

    @property
    def exit_code(self) -> ExitCode:
        """0 for a full score, else 1."""
        return ExitCode.PASS if self.score == 1.0 else ExitCode.FAIL

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "verdict": (Verdict.PASS if self.score == 1.0 else Verdict.FAIL).value,
            "cells": [
                {
                    "gate": cell.gate,
                    "defect": cell.defect,
                    "expected": cell.expected.value,
                    "observed": cell.observed.value,
                }
                for cell in self.cells
            ],
            "score": self.score,
            "packs": {name: str(path) for name, path in self.packs.items()},
        }


def prove(job: Job, chosen: Sequence[str], environ: Mapping[str, str], reporter: Reporter) -> Proof:
    """Run the healthy service and every (chosen) defect; each run leaves a pack below the results directory."""
    defects = (HEALTHY, *_chosen(chosen))
    ladder = Ladder(
        routes=(job.profile.routes[0].name,), sources=job.profile.sources, steps=(STEP,), spread=0, perf_trials=1
    )
    job = replace(job, scenarios=tuple(ladder.scenarios()))
    cells: list[Cell] = []
    packs: dict[str, Path] = {}
    certificate: Certificate | None = None
    cores = plan_of_this_machine(job.settings.workers).client
    with (
        Lifeline() as lifeline,
        Pool(job.settings.workers, cores) as pool,
        open_cluster(lifeline, environ=environ) as cluster,
    ):
        for defect in defects:
            reporter.stage(f"defect: {defect.name}")
            scene = begin(_with_defect(job, defect), environ, reporter)
            certificate = certificate or certify(scene, pool)
            scene.record.pack.write_certificate(certificate)
            storm(scene, pool, new_store(cluster, f"prove_{defect.name.replace('-', '_')}"))
            packs[defect.name] = _finished(scene.record)
            cells += _cells(defect, judge_pack(scene.record))
    return Proof(tuple(cells), packs)


def _finished(record: Record) -> Path:
    return record.judged().pack


def judge_pack(record: Record) -> dict[str, Gate]:
    """The gates of a finished pack by id, judged from its files."""
    return {gate.id: gate for gate in judge(record.pack.load())}


def _chosen(names: Sequence[str]) -> tuple[Defect, ...]:
    known = {defect.name: defect for defect in DEFECTS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{unknown[0]!r} is no defect; known are {', '.join(known)}")
    return tuple(known[name] for name in names) or DEFECTS


def _with_defect(job: Job, defect: Defect) -> Job:
    names = () if defect is HEALTHY else (defect.name,)
    return replace(job, verb=f"prove-{defect.name}", settings=replace(job.settings, defects=names))


def _cells(defect: Defect, gates: Mapping[str, Gate]) -> list[Cell]:
    return [
        Cell(gate, defect.name, expected, gates[gate].verdict if gate in gates else Verdict.NOT_RUN)
        for gate, expected in defect.cells().items()
    ]


def proof_table(proof: Proof) -> Table:
    """One row a defect: what turned red, what was wrong."""
    table = Table(title=f"score {proof.score:.3f} over {len(proof.cells)} cells", title_justify="left")
    for column in ("defect", "red as declared", "green as declared", "wrong"):
        table.add_column(column, overflow="fold")
    for name in proof.packs:
        cells = [cell for cell in proof.cells if cell.defect == name]
        red = [cell.gate for cell in cells if cell.right and cell.expected is Verdict.FAIL]
        green = sum(cell.right and cell.expected is Verdict.PASS for cell in cells)
        wrong = [f"{cell.gate} {cell.observed} (expected {cell.expected})" for cell in cells if not cell.right]
        table.add_row(name, ", ".join(red) or "-", str(green), Text("; ".join(wrong) or "-", "red" if wrong else ""))
    return table
