"""What an examination finds, as values; and the two ways in which a step ends besides well."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rig.errors import ExitCode


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAIL = "FAIL"
    SKIPPED = "skipped"


class Symptom(Exception):
    """The target does wrong: what it does, and what to mend."""


class NotApplicable(Exception):
    """There is nothing to look at here, and why."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: ``said`` is what was found and, where it failed, what to mend; ``exit_code`` what that amounts to."""

    name: str
    state: State
    said: str
    exit_code: ExitCode = ExitCode.PASS


@dataclass(frozen=True, slots=True)
class Examination:
    """All steps in their order."""

    profile: str
    steps: tuple[StepResult, ...]

    @property
    def exit_code(self) -> ExitCode:
        """That of the first step that failed: what fails later may only follow from it."""
        return next((step.exit_code for step in self.steps if step.state is State.FAIL), ExitCode.PASS)

    def counts(self, state: State) -> int:
        """How many steps ended so."""
        return sum(step.state is state for step in self.steps)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "profile": self.profile,
            "exit_code": int(self.exit_code),
            "steps": [{"name": step.name, "state": step.state.value, "said": step.said} for step in self.steps],
        }
