"""The confusion matrix of a proof of the diagnosis: the answer for every seeded bottleneck, and a score.

Values; ``rig.selftest.diagnosis`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig.errors import ExitCode
from rig.evidence.gate import Verdict
from rig.evidence.judgement import Judgement

NOTHING = "nothing"
UNDETERMINED = "undetermined"
HYPOTHESES = ("H-A1", "H-A2", "H-B1", "H-B2", "H-C", "H-D", "H-E", "H-F", "H-G")
ANSWERS = (*HYPOTHESES, NOTHING, UNDETERMINED)
"""All that a diagnosis can answer."""
LEAST_SCORE = 0.95


@dataclass(frozen=True, slots=True)
class SeedAnswer:
    """One run: the answer that its seed asks for, the answer of the diagnosis, and its sentence.

    ``expected`` and ``observed`` are of ``ANSWERS``; ``repetition`` counts from 1.
    """

    seed: str
    repetition: int
    expected: str
    observed: str
    sentence: str = ""

    @property
    def right(self) -> bool:
        """True when the diagnosis found what was seeded."""
        return self.expected == self.observed


@dataclass(frozen=True, slots=True)
class Confusion:
    """All answers of a proof. ``not_run`` has the reason for every seed that this machine cannot have."""

    answers: tuple[SeedAnswer, ...]
    not_run: Mapping[str, str] = field(default_factory=dict)
    packs: tuple[Path, ...] = ()
    pack: Path | None = None
    """The pack that holds the matrix."""
    refused: Judgement | None = None
    """The judgement of that pack where the client was not certified. Nothing was asked then."""

    @property
    def seeds(self) -> dict[str, str]:
        """The expected answer of every seed that was run."""
        return {answer.seed: answer.expected for answer in self.answers}

    @property
    def score(self) -> float:
        """Share of right answers."""
        return sum(answer.right for answer in self.answers) / len(self.answers) if self.answers else 0.0

    @property
    def false_alarms(self) -> int:
        """How often something was found in a healthy service."""
        return sum(answer.expected == NOTHING and not answer.right for answer in self.answers)

    @property
    def verdict(self) -> Verdict:
        """PASS for at least 95 % of right answers and no false alarm. INVALID where nothing was asked."""
        if not self.answers:
            return Verdict.INVALID
        return Verdict.PASS if self.score >= LEAST_SCORE and not self.false_alarms else Verdict.FAIL

    @property
    def exit_code(self) -> ExitCode:
        """0 for PASS, 1 for FAIL, 3 where nothing was asked; as its pack ends where the client was not certified."""
        return self.verdict.exit_code if self.refused is None else ExitCode(self.refused.exit_code)

    def count(self, seed: str, observed: str) -> int:
        """A cell of the matrix: how often a seed got that answer."""
        return sum(answer.seed == seed and answer.observed == observed for answer in self.answers)

    def right(self, seed: str) -> float:
        """Share of right answers to one seed."""
        of_seed = [answer for answer in self.answers if answer.seed == seed]
        return sum(answer.right for answer in of_seed) / len(of_seed) if of_seed else 0.0

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints, and what lies in the pack."""
        return {
            "verdict": self.verdict.value,
            "score": round(self.score, 4),
            "least_score": LEAST_SCORE,
            "false_alarms": self.false_alarms,
            "cells": [
                {
                    "seed": answer.seed,
                    "repetition": answer.repetition,
                    "expected": answer.expected,
                    "observed": answer.observed,
                    "answer": answer.sentence,
                }
                for answer in self.answers
            ],
            "not_run": dict(self.not_run),
            "refused": None if self.refused is None else self.refused.because,
            "packs": [path.name for path in self.packs],
            "pack": None if self.pack is None else str(self.pack),
        }
