"""Every fault there is: the built-in ones and those of a profile, and which of them can strike a target."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import psycopg

from rig.chaos.database import DATABASE_FAULTS
from rig.chaos.fault import ChaosTarget, Fault, Struck
from rig.chaos.processes import PROCESS_FAULTS
from rig.chaos.ways import WAY_FAULTS
from rig.errors import RigError
from rig.machine.child import run_to_end
from rig.profile import FaultCommand, Profile
from rig.profile.variables import fill_in
from rig.text import last_lines

BUILT_IN = (*PROCESS_FAULTS, *DATABASE_FAULTS, *WAY_FAULTS)


def faults_of(profile: Profile) -> tuple[Fault, ...]:
    """The built-in faults, then those that the profile brings."""
    return (*BUILT_IN, *(_of_command(name, command) for name, command in profile.faults.commands.items()))


def find_reasons(target: ChaosTarget) -> dict[str, str]:
    """Why the rig has no hand on each fault; empty where it has. No fault that is not allowed is looked into."""
    reasons = {}
    for fault in faults_of(target.profile):
        try:
            reasons[fault.name] = _needs_permission(fault, target) or fault.missing(target)
        except psycopg.Error as error:
            reasons[fault.name] = f"the database could not be asked: {' '.join(str(error).split())}"
    return reasons


def _needs_permission(fault: Fault, target: ChaosTarget) -> str:
    """Whose the struck part is decides: what the rig started may be struck."""
    if fault in PROCESS_FAULTS or fault in WAY_FAULTS:
        return ""  # they need a part that the rig started
    if fault in DATABASE_FAULTS and target.store.control is not None:
        return ""
    if fault.name in target.allowed:
        return ""
    return f"the rig did not start what it strikes: name it in faults.allow and in --allow-faults {fault.name}"


def _of_command(name: str, given: FaultCommand) -> Fault:
    @contextmanager
    def strike(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
        undo = [fill_in(word, target.words, f"faults.{name}.undo") for word in given.undo]
        with target.supervisor.undone_at_end(undo):
            _run([fill_in(word, target.words, f"faults.{name}.command") for word in given.command], name, given)
            yield Struck()

    return Fault(name, f"the profile's command: {given.command[0]}", lambda target: "", strike)


def _run(command: list[str], name: str, given: FaultCommand) -> None:
    try:
        done = run_to_end(command, given.timeout_s, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"faults.{name}.command could not be run: {error}") from None
    if done.returncode:
        raise RigError(f"faults.{name}.command ended with exit code {done.returncode}: {last_lines(done.stdout)}")
