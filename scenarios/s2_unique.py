"""S2 UniqueStorm: N valid events with distinct keys; N canonical rows must come of them."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share


def unique_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """N distinct valid events."""
    return Scenario(
        id="S2",
        title="UniqueStorm",
        step=step,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.VALID, step),),
        pace=Pace(connections=100),
    )
