"""H-F: the machine. Something took its processors away from everybody: a hypervisor, a quota, other people's work.

That all cores are busy is no fault of a machine: on a small one client, server and database fill them when nothing else
holds them up, and that is the best that can happen. They must be busy with something else, or not be there.
"""

from __future__ import annotations

from rig.diagnose.numbers import FOREIGN, WITHOUT_CORE, Measured
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis
from rig.limits import STOLEN, THROTTLED

MACHINE = Claim(
    "H-F",
    "the machine",
    f"a hypervisor or a CPU quota takes {STOLEN:.0%} of the time, or processes that are no part of the run use "
    f"{FOREIGN:.0%} of the cores while the run waits for one",
    "nothing is taken away: idle cores, or cores busy with the run's own work",
)


def weigh_machine(measured: Measured) -> Hypothesis:
    """H-F."""
    machine = measured.machine
    if machine is None:
        return MACHINE.undecided(measured.unseen["machine"])
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
            f"other processes used {(machine.foreign or 0.0) * machine.cores:.1f} of {machine.cores:g} cores, and the "
            f"run was ready without a core for {wanting:.0%} of the time",
        ),
    ]
    held = [(share, words) for holds, share, words in taken if holds]
    own = ", busy with the run's own work" if machine.spent_on_the_run else ""
    against = first_of((not held, f"{machine.cores:g} cores {machine.busy:.0%} busy{own}; nothing is taken away"))
    score = max((share for share, _ in held), default=0.0)
    return MACHINE.decided(against, max(score, wanting), figures, "; ".join(words for _, words in held))
