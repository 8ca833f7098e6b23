"""rate-limit: what a fleet lets through under a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.checks.race_tests.race_kind import RaceFigures, RaceGates, RaceKind, when
from rig.evidence.gate import Gate

SCOPE_TOLERANCE = 0.1
"""Share by which a measured cap may differ from the promised one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitFigures(RaceFigures):
    """``cap`` is how many requests a window were granted, ``scope_factor`` that number over the limit.

    ``processes`` share the port of each replica; packs of earlier releases do not have it. ``answered``: by process,
    how many of the answers that were looked at were its own. ``scope_factor_of_each`` is what the fleet would have let
    through if each process had a limit of its own. Both are None where each replica is one process and does not name
    it, and ``answered`` is empty where nobody could see. ``most_in_a_window`` are the most grants in any time as long
    as a window, the first moments too; None in packs that were made before it was counted. ``burst``: how many of these
    may be beyond the limit. Without it as many again: at the edge of two fixed windows, or from a full bucket that is
    filled up meanwhile, any limiter lets through so much. ``ended`` are replicas that the rig started and that ended
    meanwhile, with their exit codes.
    """

    replicas: int
    limit: int
    window_s: float
    promised: str
    windows: int
    granted: int
    cap: float
    scope_factor: float
    asked: int
    limited: int
    replicas_that_limited: int
    other_statuses: Mapping[str, int]
    processes: int = 1
    answered: Mapping[str, int] | None = None
    scope_factor_of_each: float | None = None
    most_in_a_window: int | None = None
    burst: int | None = None
    ended: Mapping[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        return f"{self.cap:g} a window let through by {self.replicas} replicas, the limit is {self.limit}"


def _judge(gates: RaceGates[RateLimitFigures]) -> list[Gate]:
    it = gates.it
    limiters = it.replicas * (it.processes or 1)
    promised = 1 if it.promised == "fleet" else limiters
    excess = (it.scope_factor - promised) / promised
    is_short = excess < -SCOPE_TOLERANCE
    is_shared = it.processes > 1 and promised > 1  # which of them a connection reaches is the system's choice
    is_off = excess > SCOPE_TOLERANCE or (gates.is_whole and bool(it.asked) and is_short and not is_shared)
    most = promised * (it.limit + (it.limit if it.burst is None else it.burst))
    # One request of each process may be under way when a window begins: its time is that when it was sent.
    is_burst = (it.most_in_a_window or 0) > most * (1 + SCOPE_TOLERANCE) + limiters
    burst = (
        f"{it.most_in_a_window} were let through within {it.window_s:g} s, and at most {most} may be, at the edge of "
        "two windows; where a bucket holds more, write burst"
    )
    is_unreached = it.asked < 2 * it.limit * limiters or not it.limited
    return [
        gates.gate(
            "scope",
            *("scope_factor", "promised", "replicas", "processes", "limit", "window_s", "cap", "granted", "windows"),
            *("asked", "limited", "other_statuses", "answered", "scope_factor_of_each"),
            *("most_in_a_window", "burst", "ended"),
            wrong=when(is_off, f"the fleet lets through {it.scope_factor:g} times the limit, promised is {promised}")
            or when(is_burst, burst)
            or when(it.ended, f"replicas ended while they were asked, with exit codes {dict(it.ended)}")
            or when(it.other_statuses, f"answers that are neither granted nor limited: {it.other_statuses}"),
            weak=when(is_unreached, f"{it.asked} requests, {it.limited} limited: the limit was never reached")
            or when(limiters < 2, "one process cannot tell a shared limit from its own")
            or when(is_short, f"{it.scope_factor:g} times the limit: not each of {limiters} processes was asked enough")
            or when(promised == 1, _lacks_processes(it)),
        ),
    ]


def _lacks_processes(it: RateLimitFigures) -> str:
    """Why a limit of each process would have looked like a shared one; empty where it would not."""
    if it.answered == {}:
        return "nobody saw which processes answered: name a header that tells in process_header"
    if it.scope_factor_of_each is None or it.scope_factor_of_each > 1 + 2 * SCOPE_TOLERANCE:
        return ""
    return (
        f"{len(it.answered or ())} of {it.replicas * it.processes} processes answered, the others too seldom: with a "
        f"limit of each the fleet would let through {it.scope_factor_of_each:g} times the limit, as with a shared one"
    )


RATE_LIMIT = RaceKind(
    "rate-limit",
    {"shared": ("scope",)},
    RateLimitFigures,
    {
        "scope": "the fleet lets through what is promised (L for scope fleet, N times L for process), and answers all",
    },
    _judge,
)
