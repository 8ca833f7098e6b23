"""What an examination finds, as values, and the exceptions by which a step ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rig.errors import ConfigError, ExitCode
from rig.profile.edit import Write


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAIL = "FAIL"
    SKIPPED = "skipped"


class Symptom(Exception):
    """The target is wrong: what it does, and what to mend. ``writes``: what the profile says where it is meant so."""

    def __init__(self, said: str, *writes: Write) -> None:
        super().__init__(said)
        self.writes = writes


class WrongAnswer(Symptom):
    """An answer that the profile may have to call right. The examination goes on as if it did."""


class WrongProfile(ConfigError):
    """A key of the profile is wrong. ``writes``: what to write instead."""

    def __init__(self, said: str, *writes: Write) -> None:
        super().__init__(said)
        self.writes = writes


class NotApplicable(Exception):
    """There is nothing to examine, and why."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What to write into the profile, and where."""

    where: str
    text: str

    @property
    def words(self) -> str:
        """For a terminal."""
        lines = [f"write into the profile, {self.where}{':' if self.text else ''}", *self.text.splitlines()]
        return "\n  ".join(lines)


@dataclass(frozen=True, slots=True)
class DoctorStepResult:
    """How a step ended. ``said``: what was found and, after a failure, what to mend."""

    name: str
    state: State
    said: str
    exit_code: ExitCode = ExitCode.PASS
    corrections: tuple[Correction, ...] = ()
    """What to write into the profile if the finding is one of it, each after those of the steps before."""


@dataclass(frozen=True, slots=True)
class Examination:
    """All steps in their order. ``corrected``: the text of the profile with every correction."""

    profile: str
    steps: tuple[DoctorStepResult, ...]
    corrected: str = field(default="", repr=False)

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
            "steps": [
                {"name": step.name, "state": step.state.value, "said": step.said}
                | ({"write": [{"where": one.where, "text": one.text} for one in step.corrections]}
                   if step.corrections else {})
                for step in self.steps
            ],
        }  # fmt: skip
