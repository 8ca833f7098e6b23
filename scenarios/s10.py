"""S10 Shapes: valid events as others send them. Each is stored unaltered, or refused.

Which shapes there are follows from the event of each route (``rig.requests.shapes``). Here stands how many requests
they may take; what fails is shrunk with what is left of them.
"""

from __future__ import annotations

from rig.model import Pace, RequestClass, Scenario, Share

MAIN, OTHERS = 300, 80
"""Requests to the main route, and to each other."""


def shapes(route: str, tenants: tuple[str, ...], requests: int) -> Scenario:
    """At most so many requests to a route, one after another."""
    return Scenario(
        id="S10",
        title="Shapes",
        step=requests,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.VALID, requests),),
        pace=Pace(connections=1),
        deadline_s=60.0,
    )
