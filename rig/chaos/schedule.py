"""Which faults strike when: drawn from the seed alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from rig.chaos.fault import Fault
from rig.evidence.chaos import PlannedFault

FIRST_S = 1.5
"""So long nothing is broken: the rate of a whole service is measured then."""
REST_S = 3.0
"""At least so long after the healing of a fault nothing is broken, and before the end of the load: longer than the
timeout of a request, for which attempts are excused."""
SLOW_S = {"slots-taken": 6.0}
"""So long some faults take besides: a service comes back to slots that were taken from it, and they are taken again."""
_REST_SHARE, _RATE_S = 0.15, 0.5
"""No rest takes more of the load than that share. To see that a rate is back takes so long besides."""
_LONGEST_SHARE = 0.1
"""No fault takes more of the load than that, so that three have room in the short chaos of a run."""


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """What a run is to break during S11, which sends for ``seconds``.

    ``only``: faults that were asked for by name; none: all that the rig has a hand on. ``allowed``: faults that may
    strike what the rig did not start. ``given``: the schedule itself, from another pack. ``rest_s``: see ``REST_S``.
    """

    seconds: float
    only: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    given: tuple[PlannedFault, ...] = ()
    rest_s: float = REST_S


def rest_after_faults(recovery_s: float | None, seconds: float) -> float:
    """How long nothing is to be broken after a fault: as long as the target may take to be back, where there is room.

    ``recovery_s`` is what the profile allows, ``seconds`` how long the load goes on.
    """
    return max(REST_S, min((recovery_s or 0.0) + _RATE_S, _REST_SHARE * seconds))


def plan_faults(seed: int, faults: Sequence[Fault], seconds: float, rest_s: float = REST_S) -> tuple[PlannedFault, ...]:
    """Faults for a load of so many seconds. Each comes once before any comes twice. In a short load they are short."""
    chance = Random(f"chaos-{seed}")
    planned: list[PlannedFault] = []
    at_s, left_out = FIRST_S, 0
    for fault in _shuffled_rounds(chance, sorted(faults, key=lambda fault: fault.name)):
        shortest_s, longest_s = fault.for_s
        for_s = chance.uniform(shortest_s, max(shortest_s, min(longest_s, seconds * _LONGEST_SHARE)))
        slow_s = SLOW_S.get(fault.name, 0.0)
        if at_s + for_s + slow_s + rest_s > seconds:
            left_out += 1
            if left_out == len(faults):
                break  # none of them has room
            continue
        left_out = 0
        planned.append(PlannedFault(len(planned) + 1, fault.name, round(at_s, 3), round(for_s, 3)))
        at_s += for_s + slow_s + rest_s + chance.uniform(0, 0.5)
    return tuple(planned)


def repeat(faults: Sequence[PlannedFault], rest_s: float = REST_S) -> tuple[PlannedFault, ...]:
    """The same faults in the same order, one soon after the other."""
    planned: list[PlannedFault] = []
    at_s = FIRST_S
    for number, one in enumerate(faults, 1):
        planned.append(PlannedFault(number, one.fault, round(at_s, 3), one.for_s))
        at_s += one.for_s + SLOW_S.get(one.fault, 0.0) + rest_s
    return tuple(planned)


def seconds_for(faults: Sequence[PlannedFault], rest_s: float = REST_S) -> float:
    """How long a load must take for these faults."""
    return max((one.at_s + one.for_s + SLOW_S.get(one.fault, 0.0) for one in faults), default=FIRST_S) + rest_s


def _shuffled_rounds(chance: Random, faults: list[Fault]) -> Iterator[Fault]:
    while faults:
        chance.shuffle(faults)
        yield from list(faults)
