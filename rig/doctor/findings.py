"""What an examination finds, as values, and the two exceptions by which a step ends."""

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
    """The target is wrong: what it does, and what to mend."""


class NotApplicable(Exception):
    """There is nothing to examine, and why."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended. ``said``: what was found and, after a failure, what to mend."""

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
        """The exit code of the first step that failed: later ones may have failed because of it."""
        return next((step.exit_code for step in self.steps if step.state is State.FAIL), ExitCode.PASS)

    def counts(self, state: State) -> int:
        """How many steps ended in this state."""
        return sum(step.state is state for step in self.steps)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "profile": self.profile,
            "exit_code": int(self.exit_code),
            "steps": [{"name": step.name, "state": step.state.value, "said": step.said} for step in self.steps],
        }
