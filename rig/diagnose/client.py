"""H-D: the load generator itself.

This hypothesis needs no sampler: the workers measure themselves. The rate of the null benchmark is only a figure here;
the gates judge whether the client is good enough.
"""

from __future__ import annotations

from rig.diagnose.database import stands_out
from rig.diagnose.numbers import Measured
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis
from rig.limits import BUSY, STALLED

OF_THE_FLIGHT = 0.5
"""So many of the requests in flight were due and had a free connection, and were not sent."""

OWN_STANDSTILL = 2.0
"""A worker that stood still for so many times as long as it waited for a core was stopped by something else."""

PREPARE_AHEAD = "raise tolerance_s as far as the target allows, send fewer requests, or use a cheaper key"

CLIENT = Claim(
    "H-D",
    "the client",
    f"a worker uses {BUSY:.0%} of the CPU that it may use, or stands still for {STALLED:.0%} of the time, or most "
    "requests that are due are not sent",
    "every worker has time to spare and sends on time",
)


def weigh_client(measured: Measured, best_rps: float | None, machine: Hypothesis) -> Hypothesis:
    """H-D. ``best_rps`` is the rate of the null benchmark, None without one; ``machine`` is H-F, weighed."""
    client = measured.client
    if client is None:
        return CLIENT.leave_open("the client: no worker reported")
    late = measured.share(client.late)
    figures: dict[str, Figure] = {
        "worker": client.busiest,
        "utilisation": client.utilisation,
        "cores_allowed": client.cores_allowed,
        "stalled_share": client.stalled,
        "without_a_core_share": client.without_core,
        "lag_p99_ms": client.lag_p99_ms,
        "requests_not_sent_in_time": client.late,
        "requests_per_s": measured.rate_per_s,
        "null_benchmark_rps": best_rps,
        "active_sessions": measured.database.active if measured.database else None,
    }
    crowded = client.without_core is None or client.stalled < OWN_STANDSTILL * client.without_core
    busy, stalled, tardy = client.utilisation >= BUSY, client.stalled >= STALLED, late >= OF_THE_FLIGHT
    against = first_of(
        (
            not (busy or stalled or tardy),
            f"worker {client.busiest} at {client.utilisation:.0%} of its CPU, stood still for {client.stalled:.0%}, "
            f"lag p99 {client.lag_p99_ms:.1f} ms",
        ),
        (
            not busy and crowded and bool(stands_out(machine)),
            f"{stands_out(machine)} held it up, and everything else too",
        ),
    )
    of_what = "a core" if client.cores_allowed >= 1 else f"the {client.cores_allowed:g} cores that it may use"
    because = f"worker {client.busiest} at {client.utilisation:.0%} of {of_what}"
    if stalled:
        because += f", stood still for {client.stalled:.0%} of the time"
    because += f", lag p99 {client.lag_p99_ms:.0f} ms"
    if measured.database is not None:
        because += f", {measured.database.active:.1f} average active sessions in the database"
    if client.signing:
        because += f"; {client.signing}, because the requests were not signed ahead: {PREPARE_AHEAD}"
    return CLIENT.decide(against, max(client.utilisation * busy, client.stalled, late), figures, because)
