"""The ladder: the scenarios S1–S7, S9, conflicts and forged requests, and in which order they run at which steps,
routes, tenants.

At each step S1, S5, S3, S7, S4, S2, S6; then S9; then S8 after its warm-up. S2, S3, S4 and S6 climb on every other
route of the profile too. One more step spreads S1, S2 and S6 over many tenants that share the target's pool. Where a
profile says what a conflict is answered, one follows each S2. Forged requests go to each route between S7 and S9, in no
scenario's count and for tenants of their own.

A new scenario is one function here that returns a ``Scenario``, and one line in ``Ladder``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rig.model import FORGED, Forgery, Pace, RequestClass, Scenario, Share
from scenarios.s8 import DEADLINE_LIMITS, LIMIT_S, REQUESTS, TRIALS, perf_gate, warm_up

STEPS = (50, 250, 1000)
SPREAD = 20
IDS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
CONFLICT = "conflict"
_FORGED_STEPS = 3
"""Forged requests over all routes, in highest steps: 3,000 find a check that lets one in a thousand through."""
INVALID_JSON_MOST = 50
_ONE_KEY_FOR_ALL_STEPS = 0
_MANY, _FEW, _ONE = Pace(connections=200), Pace(connections=100), Pace(connections=1)
_NEEDED = {"S3": RequestClass.MALFORMED, "S4": RequestClass.PERSONAL, "S7": RequestClass.INVALID_JSON}
"""The class without which a scenario sends nothing."""


def replay_storm(step: int, route: str, tenants: tuple[str, ...], *, key_step: int | None = None) -> Scenario:
    """S1: one signed event, sent N times (one event per tenant). Exactly one canonical row may come of it.

    ``key_step`` lets several steps share the event.
    """
    shares = (Share(RequestClass.REPLAY, step, one_key=True),)
    return Scenario("S1", "ReplayStorm", step, route, tenants, shares, _MANY, key_step=key_step)


def unique_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """S2: N valid events with distinct keys. N canonical rows must come of them."""
    return Scenario("S2", "UniqueStorm", step, route, tenants, (Share(RequestClass.VALID, step),), _FEW)


def malformed_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """S3: N schema-invalid bodies, in turn of each kind that the route declares. N dead letters, nothing else."""
    return Scenario("S3", "MalformedStorm", step, route, tenants, (Share(RequestClass.MALFORMED, step),), _FEW)


def personal_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """S4: N valid bodies with personal data, in turn at each place that the route declares.

    N dead letters, and the data is nowhere.
    """
    return Scenario("S4", "PIIStorm", step, route, tenants, (Share(RequestClass.PERSONAL, step),), _FEW)


def collision(
    step: int, route: str, tenants: tuple[str, ...], *, key_step: int | None = None, pace: Pace = _MANY
) -> Scenario:
    """S5: N requests with the same key and body, in turn for each tenant. Exactly one canonical row in each tenant."""
    shares = (Share(RequestClass.REPLAY, step, one_key=True),)
    title = "CrossTenantCollision"
    return Scenario("S5", title, step, route, tenants, shares, pace, key_step=key_step, shared_key=True)


def mixed_storm(step: int, route: str, tenants: tuple[str, ...], *, malformed: bool = True) -> Scenario:
    """S6: 70 % of N replays of one key, 30 % unique, and 10 % of N malformed on top, shuffled: 1.1 N in all.

    Fractions round down, at least 1. Without ``malformed`` the rest alone.
    """
    shares = (
        Share(RequestClass.REPLAY, max(1, step * 7 // 10), one_key=True),
        Share(RequestClass.VALID, max(1, step * 3 // 10)),
        *((Share(RequestClass.MALFORMED, max(1, step // 10)),) if malformed else ()),
    )
    return Scenario("S6", "MixedStorm", step, route, tenants, shares, _MANY, shuffled=True)


def invalid_json(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """S7: at most 50 truncated bodies, correctly signed. Dead letters, never an error of the server."""
    shares = (Share(RequestClass.INVALID_JSON, min(step, INVALID_JSON_MOST)),)
    return Scenario("S7", "InvalidJson", step, route, tenants, shares, _FEW)


def conflicts(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """The keys of S2 once more, each with another body. The rows of S2 must stay as they are."""
    shares = (Share(RequestClass.CONFLICT, step),)
    return Scenario(CONFLICT, "ConflictStorm", step, route, tenants, shares, _FEW, keys_of="S2")


def forged(count: int, route: str, tenants: tuple[str, ...], kinds: Sequence[Forgery]) -> Scenario:
    """At least ``count`` forged requests of all kinds, and a valid one to three of them. Only the valid leave rows."""
    each = -(-count // len(kinds))
    shares = tuple(Share(RequestClass.FORGED, each, forgery=kind) for kind in kinds)
    valid = Share(RequestClass.VALID, -(-each * len(kinds) // 3))
    return Scenario(FORGED, "ForgedStorm", count, route, tenants, (valid, *shares), _FEW, shuffled=True)


def aliases(sources: Sequence[tuple[str, str]], route: str, tenants: tuple[str, ...]) -> Scenario:
    """S9: the same event once for each (source, channel). Each must be stored under its channel."""
    shares = tuple(Share(RequestClass.VALID, 1, source=source, channel=channel) for source, channel in sources)
    return Scenario("S9", "Aliases", len(sources), route, tenants, shares, _ONE)


@dataclass(frozen=True, slots=True)
class Ladder:
    """What of the ladder is climbed.

    ``routes``: the first is the main one. ``forgeries``: the kinds of forged requests that each route can have.
    ``sends``: the request classes that a route can send; those of a route that is missing are all but conflicts.
    ``most_tenants``: how many tenants there are (None: as many as wanted). ``sources``: (utm_source, channel) pairs of
    S9. S5 has one connection at the lowest step. ``tenants`` spreads every scenario but S5, S8 and S9 over so many
    tenants; ``spread`` adds one step over so many (0: none). ``documented`` gives the composition whose totals are
    documented: one key for S1 and for S5 over all steps, the main route only, no spread step, one S8 trial on A.
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
    sends: Mapping[str, frozenset[RequestClass]] = field(default_factory=dict)
    most_tenants: int | None = None
    forgeries: Mapping[str, tuple[Forgery, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.steps)) != len(self.steps):
            raise ValueError(f"steps {self.steps}: one that comes twice would send the same keys twice")
        if self.spread in (1, 2):
            raise ValueError(f"spread {self.spread}: give 0 or at least 3; fewer would repeat the plain step")

    def scenarios(self) -> list[Scenario]:
        asked = self.only | {"warm-up"} | ({CONFLICT, FORGED} if "S2" in self.only else set())
        return [scenario for scenario in self._all() if scenario.id in asked]

    def left_out(self) -> dict[str, str]:
        """The scenarios that this target cannot be sent, each with the reason."""
        main = self.routes[0]
        reasons = {
            "S3": "its routes name no malformed bodies (routes.malformed)",
            "S4": "its routes name no place for personal data (routes.personal)",
            "S7": "a body of its routes cannot be cut off so that it is invalid",
        }
        found = {
            scenario: f"the profile leaves it out: {reasons[scenario]}"
            for scenario, kind in _NEEDED.items()
            if not self._can_send(main, kind)
        }
        if self.most_tenants is not None and self.most_tenants < 2:
            found["S5"] = "the target has one tenant, and this takes two"
        return {scenario: why for scenario, why in found.items() if scenario in self.only}

    def _can_send(self, route: str, kind: RequestClass) -> bool:
        return kind in self.sends[route] if route in self.sends else kind is not RequestClass.CONFLICT

    def _all(self) -> Iterator[Scenario]:
        main, *others = self.routes
        everyone = tenant_names(self.tenants)
        for step in self.steps:
            yield from self._climb(step, main, everyone)
            if not self.documented:
                for route in others:
                    yield from self._vendor_storms(step, route, everyone)
        if self.spread and not self.documented and self.tenants == 1 and self.most_tenants is None:
            yield from self._spread_storms(max(self.steps), main, tenant_names(self.spread))
        if not self.documented:
            yield from self._forged_storms()
        if self.sources:
            yield aliases(self.sources, main, ("A",))
        if "S8" in self.only:
            yield from self._perf(main)

    def _forged_storms(self) -> Iterator[Scenario]:
        kinds = {route: self.forgeries.get(route) for route in self.routes}
        routes = [(route, own) for route, own in kinds.items() if own]
        tenants = (FORGED, f"{FORGED}-2") if self.most_tenants is None else ("A", "B")[: self.most_tenants]
        for route, own in routes:
            yield forged(-(-_FORGED_STEPS * max(self.steps) // len(routes)), route, tenants, own)

    def _climb(self, step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
        key_step = _ONE_KEY_FOR_ALL_STEPS if self.documented else None
        yield replay_storm(step, route, tenants, key_step=key_step)
        if self.most_tenants is None or self.most_tenants > 1:
            # All at once, a service that looks for the key among all tenants finds none yet, and stores both.
            pace = _ONE if step == min(self.steps) and not self.documented else _MANY
            yield collision(step, route, ("A", "B"), key_step=key_step, pace=pace)
        if self._can_send(route, RequestClass.MALFORMED):
            yield malformed_storm(step, route, tenants)
        if self._can_send(route, RequestClass.INVALID_JSON):
            yield invalid_json(step, route, tenants)
        if self._can_send(route, RequestClass.PERSONAL):
            yield personal_storm(step, route, tenants)
        yield from self._unique_storms(step, route, tenants)

    def _unique_storms(self, step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
        yield unique_storm(step, route, tenants)
        if self._can_send(route, RequestClass.CONFLICT) and not self.documented:
            yield conflicts(step, route, tenants)
        yield mixed_storm(step, route, tenants, malformed=self._can_send(route, RequestClass.MALFORMED))

    def _vendor_storms(self, step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
        if self._can_send(route, RequestClass.MALFORMED):
            yield malformed_storm(step, route, tenants)
        if self._can_send(route, RequestClass.PERSONAL):
            yield personal_storm(step, route, tenants)
        yield from self._unique_storms(step, route, tenants)

    def _spread_storms(self, step: int, route: str, tenants: tuple[str, ...]) -> Iterator[Scenario]:
        yield replay_storm(step, route, tenants)
        yield unique_storm(step, route, tenants)
        yield mixed_storm(step, route, tenants, malformed=self._can_send(route, RequestClass.MALFORMED))

    def _perf(self, route: str) -> Iterator[Scenario]:
        trials = 1 if self.documented else self.perf_trials
        # Each trial has a tenant of its own, where there are enough of them: A, B, the warm-up's and the trials'.
        enough = self.most_tenants is None or self.most_tenants >= trials + 3
        yield warm_up(route, "warm-up" if enough else "A")
        for trial in range(1, trials + 1):
            yield perf_gate(
                route,
                f"S8-{trial}" if enough and not self.documented else "A",
                trial=trial,
                requests=self.perf_requests,
                limit_s=self.perf_limit_s,
                deadline_limits=self.perf_deadline_limits,
                sends=self.sends.get(route),
            )


def tenant_names(count: int) -> tuple[str, ...]:
    """Names of ``count`` tenants: A alone, or T01, T02, …"""
    return ("A",) if count == 1 else tuple(f"T{number:02d}" for number in range(1, count + 1))
