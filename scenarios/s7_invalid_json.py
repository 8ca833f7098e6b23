"""S7 InvalidJson: truncated bodies, correctly signed; dead letters, never an error of the server."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share

MOST = 50


def invalid_json(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """At most 50 truncated bodies."""
    return Scenario(
        id="S7",
        title="InvalidJson",
        step=step,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.INVALID_JSON, min(step, MOST)),),
        pace=Pace(connections=100),
    )
