"""S3 MalformedStorm: N schema-invalid bodies (no id, no amount, a time that is none); N dead letters, nothing else."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share


def malformed_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """N malformed events, taking turns through the ways that the route's profile declares."""
    return Scenario(
        id="S3",
        title="MalformedStorm",
        step=step,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.MALFORMED, step),),
        pace=Pace(connections=100),
    )
