"""S5 CrossTenantCollision: the same key and body for two tenants at once; exactly one canonical row in each."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share


def collision(step: int, route: str, tenants: tuple[str, ...], *, key_step: int | None = None) -> Scenario:
    """N requests with one key, turn by turn for the tenants."""
    return Scenario(
        id="S5",
        title="CrossTenantCollision",
        step=step,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.REPLAY, step, one_key=True),),
        pace=Pace(connections=200),
        key_step=key_step,
        shared_key=True,
    )
