"""A gate, its verdict, and how verdicts compose. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """INVALID: the evidence cannot carry the claim. NOT_RUN: it was not tried. Neither is ever PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    INVALID = "INVALID"
    NOT_RUN = "NOT-RUN"


_DOMINANCE = (Verdict.FAIL, Verdict.INVALID, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Compose verdicts: FAIL dominates INVALID dominates PASS; NOT_RUN only where nothing else was tried."""
    seen = set(verdicts)
    return next((verdict for verdict in _DOMINANCE if verdict in seen), Verdict.NOT_RUN)


@dataclass(frozen=True, slots=True)
class Gate:
    """One claim with its verdict. ``rule`` is the claim; ``reason`` says why the verdict is not PASS."""

    id: str
    verdict: Verdict
    rule: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
