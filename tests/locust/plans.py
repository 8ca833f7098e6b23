"""A plan as a master hands it out."""

from __future__ import annotations

from typing import Any

from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.wire import VERSION
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.requests.sender import Credentials
from scenarios.mix import MIX, PERF_GATE


def planned(url: str, **changes: Any) -> dict[str, Any]:
    """For the reference profile's first tenant, in the form of the wire."""
    profile = load_profile(bundled_profile())
    secrets = {route.secret: "secret" for route in profile.routes}
    plan = LocustPlan(
        locust=VERSION,
        run=RunKey(1, "run", 0),
        profile=profile,
        url=url,
        route="stripe",
        tenant="A",
        credentials={"A": Credentials("key", secrets)},
        user_classes=MIX,
        fixed_class=PERF_GATE,
    )
    return plan.to_wire() | changes
