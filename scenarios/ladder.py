"""The ladder: which scenarios run, at which steps, on which routes, for which tenants, in which order.

At each step S1, S5, S3, S7, S4, S2, S6; then S9; then S8 after its warm-up. S2, S3, S4 and S6 climb on every other
route of the profile too. One more step spreads S1, S2 and S6 over many tenants that share the target's pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rig.model import Scenario
from scenarios.s1_replay import replay_storm
from scenarios.s2_unique import unique_storm
from scenarios.s3_malformed import malformed_storm
from scenarios.s4_personal import personal_storm
from scenarios.s5_collision import collision
from scenarios.s6_mixed import mixed_storm
from scenarios.s7_invalid_json import invalid_json
from scenarios.s8_perf_gate import DEADLINE_LIMITS, LIMIT_S, REQUESTS, TRIALS, perf_gate, warm_up
from scenarios.s9_aliases import aliases

STEPS = (50, 250, 1000)
SPREAD = 20
IDS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
_ONE_KEY_FOR_ALL_STEPS = 0


@dataclass(frozen=True, slots=True)
class Ladder:
    """What of the ladder is climbed.

    ``routes``: the first is the main one. ``sources``: (utm_source, channel) pairs of S9. ``tenants`` spreads every
    scenario but S5, S8 and S9 over so many tenants; ``spread`` adds one step over so many (0: none). ``documented``
    gives the composition whose totals are documented: one key for S1 and for S5 over all steps, the main route only,
    no spread step, one S8 trial, on tenant A.
    """

    routes: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()
    steps: tuple[int, ...] = STEPS
    only: frozenset[str] = frozenset(IDS)
    tenants: int = 1
    spread: int = SPREAD
    documented: bool = False
    perf_requests: int = REQUESTS
    perf_limit_s: float = LIMIT_S
    perf_trials: int = TRIALS
    perf_deadline_limits: float = DEADLINE_LIMITS

    def __post_init__(self) -> None:
        if len(set(self.steps)) != len(self.steps):
            raise ValueError(f"steps {self.steps}: one that comes twice would send the same keys twice")
        if self.spread in (1, 2):
            raise ValueError(f"spread {self.spread}: give 0 or at least 3; fewer would repeat the plain step")

    def scenarios(self) -> list[Scenario]:
        """All drives in their order."""
        return [scenario for scenario in self._all() if scenario.id in self.only | {"warm-up"}]

    def _all(self) -> Iterator[Scenario]:
        main, *others = self.routes
        everyone = tenant_names(self.tenants)
        for step in self.steps:
            yield from self._climb(step, main, everyone)
            if not self.documented:
                for route in others:
                    yield from _vendor_storms(step, route, everyone)
        if self.spread and not self.documented and self.tenants == 1:
            yield from _spread_storms(max(self.steps), main, tenant_names(self.spread))
        if self.sources:
            yield aliases(self.sources, main, ("A",))
        if "S8" in self.only:
            yield from self._perf(main)

    def _climb(self, step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
        key_step = _ONE_KEY_FOR_ALL_STEPS if self.documented else None
        yield replay_storm(step, route, tenants, key_step=key_step)
        yield collision(step, route, ("A", "B"), key_step=key_step)
        yield malformed_storm(step, route, tenants)
        yield invalid_json(step, route, tenants)
        yield personal_storm(step, route, tenants)
        yield unique_storm(step, route, tenants)
        yield mixed_storm(step, route, tenants)

    def _perf(self, route: str) -> Iterator[Scenario]:
        yield warm_up(route, "warm-up")
        trials = 1 if self.documented else self.perf_trials
        for trial in range(1, trials + 1):
            yield perf_gate(
                route,
                "A" if self.documented else f"S8-{trial}",
                trial=trial,
                requests=self.perf_requests,
                limit_s=self.perf_limit_s,
                deadline_limits=self.perf_deadline_limits,
            )


def tenant_names(count: int) -> tuple[str, ...]:
    """Names of ``count`` tenants: A alone, or T01, T02, …"""
    return ("A",) if count == 1 else tuple(f"T{number:02d}" for number in range(1, count + 1))


def tenants_of(scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """The names of all tenants that some drives need, each once, in their order."""
    return tuple(dict.fromkeys(name for scenario in scenarios for name in scenario.tenants))


def _vendor_storms(step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
    yield malformed_storm(step, route, tenants)
    yield personal_storm(step, route, tenants)
    yield unique_storm(step, route, tenants)
    yield mixed_storm(step, route, tenants)


def _spread_storms(step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
    yield replay_storm(step, route, tenants)
    yield unique_storm(step, route, tenants)
    yield mixed_storm(step, route, tenants)
