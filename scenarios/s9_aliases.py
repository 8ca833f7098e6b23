"""S9 Aliases: the same event under every spelling of its source; all stored under one channel."""

from __future__ import annotations

from collections.abc import Sequence

from rig.model import Pace, RequestClass, Scenario, Share


def aliases(sources: Sequence[tuple[str, str]], route: str, tenants: tuple[str, ...]) -> Scenario:
    """One event for each (source, channel)."""
    return Scenario(
        id="S9",
        title="Aliases",
        step=len(sources),
        route=route,
        tenants=tenants,
        shares=tuple(Share(RequestClass.VALID, 1, source=source, channel=channel) for source, channel in sources),
        pace=Pace(connections=1),
    )
