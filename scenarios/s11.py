"""S11 Chaos: a sender that redelivers, while faults strike. In the end every event is there once, whole.

Which faults strike, and when, is not said here: the same scenario without any must pass as well.
"""

from __future__ import annotations

from collections.abc import Container

from rig.model import Pace, Redelivery, RequestClass, Scenario, Share

SHORT_S = 16.5
"""How long the short one sends new events: three faults."""
RATE_PER_S = 100.0
TIMEOUT_S = 2.0
_CONNECTIONS_MAX = 500
REDELIVERY = Redelivery(delays_s=(0.1, 0.2, 0.4, 0.8, 1.6, *[3.2] * 9), jitter=0.2, late_share=0.05, late_s=3.0)
"""An hour and a day of a real sender, compressed. It outlives an outage of half a minute."""
_MALFORMED_SHARE = 0.05


def chaos(
    route: str,
    tenants: tuple[str, ...],
    *,
    seconds: float = SHORT_S,
    rate_per_s: float = RATE_PER_S,
    sends: Container[RequestClass] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Scenario:
    """New events for so many seconds, in an open loop; each is attempted until it is acknowledged.

    One in twenty is malformed, where the target can be sent such (``sends``; None: it can).
    """
    count = max(1, round(seconds * rate_per_s))
    is_sent = sends is None or RequestClass.MALFORMED in sends
    malformed = int(count * _MALFORMED_SHARE) if is_sent else 0
    shares = (Share(RequestClass.VALID, count - malformed), Share(RequestClass.MALFORMED, malformed))
    return Scenario(
        id="S11",
        title="Chaos",
        step=count,
        route=route,
        tenants=tenants,
        shares=tuple(share for share in shares if share.count),
        # So many may hang at once until their timeout. A sender without a bound would bury what comes back.
        pace=Pace(
            connections=min(_CONNECTIONS_MAX, max(8, round(1.25 * rate_per_s * timeout_s))), rate_per_s=rate_per_s
        ),
        shuffled=True,
        timeout_s=timeout_s,
        deadline_s=seconds + REDELIVERY.span_s + timeout_s * (1 + len(REDELIVERY.delays_s)),
        redelivery=REDELIVERY,
    )
