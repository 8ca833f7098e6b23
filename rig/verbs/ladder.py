"""Which scenarios ``rig ladder``, ``rig run`` and ``rig perf`` send to the target of a profile."""

from __future__ import annotations

from typing import Any

from rig.errors import UsageError
from rig.model import Scenario
from rig.profile import Profile
from scenarios.ladder import IDS, SPREAD, Ladder
from scenarios.s8 import warm_up
from scenarios.sustained import sustained_load


def ladder_scenarios(
    profile: Profile, only: frozenset[str] | None = None, *, without: frozenset[str] = frozenset(), **options: Any
) -> tuple[Scenario, ...]:
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
        spread=0 if profile.tenants.fixed else SPREAD,  # fixed tenants are few: nobody has twenty to spare
        **options,
    )
    return tuple(ladder.scenarios())


def sustained_scenarios(profile: Profile, rate_per_s: float, seconds: float, p95_ms: float) -> tuple[Scenario, ...]:
    """An open loop on the first route of a profile, after a warm-up."""
    route = profile.routes[0].name
    load = sustained_load(route, ("sustained",), rate_per_s=rate_per_s, seconds=seconds, p95_limit_ms=p95_ms)
    return warm_up(route, "warm-up"), load
