"""Which scenarios ``rig ladder``, ``rig run`` and ``rig perf`` send to the target of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rig.errors import UsageError
from rig.model import FORGED, Scenario
from rig.profile import Profile
from rig.requests.forgeries import forgeries_of
from scenarios.ladder import IDS, Ladder
from scenarios.s8 import warm_up
from scenarios.sustained import sustained_load


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run sends; ``left_out``: the scenarios that this target cannot be sent, each with the reason."""

    scenarios: tuple[Scenario, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def ladder_scenarios(
    profile: Profile, only: frozenset[str] | None = None, *, without: frozenset[str] = frozenset(), **options: Any
) -> Plan:
    """The ladder over all routes of a profile: the scenarios of ``only``, else all but those of ``without``.

    ``options`` are fields of ``Ladder``. UsageError where S9 is asked for by name and has nothing to send: alone, it
    would be a run that sends nothing.
    """
    if only is not None and "S9" in only and not profile.sources:
        raise UsageError(
            f"--only S9: the profile {profile.name!r} has no [[channels]], so S9 has nothing to send; "
            "write them (docs/profile.md), or leave S9 out"
        )
    ladder = Ladder(
        routes=tuple(route.name for route in profile.routes),
        sources=profile.sources,
        only=only or frozenset(IDS) - without,
        sends={route.name: profile.sends(route) for route in profile.routes},
        most_tenants=profile.tenant_count,
        forgeries={route.name: forgeries_of(profile, route) for route in profile.routes},
        **options,
    )
    left_out = ladder.left_out()
    if only is not None and (asked := sorted(only & left_out.keys())):
        raise UsageError(f"--only {asked[0]}: {left_out[asked[0]]}")
    scenarios = tuple(ladder.scenarios())
    if "S2" in ladder.only and not ladder.documented and not any(scenario.id == FORGED for scenario in scenarios):
        left_out = {**left_out, FORGED: _why_unforged(profile)}
    return Plan(scenarios, left_out)


def _why_unforged(profile: Profile) -> str:
    if profile.answers.forged == "off":
        return 'the profile says so ([answers] forged = "off")'
    return "its routes are not signed and carry no API key, so there is nothing to forge"


def sustained_scenarios(profile: Profile, rate_per_s: float, seconds: float, p95_ms: float) -> Plan:
    """An open loop on the first route of a profile, after a warm-up."""
    route = profile.routes[0].name
    tenants = ("warm-up", "sustained") if profile.tenant_count is None else ("A", "A")
    load = sustained_load(route, tenants[1:], rate_per_s=rate_per_s, seconds=seconds, p95_limit_ms=p95_ms)
    return Plan((warm_up(route, tenants[0]), load))
