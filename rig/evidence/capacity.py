"""The search for a target's capacity as a pack holds it. Frozen values, no I/O.

A ``CapacityPlan`` says what was asked for. The steps themselves are scenario runs of ``CAPACITY``; ``CapacityReport``
(``capacity.json``) adds why the search ended and at which steps the target was at its limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CAPACITY = "capacity"
"""The scenario whose runs are the steps of a search."""
BRIEF_S = 2.0


class StepResult(StrEnum):
    """How a step ended."""

    HELD = "held"
    MISSED = "missed"
    UNDRIVEN = "not driven"
    """The step shows nothing of the target: client or machine could not do their part."""


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """What is looked for: the highest rate at which the p95 of the response time is at most ``p95_ms``.

    Each step takes ``step_s``; ``brief_s`` on the way up. No step begins after ``limit_s`` of the search.
    """

    p95_ms: float
    step_s: float = 5.0
    limit_s: float = 180.0
    first_per_s: float = 50.0

    @property
    def brief_s(self) -> float:
        """How long a step takes that only shows whether the rate is anywhere near the limit."""
        return min(self.step_s, BRIEF_S)


@dataclass(frozen=True, slots=True)
class CapacityReport:
    """What became of a plan. ``most_per_s``: no step was to be faster. ``ended``: why the search ended, "" before.

    ``knee``: labels of the scenario runs in which the target was at its limit; the diagnosis looks at them. ``broken``:
    why the target was of no use after a step.
    """

    plan: CapacityPlan
    most_per_s: float
    ended: str = ""
    knee: tuple[str, ...] = ()
    broken: str = ""
