"""Answers that must not be, as examples: which request, and what was said to it."""

from __future__ import annotations

from dataclasses import dataclass

EXAMPLES_EACH = 3
"""So many of a kind are kept of a scenario run."""
BODY_MOST = 2_048
"""Bytes of a body that are kept."""


@dataclass(frozen=True, slots=True)
class AnswerExample:
    """One answer. ``why``: the class of a forged request that was let in, or what contradicts the status."""

    scenario: str
    scenario_run: str
    why: str
    key: str
    status: int
    body: str = ""
