"""A hypothesis before it is weighed, and how reasons for and against it give its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.evidence.diagnosis import Figure, Hypothesis, Outcome


@dataclass(frozen=True, slots=True)
class Claim:
    """A hypothesis before it is weighed: what is seen if it holds, and what refutes it."""

    id: str
    title: str
    prediction: str
    falsifier: str

    def leave_open(self, why: str) -> Hypothesis:
        """Undetermined: nobody saw what would decide it, for the reason ``why``."""
        return self._conclude("undetermined", 0.0, {}, why)

    def decide(self, against: str, score: float, figures: Mapping[str, Figure], because: str) -> Hypothesis:
        """Refuted by a reason ``against`` it, else supported ``because`` of what was seen.

        ``score``: how much it explains if it holds (``Hypothesis``).
        """
        if against:
            return self._conclude("refuted", 0.0, figures, against)
        return self._conclude("supported", round(min(1.0, max(0.0, score)), 3), figures, because)

    def _conclude(self, outcome: Outcome, score: float, figures: Mapping[str, Figure], because: str) -> Hypothesis:
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
        return Hypothesis(
            id=self.id,
            title=self.title,
            prediction=self.prediction,
            falsifier=self.falsifier,
            outcome=outcome,
            score=score,
            figures=rounded,
            because=because,
        )


def first_of(*reasons: tuple[bool, str]) -> str:
    """The first reason that holds, empty where none does."""
    return next((reason for holds, reason in reasons if holds), "")
