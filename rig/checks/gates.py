"""The declaration of a gate, which stands beside the checker that emits it. There is no second list of gates.

Flow: a checker module makes a ``GateKind`` for each of its gates and names them in ``@emits(…)``. The gate takes its id
and its rule from there. ``rig.checks.judge`` runs such checkers only. A run is INVALID where one emits a gate that it
did not declare. ``rig.selftest.catalog`` collects the declarations of all checkers.
Which defects turn a gate red is listed in ``rig.selftest.defects`` and ``rig.selftest.weaknesses``.
The command line imports this module: it imports nothing heavy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rig.evidence.gate import Gate, Verdict

if TYPE_CHECKING:
    from rig.evidence.case import Case

ANY = "*"
"""Stands in a pattern for the name of a scenario, a case or a checker."""


class Kind(StrEnum):
    """What a gate is about."""

    TRUTH = "truth"
    """The rows that exist."""
    SERVICE = "service"
    """What the target answered."""
    PERFORMANCE = "performance"
    """How fast it was."""
    PRIVACY = "privacy"
    """Where personal data was found."""
    INSTRUMENT = "instrument"
    """Whether the evidence can carry a claim. Never FAIL, because the target is not to blame for it."""
    STORM = "storm"
    """What a fleet of processes did."""
    EXIT = "exit"
    """Composed of others."""


@dataclass(frozen=True, slots=True)
class GateKind:
    """One gate, or a family of gates: ``pattern`` is the id, in which ``*`` stands for a name.

    ``rule`` is the claim, without the figures of a run.
    """

    pattern: str
    kind: Kind
    rule: str

    def of(self, name: str) -> str:
        """The id of the gate of one scenario, case or checker."""
        return self.pattern.replace(ANY, name)

    def covers(self, gate_id: str) -> bool:
        return re.fullmatch(re.escape(self.pattern).replace(re.escape(ANY), r"[^.]+"), gate_id) is not None

    def decide(
        self, figures: Mapping[str, object], *, wrong: str = "", unproven: str = "", name: str = "", rule: str = ""
    ) -> Gate:
        """FAIL with the reason ``wrong``; without one INVALID with the reason ``unproven``; without either PASS.

        ``rule`` replaces the general rule by one with the figures of the run.
        """
        verdict = Verdict.FAIL if wrong else Verdict.INVALID if unproven else Verdict.PASS
        return Gate(self.of(name), verdict, rule or self.rule, figures, wrong or unproven)

    def not_run(self, reason: str, figures: Mapping[str, object] | None = None, *, name: str = "") -> Gate:
        """NOT-RUN, with the reason why it was not tried."""
        return Gate(self.of(name), Verdict.NOT_RUN, self.rule, figures or {}, reason)


class Checker:
    """A pure function from a case to gates, with the gates that it can emit."""

    def __init__(self, check: Callable[[Case], list[Gate]], gates: tuple[GateKind, ...]) -> None:
        functools.update_wrapper(self, check)
        self.__name__: str = check.__name__
        self._check = check
        self.gates = gates

    def __call__(self, case: Case) -> list[Gate]:
        return self._check(case)

    def find_undeclared_ids(self, gates: list[Gate]) -> list[str]:
        """The ids of those of ``gates`` that it did not declare."""
        return [gate.id for gate in gates if not any(kind.covers(gate.id) for kind in self.gates)]


def emits(*gates: GateKind) -> Callable[[Callable[[Case], list[Gate]]], Checker]:
    """Make a checker of a function that emits these gates and no others."""
    return lambda check: Checker(check, gates)
