"""Personal data in what a target says: its answers to requests that carry some, and its metrics. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from rig.evidence.truth import CanaryHit
from rig.model import Scenario


@dataclass(frozen=True, slots=True)
class Echoes:
    """What was searched, and what was found. ``answers``: whole answers; ``right``: those with the status of the class.

    ``metrics_bytes``: how long the metrics were; None where the profile names none, 0 where they were not answered.
    ``of_load``: answers of the load that were read too; ``metrics``: how often the metrics were read.
    """

    scenarios: tuple[Scenario, ...] = ()
    answers: int = 0
    right: int = 0
    in_answers: tuple[CanaryHit, ...] = ()
    metrics_bytes: int | None = None
    in_metrics: tuple[CanaryHit, ...] = ()
    of_load: int = 0
    metrics: int = 0
