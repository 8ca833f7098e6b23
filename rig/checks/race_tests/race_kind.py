"""What a race test is to the checks: its figures, its gates, what each protection is for. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Generic, TypeVar

from rig.checks.gates import GateKind, Kind
from rig.errors import EvidenceError
from rig.evidence.gate import Gate
from rig.evidence.storm import StormReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceFigures:
    """What a race test counts: ``figures`` of its ``StormReport``."""

    @property
    def summary(self) -> str:
        """The figures that tell most, in a few words for a scoreboard."""
        return ""


Figures = TypeVar("Figures", bound=RaceFigures)


class RaceGates(Generic[Figures]):
    """Makes the gates of one race test from its figures.

    A member of the fleet without a report leaves no gate on PASS: what was seen to be wrong is FAIL all the same, but
    too little of something may be the missing member's doing.
    """

    def __init__(self, report: StormReport, figures: Figures, kinds: Mapping[str, GateKind]) -> None:
        self.it = figures
        self._kinds = kinds
        self._missing = report.missing

    @property
    def is_whole(self) -> bool:
        """Whether every member reported: only then is too little of something the target's doing."""
        return not self._missing

    def gate(self, name: str, *shown: str, wrong: str = "", weak: str = "") -> Gate:
        """FAIL for what is ``wrong``, INVALID for what makes it ``weak`` or for members without a report, else PASS.

        The gate carries the figures of the names ``shown``.
        """
        figures = {key: _plain(getattr(self.it, key)) for key in shown}
        return self._kinds[name].decide(figures, wrong=wrong, unproven=weak or "; ".join(self._missing[:3]))

    def not_run(self, name: str, reason: str) -> Gate:
        """A gate whose claim the profile gives no means to try."""
        return self._kinds[name].not_run(reason)


@dataclass(frozen=True, slots=True)
class RaceKind(Generic[Figures]):
    """One race test.

    ``protections``: what can be switched off in the reference, each with the gates that then turn red. ``rules``: what
    each gate claims. ``judge`` gives the gates; each must also ask that something happened at all. ``rig.storms`` has a
    module and a function of its ``name``.
    """

    name: str
    protections: Mapping[str, tuple[str, ...]]
    figures: type[Figures]
    rules: Mapping[str, str]
    judge: Callable[[RaceGates[Figures]], list[Gate]]

    @property
    def gate_kinds(self) -> Mapping[str, GateKind]:
        """Its gates, by their names in ``rules``."""
        return {name: GateKind(f"storm.{self.name}.{name}", Kind.STORM, rule) for name, rule in self.rules.items()}

    def read(self, figures: Mapping[str, Any]) -> Figures:
        """The figures of a report as their own type; EvidenceError names what is missing or wrong."""
        from pydantic import TypeAdapter, ValidationError  # the command line names the tests without its cost

        try:
            return TypeAdapter(self.figures).validate_python(figures)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise EvidenceError(f"the figures of the storm {self.name} are damaged: {wrong}") from None

    def gates_of(self, report: StormReport) -> list[Gate]:
        """The gates of a report of this test that was run."""
        return self.judge(RaceGates(report, self.read(report.figures), self.gate_kinds))


def when(so: object, words: str) -> str:
    """The words where it is so, else none."""
    return words if so else ""


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
