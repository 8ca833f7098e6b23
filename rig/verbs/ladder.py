"""Which scenarios ``rig ladder``, ``rig run`` and ``rig perf`` send to the target of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rig.errors import ConfigError, RigError, UsageError
from rig.model import FORGED, Arrivals, Scenario
from rig.profile import Profile
from rig.requests.forgeries import forgeries_of
from scenarios.ladder import IDS, Ladder
from scenarios.s8 import warm_up
from scenarios.sustained import P95_LIMIT_MS, SECONDS, sustained_load


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run sends; ``left_out``: the scenarios that this target cannot be sent, each with the reason."""

    scenarios: tuple[Scenario, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def ladder_scenarios(
    profile: Profile, only: frozenset[str] | None = None, *, without: frozenset[str] = frozenset(), **options: Any
) -> Plan:
    """The ladder over all routes of a profile: the scenarios of ``only``, else those that the profile names or all.

    ``options`` are fields of ``Ladder``. An error where a scenario is asked for by name and cannot be sent: UsageError,
    ConfigError where the profile itself asks for it. ``without`` are never meant unless ``only`` names them.
    """
    asked, where, error = _asked_steps(profile, only, without)
    if "S9" in asked and not profile.sources:
        raise error(
            f"{where} S9: the profile {profile.name!r} has no [[channels]], so S9 has nothing to send; "
            "write them (docs/profile.md), or leave S9 out"
        )
    ladder = Ladder(
        routes=tuple(route.name for route in profile.routes),
        sources=profile.sources,
        only=asked or frozenset(IDS) - without,
        sends={route.name: profile.sends(route) for route in profile.routes},
        most_tenants=profile.tenant_count,
        forgeries={route.name: forgeries_of(profile, route) for route in profile.routes},
        **options,
    )
    left_out = ladder.left_out()
    if missing := sorted(asked & left_out.keys()):
        raise error(f"{where} {missing[0]}: {left_out[missing[0]]}")
    scenarios = tuple(ladder.scenarios())
    if "S2" in ladder.only and not ladder.documented and not any(scenario.id == FORGED for scenario in scenarios):
        left_out = {**left_out, FORGED: _find_reason_not_to_forge(profile)}
    return Plan(scenarios, left_out)


def _find_reason_not_to_forge(profile: Profile) -> str:
    if profile.answers.forged == "off":
        return 'the profile says so ([answers] forged = "off")'
    return "its routes are not signed and carry no API key, so there is nothing to forge"


def _asked_steps(
    profile: Profile, only: frozenset[str] | None, without: frozenset[str]
) -> tuple[frozenset[str], str, type[RigError]]:
    """The scenarios that are asked for by name, where that stands, and the error for one that cannot be sent."""
    if only is not None or profile.scenarios.only is None:
        return only or frozenset(), "--only", UsageError
    asked, where = frozenset(profile.scenarios.only) - without, "profile key scenarios.only:"
    if not asked:
        raise ConfigError(f"{where} none of it belongs to this verb; name others, or give --only")
    return asked, where, ConfigError


def sustained_scenarios(
    profile: Profile, rate_per_s: float, seconds: float, p95_ms: float, arrivals: str = Arrivals.CONSTANT
) -> Plan:
    """An open loop on the first route of a profile, after a warm-up."""
    route = profile.routes[0].name
    load = sustained_load(
        route,
        (profile.own_tenant("sustained"),),
        rate_per_s=rate_per_s,
        seconds=seconds,
        p95_limit_ms=p95_ms,
        arrivals=Arrivals(arrivals),
    )
    return Plan((warm_up(route, profile.own_tenant("warm-up")), load))


def add_sustained(plan: Plan, profile: Profile, **options: Any) -> Plan:
    """The plan with the sustained load of the profile, where it names a rate; one warm-up is enough."""
    rate_per_s = profile.scenarios.sustained.rate_per_s
    if rate_per_s is None:
        return plan
    how = {"seconds": SECONDS, "p95_ms": P95_LIMIT_MS} | profile.scenarios.options_of_sustained() | options
    there = {scenario.label for scenario in plan.scenarios}
    more = [each for each in sustained_scenarios(profile, rate_per_s, **how).scenarios if each.label not in there]
    return replace(plan, scenarios=(*plan.scenarios, *more))
