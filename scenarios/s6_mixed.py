"""S6 MixedStorm: replays, unique and malformed events shuffled together, 1.1 N in all."""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share


def mixed_storm(step: int, route: str, tenants: tuple[str, ...]) -> Scenario:
    """70 % of N replays of one key, 30 % unique, and 10 % of N malformed on top; fractions round down, at least 1."""
    return Scenario(
        id="S6",
        title="MixedStorm",
        step=step,
        route=route,
        tenants=tenants,
        shares=(
            Share(RequestClass.REPLAY, max(1, step * 7 // 10), one_key=True),
            Share(RequestClass.VALID, max(1, step * 3 // 10)),
            Share(RequestClass.MALFORMED, max(1, step // 10)),
        ),
        pace=Pace(connections=200),
        shuffled=True,
    )
