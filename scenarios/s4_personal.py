"""S4 PIIStorm: N valid bodies with personal data at several depths; N dead letters, and the data nowhere."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share


def personal_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """N events that carry canaries, taking turns through the places that the route's profile declares."""
    return Scenario(
        id="S4",
        title="PIIStorm",
        step=step,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.PERSONAL, step),),
        pace=Pace(connections=100),
    )
