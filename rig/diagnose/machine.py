"""H-F: the machine. A hypervisor, a quota or other processes took processors from the run.

Busy cores alone are no fault: on a small machine client, server and database use all cores when nothing holds them up.
The hypothesis holds only where the cores do other work, or are not there.
"""

from __future__ import annotations

from rig.diagnose.numbers import BUSY, FOREIGN, WITHOUT_CORE, MachineNumbers, Measured
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis
from rig.limits import STOLEN, THROTTLED

MACHINE = Claim(
    "H-F",
    "the machine",
    f"a hypervisor or a CPU quota takes {STOLEN:.0%} of the time, or processes that are no part of the run use "
    f"{FOREIGN:.0%} of the cores while the run waits for one",
    "nothing is taken away: cores are idle, or busy with the run's own work",
)


def weigh_machine(measured: Measured) -> Hypothesis:
    """H-F."""
    machine = measured.machine
    if machine is None:
        return MACHINE.leave_open(measured.unseen["machine"])
    wanting = measured.without_core
    figures: dict[str, Figure] = {
        "busy_share": machine.busy,
        "cores": machine.cores,
        "steal_share": machine.steal,
        "throttled_share": machine.throttled,
        "foreign_share": machine.foreign,
        "without_a_core_share": wanting,
    }
    crowded = machine.foreign is not None and machine.foreign >= FOREIGN and wanting >= WITHOUT_CORE
    taken = [
        (machine.steal >= STOLEN, machine.steal, f"the hypervisor took {machine.steal:.0%} of the CPU time"),
        (
            machine.throttled >= THROTTLED,
            machine.throttled,
            f"a CPU quota held it back for {machine.throttled:.0%} of the time",
        ),
        (
            crowded,
            machine.foreign or 0.0,
            f"{machine.strangers or 'other processes held it'}, and the run was ready without a core for {wanting:.0%} "
            "of the time",
        ),
    ]
    held = [(share, words) for holds, share, words in taken if holds]
    against = first_of((not held, describe_machine(machine)))
    score = max((share for share, _ in held), default=0.0)
    return MACHINE.decide(against, max(score, wanting), figures, "; ".join(words for _, words in held))


def describe_machine(machine: MachineNumbers) -> str:
    """How busy it was and with whose work. That others took nothing is only said where it is known."""
    own = " with the run's own work" if machine.busy >= BUSY and machine.undisturbed else ""
    rest = "nothing is taken away" if machine.undisturbed else machine.strangers or "who else used them was not seen"
    return f"{machine.cores:g} cores {machine.busy:.0%} busy{own}; {rest}"
