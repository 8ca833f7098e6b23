"""Sustained load: an open loop at a constant rate, judged on response time.

The default, 1,000 events a second for 10 seconds with a p95 of at most 500 ms, is what "10k in 10 s" means to a sender.
"""

from __future__ import annotations

from rig.model import Arrivals, Pace, RequestClass, Scenario, Share

RATE_PER_S = 1_000.0
SECONDS = 10.0
P95_LIMIT_MS = 500.0


def sustained_load(
    route: str,
    tenants: tuple[str, ...],
    *,
    rate_per_s: float = RATE_PER_S,
    seconds: float = SECONDS,
    p95_limit_ms: float = P95_LIMIT_MS,
    arrivals: Arrivals = Arrivals.CONSTANT,
) -> Scenario:
    """``rate_per_s`` distinct valid events a second for ``seconds``."""
    count = max(1, round(rate_per_s * seconds))
    return Scenario(
        id="sustained",
        title=f"Sustained {rate_per_s:g}/s for {seconds:g} s",
        step=count,
        route=route,
        tenants=tenants,
        shares=(Share(RequestClass.VALID, count),),
        pace=Pace(connections=200, rate_per_s=rate_per_s, arrivals=arrivals),
        deadline_s=seconds * 3 + 30,
        p95_limit_ms=p95_limit_ms,
    )
