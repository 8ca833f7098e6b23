"""A step of the search for a target's capacity: an open loop at a constant rate, for some seconds."""

from __future__ import annotations

from math import ceil

from rig.model import Arrivals, Pace, RequestClass, Scenario, Share

LEAST_REQUESTS = 20
"""With fewer the p95 would be the slowest of them."""
_LEAST_CONNECTIONS, _MOST_CONNECTIONS = 200, 2_000
_SPARE = 1.25
LEAD_IN = 0.1
"""So much of the time the rate climbs from nothing. Who sends at the full rate at once, without a connection, opens one
for each request until the first answers come, and a server near its limit may not recover from that."""


def capacity_step(
    route: str, tenants: tuple[str, ...], number: int, rate_per_s: float, seconds: float, *, p95_limit_ms: float
) -> Scenario:
    """Distinct valid events at a rate; ``number`` counts the steps of a search, so that no two send the same events.

    As many connections as requests are in flight while the limit is kept, and some more: who waits for one then waits
    for the target. Past the deadline no more is sent, because the limit is missed by then.
    """
    lead_in_s = LEAD_IN * seconds
    count = max(LEAST_REQUESTS, round(rate_per_s * (seconds - lead_in_s / 2)))
    in_flight = ceil(_SPARE * rate_per_s * p95_limit_ms / 1e3)
    return Scenario(
        id="capacity",
        title=f"Capacity, {rate_per_s:,.4g}/s",
        step=count,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.VALID, count),),
        pace=Pace(
            connections=min(_MOST_CONNECTIONS, max(_LEAST_CONNECTIONS, in_flight)),
            rate_per_s=rate_per_s,
            arrivals=Arrivals.RAMP,
            ramp_over_s=lead_in_s,
        ),
        trial=number,
        deadline_s=count / rate_per_s + lead_in_s / 2 + 2 * p95_limit_ms / 1e3,
        p95_limit_ms=p95_limit_ms,
    )
