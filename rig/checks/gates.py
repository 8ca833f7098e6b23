"""What a checker says of the gates that it can emit: declared beside the checker, so that no second list can be wrong.

Flow: a checker module makes a ``GateKind`` for each of its gates and names them in ``@emits(…)``; the gate takes its id
and its rule from there. ``rig.checks.judge`` takes only checkers that declare, and makes a run INVALID in which one
emits what it did not declare. ``rig.selftest.catalog`` puts the declarations of all checkers together.
Not for what makes a gate red: ``rig.selftest.defects`` and ``rig.selftest.weaknesses`` say that.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict

ANY = "*"
"""In a pattern: the name of a scenario, a case or a checker, which is not known beforehand."""


class Kind(StrEnum):
    """What a gate speaks of."""

    TRUTH = "truth"
    """The rows that exist."""
    SERVICE = "service"
    """What the target answered."""
    PERFORMANCE = "performance"
    """How fast it was."""
    PRIVACY = "privacy"
    """Where personal data lies."""
    INSTRUMENT = "instrument"
    """Whether the evidence can carry a claim: never FAIL, as the target can do nothing for it."""
    STORM = "storm"
    """What a fleet did."""
    EXIT = "exit"
    """Composed of others."""


@dataclass(frozen=True, slots=True)
class GateKind:
    """A gate, or gates of many names: ``pattern`` is its id, in which ``*`` stands for a name.

    ``rule`` is what it asks for, without the figures that a run puts into it.
    """

    pattern: str
    kind: Kind
    rule: str

    def of(self, name: str) -> str:
        """The id of the gate for one scenario, case or checker."""
        return self.pattern.replace(ANY, name)

    def covers(self, gate_id: str) -> bool:
        """Whether an id is one of this kind."""
        return re.fullmatch(re.escape(self.pattern).replace(re.escape(ANY), r"[^.]+"), gate_id) is not None

    @property
    def reds(self) -> tuple[Verdict, ...]:
        """How it turns red."""
        return (Verdict.INVALID, Verdict.NOT_RUN) if self.kind is Kind.INSTRUMENT else (Verdict.FAIL, Verdict.INVALID)


class Checker:
    """A pure function from a case to gates, and the gates that it can emit."""

    def __init__(self, check: Callable[[Case], list[Gate]], gates: tuple[GateKind, ...]) -> None:
        functools.update_wrapper(self, check)
        self.__name__: str = check.__name__
        self._check = check
        self.gates = gates

    def __call__(self, case: Case) -> list[Gate]:
        """Its gates for a case."""
        return self._check(case)

    def find_undeclared_ids(self, gates: list[Gate]) -> list[str]:
        """The ids among its gates that it did not declare."""
        return [gate.id for gate in gates if not any(kind.covers(gate.id) for kind in self.gates)]


def emits(*gates: GateKind) -> Callable[[Callable[[Case], list[Gate]]], Checker]:
    """Make a checker of a function that emits these gates and no others."""
    return lambda check: Checker(check, gates)
