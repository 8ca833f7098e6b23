"""The mutation matrix: every gate under every defect, with the verdict that was declared and the one that was seen.

Values, a score, a table. ``rig.selftest.stages`` and ``rig.selftest.weaknesses`` make them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rig.errors import ExitCode
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.text import shorten

_REASON = 160


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix: a gate under a defect. ``repetition`` counts from 1; ``reason`` is the gate's."""

    gate: str
    defect: str
    expected: Verdict
    observed: Verdict
    repetition: int = 1
    reason: str = ""

    @property
    def is_right(self) -> bool:
        """True when the gate did what the defect declares."""
        return self.expected is self.observed


@dataclass(frozen=True, slots=True)
class Proof:
    """The matrix, and where the packs lie. ``skipped`` says why a defect was not tried, with the remedy.

    ``refused`` is how the first run was judged where its client was not certified. Nothing was tried then.
    """

    cells: tuple[Cell, ...]
    packs: Mapping[str, Path]
    skipped: Mapping[str, str] = field(default_factory=dict)
    refused: Judgement | None = None

    @property
    def score(self) -> float:
        """Share of cells that are right."""
        return sum(cell.is_right for cell in self.cells) / len(self.cells) if self.cells else 0.0

    @property
    def pairs(self) -> int:
        """Gate–defect pairs that must be red."""
        return len({(cell.gate, cell.defect) for cell in self.cells if cell.expected is not Verdict.PASS})

    @property
    def unstable(self) -> tuple[str, ...]:
        """Cells that were not the same in all repetitions, as ``gate under defect``."""
        seen: dict[str, set[Verdict]] = {}
        for cell in self.cells:
            seen.setdefault(f"{cell.gate} under {cell.defect}", set()).add(cell.observed)
        return tuple(name for name, verdicts in seen.items() if len(verdicts) > 1)

    @property
    def verdict(self) -> Verdict:
        """FAIL below a full score; else INVALID where a defect was not tried; else PASS.

        INVALID where the client was not certified.
        """
        if self.refused is not None:
            return Verdict.INVALID
        if self.score < 1.0:
            return Verdict.FAIL
        return Verdict.INVALID if self.skipped else Verdict.PASS

    @property
    def exit_code(self) -> ExitCode:
        """0 for PASS, 1 for FAIL, 3 for INVALID; where the client was not certified, as its own pack ends."""
        return self.verdict.exit_code if self.refused is None else ExitCode(self.refused.exit_code)

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "verdict": self.verdict.value,
            "cells": [
                {
                    "gate": cell.gate,
                    "defect": cell.defect,
                    "expected": cell.expected.value,
                    "observed": cell.observed.value,
                    "repetition": cell.repetition,
                    "reason": cell.reason,
                }
                for cell in self.cells
            ],
            "score": self.score,
            "pairs": self.pairs,
            "unstable": list(self.unstable),
            "skipped": dict(self.skipped),
            "refused": None if self.refused is None else self.refused.because,
            "packs": {name: str(path) for name, path in self.packs.items()},
        }


def join_proofs(proofs: Sequence[Proof]) -> Proof:
    """Several proofs as one."""
    return Proof(
        tuple(cell for proof in proofs for cell in proof.cells),
        {name: path for proof in proofs for name, path in proof.packs.items()},
        {name: why for proof in proofs for name, why in proof.skipped.items()},
        next((proof.refused for proof in proofs if proof.refused is not None), None),
    )


def cells_of(name: str, expected: Mapping[str, Verdict], seen: Mapping[str, Gate], repetition: int = 1) -> list[Cell]:
    """The cells of one defect; a gate that was not emitted is NOT-RUN."""
    missing = Gate("", Verdict.NOT_RUN, "", reason="it was not emitted")
    found = {gate: seen.get(gate, missing) for gate in expected}
    return [
        Cell(gate, name, verdict, found[gate].verdict, repetition, found[gate].reason)
        for gate, verdict in expected.items()
    ]


def read_gates(pack: Path) -> dict[str, Gate]:
    """The gates of a finished pack by id: its verdicts, which were judged from its files."""
    judgement = Pack.open(pack).judgement()
    return {gate.id: gate for gate in judgement.gates} if judgement is not None else {}


def _describe(cell: Cell) -> str:
    """A wrong cell, with the gate's reason: it says so where others took the machine meanwhile."""
    words = f"{cell.gate} {cell.observed} (expected {cell.expected})"
    return f"{words}: {shorten(cell.reason, _REASON)}" if cell.reason else words


def proof_table(proof: Proof) -> Table:
    """One row for each defect: what turned red, what was wrong. The title also names what was not tried."""
    score = math.floor(proof.score * 1000) / 1000  # one wrong cell of thousands is not to be rounded away
    title = f"{proof.verdict}: score {score:.3f} over {len(proof.cells)} cells"
    title += f", {proof.pairs} of them pairs of gate and defect"
    if proof.skipped:
        title += f"; not tried: {', '.join(proof.skipped)}"
    if proof.refused is not None:
        title += f"; the client was not certified, nothing was tried with it: {proof.refused.because}"
    if proof.unstable:
        title += f"; not the same in all repetitions: {', '.join(proof.unstable[:5])}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("defect", "red as declared", "green as declared", "wrong"):
        table.add_column(column, overflow="fold")
    for name in dict.fromkeys(cell.defect for cell in proof.cells):
        cells = [cell for cell in proof.cells if cell.defect == name]
        red = dict.fromkeys(cell.gate for cell in cells if cell.is_right and cell.expected is not Verdict.PASS)
        green = sum(cell.is_right and cell.expected is Verdict.PASS for cell in cells)
        wrong = [_describe(cell) for cell in cells if not cell.is_right]
        table.add_row(name, ", ".join(red) or "-", str(green), Text("; ".join(wrong) or "-", "red" if wrong else ""))
    for name, why in proof.skipped.items():
        table.add_row(name, "-", "-", Text(f"NOT-RUN: {why}", "red"))
    return table
