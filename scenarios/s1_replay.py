"""S1 ReplayStorm: one signed request, N times; exactly one canonical row may come of it."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share


def replay_storm(step: int, route: str, tenants: tuple[str, ...], *, key_step: int | None = None) -> Scenario:
    """N replays of one event (one per tenant). ``key_step`` lets several steps share the event."""
    return Scenario(
        id="S1",
        title="ReplayStorm",
        step=step,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.REPLAY, step, one_key=True),),
        pace=Pace(connections=200),
        key_step=key_step,
    )
