"""S8 PerfGate: 10,000 mixed events, all answered in under 10 seconds and every row in its place."""

from __future__ import annotations

from collections.abc import Container

from rig.model import Pace, RequestClass, Scenario, Share

REQUESTS = 10_000
LIMIT_S = 10.0
TRIALS = 3
WARM_UP = 100
DEADLINE_LIMITS = 12.0
"""A gate that fails still gets its figure: the scenario run goes on for so many times its limit."""


def perf_gate(
    route: str,
    tenant: str,
    *,
    trial: int = 1,
    requests: int = REQUESTS,
    limit_s: float = LIMIT_S,
    deadline_limits: float = DEADLINE_LIMITS,
    sends: Container[RequestClass] | None = None,
) -> Scenario:
    """One trial: 100 replays of one key, 50 malformed, 50 with personal data, the rest unique, shuffled.

    Of fewer requests at most a quarter are replays, an eighth malformed and an eighth with personal data. What the
    target cannot be sent (``sends``; None: all can) is unique events instead.
    """
    replays = min(100, requests // 4)
    malformed, personal = (
        min(50, requests // 8) if sends is None or kind in sends else 0
        for kind in (RequestClass.MALFORMED, RequestClass.PERSONAL)
    )
    shares = (
        Share(RequestClass.REPLAY, replays, one_key=True),
        Share(RequestClass.MALFORMED, malformed),
        Share(RequestClass.PERSONAL, personal),
        Share(RequestClass.VALID, requests - replays - malformed - personal),
    )
    return Scenario(
        id="S8",
        title="PerfGate",
        step=requests,
        route=route,
        tenants=(tenant,),
        shares=tuple(share for share in shares if share.count),
        pace=Pace(connections=200),
        trial=trial,
        shuffled=True,
        deadline_s=limit_s * deadline_limits,
        limit_s=limit_s,
    )


def warm_up(route: str, tenant: str) -> Scenario:
    """100 valid events before the clock counts; their rows are reconciled as well."""
    return Scenario(
        id="warm-up",
        title="WarmUp",
        step=WARM_UP,
        route=route,
        tenants=(tenant,),
        shares=(Share(RequestClass.VALID, WARM_UP),),
        pace=Pace(connections=100),
    )
