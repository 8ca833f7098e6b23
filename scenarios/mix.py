"""The scenarios as user classes: what a crowd of locust users sends, in which proportions.

A crowd has no number of requests beforehand, and a scenario needs one. So each user class is spun from strands, each
of one request class, and a strand is cut into blocks: scenarios of ``BLOCK`` requests with keys of their own, of which
the last is cut to what was really sent. Every worker has blocks of its own, so no request is ever sent by two.
S8 alone has a fixed count, which all workers share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rig.model import Pace, RequestClass, Scenario, Share

BLOCK = 5_000
"""Requests of a block: small enough to be bound within a fraction of a millisecond, large enough to be few."""
WORKERS_MOST = 256
"""A row has one byte for its worker."""


@dataclass(frozen=True, slots=True)
class Strand:
    """Requests of one class. ``weight`` counts against the other strands of the same user class."""

    request_class: RequestClass
    weight: int = 1
    one_key: bool = False


@dataclass(frozen=True, slots=True)
class UserClass:
    """One kind of user. ``weight`` is its share of a crowd; ``strands`` are what each of its users sends by turns."""

    name: str
    id: str
    title: str
    weight: int
    strands: tuple[Strand, ...]

    @property
    def label(self) -> str:
        """What it is called in statistics."""
        return f"{self.id} {self.title}"

    def turns(self) -> tuple[int, ...]:
        """The numbers of the strands in the order in which they take turns, each as often as its weight, spread out."""
        total = sum(strand.weight for strand in self.strands)
        places = [
            ((turn + 0.5) * total / strand.weight, number)
            for number, strand in enumerate(self.strands)
            for turn in range(strand.weight)
        ]
        return tuple(number for _, number in sorted(places))


_REPLAY = Strand(RequestClass.REPLAY, one_key=True)

MIX = (
    UserClass("S1Replay", "S1", "ReplayStorm", 2, (_REPLAY,)),
    UserClass("S2Unique", "S2", "UniqueStorm", 6, (Strand(RequestClass.VALID),)),
    UserClass("S3Malformed", "S3", "MalformedStorm", 1, (Strand(RequestClass.MALFORMED),)),
    UserClass("S4Personal", "S4", "PIIStorm", 1, (Strand(RequestClass.PERSONAL),)),
    UserClass(
        "S6Mixed",
        "S6",
        "MixedStorm",
        2,
        (replace(_REPLAY, weight=7), Strand(RequestClass.VALID, 3), Strand(RequestClass.MALFORMED, 1)),
    ),
    UserClass("S7InvalidJson", "S7", "InvalidJson", 1, (Strand(RequestClass.INVALID_JSON),)),
)
PERF_GATE = "S8PerfGate"
"""The user class whose users share out the fixed number of requests of ``scenarios.s8``."""
CLASSES = {user_class.name: user_class for user_class in MIX}


def block(
    user_class: UserClass, strand: int, number: int, *, worker: int, route: str, tenant: str, timeout_s: float
) -> Scenario:
    """Block ``number`` of a strand for one worker; all numbers count from 0."""
    part = user_class.strands[strand]
    return Scenario(
        id=user_class.id,
        title=user_class.title,
        step=BLOCK,
        route=route,
        tenants=(tenant,),
        shares=(Share(part.request_class, BLOCK, one_key=part.one_key),),
        pace=Pace(connections=1),
        trial=1 + worker + WORKERS_MOST * (strand + len(user_class.strands) * number),
        timeout_s=timeout_s,
    )


def cut(scenario: Scenario, count: int) -> Scenario:
    """The same block with its first ``count`` requests only: keys and correlation ids stay what they were."""
    (share,) = scenario.shares
    return replace(scenario, shares=(replace(share, count=count),))
