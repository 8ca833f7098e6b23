"""A gate, its verdict, and how verdicts compose. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rig.errors import ExitCode


class Verdict(StrEnum):
    """INVALID: the evidence cannot carry the claim. NOT_RUN: it was not tried. Neither is ever PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    INVALID = "INVALID"
    NOT_RUN = "NOT-RUN"

    @property
    def exit_code(self) -> ExitCode:
        """How a process ends with it: 0 for PASS, 1 for FAIL, else 3."""
        codes = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL}
        return codes.get(self, ExitCode.INVALID)


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
