"""H-B1 and H-B2: waiting for a connection of the pool, and making a new one for every request.

Requests queue where a pool is full, whatever the reason: the sessions may wait for something, or for a core. The pool
is the cause only when nothing but connections is missing.
"""

from __future__ import annotations

from rig.diagnose.database import stands_out
from rig.diagnose.numbers import BUSY, Measured
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis

OF_THE_FLIGHT = 0.5
"""Share of the requests in flight that wait for a connection: more than anywhere else."""
IN_USE = 0.7
"""Share of the connections in use, where the pool has no counters. Between two requests the server holds a connection
for a moment, and the database sees it idle."""
QUEUE = 2.0
"""Requests in flight for each connection, where the pool has no counters. Fewer are no queue."""
CONNECTS_A_REQUEST = 0.1
"""New sessions for each request. A session costs 2 to 5 ms of CPU (fork, authentication, first reading of the
catalogue), a small transaction much less: one session for ten requests is half of a request's cost."""

POOL = Claim(
    "H-B1",
    "too few database connections",
    "most requests in flight wait for a connection, and neither sessions nor server wait for anything else",
    "few requests wait for a connection, or the sessions wait in the database, or the server or all cores are busy",
)
CHURN = Claim(
    "H-B2",
    "a new database connection for every request",
    f"over {CONNECTS_A_REQUEST:g} new sessions a request",
    "sessions are used for many requests",
)


def weigh_pool(measured: Measured, *databases: Hypothesis) -> Hypothesis:
    """H-B1. ``databases`` are hypotheses about the sessions: if one holds, it explains the queue for them."""
    database, pool = measured.database, measured.pool
    if database is None:
        return POOL.leave_open(measured.unseen["database"])
    in_use = database.in_use / database.connections if database.connections else 0.0
    figures: dict[str, Figure] = {
        "waiting_for_a_connection": pool.waiting if pool else None,
        "acquire_ms": pool.acquire_ms if pool else None,
        "acquire_timeouts": round(pool.timeouts) if pool else None,
        "connections": database.connections,
        "connections_max": pool.connections_max if pool else None,
        "connections_in_use": database.in_use,
        "requests_in_flight": measured.in_flight,
        "judged_from": "the pool's own counters" if pool else f"the sessions alone; {measured.unseen['pool']}",
    }
    if pool is not None:
        score = measured.share(pool.waiting)
        none_waits = (score < OF_THE_FLIGHT, f"{score:.0%} of the requests in flight wait for a connection")
        what = f"{pool.waiting:.0f} of {measured.in_flight:.0f} requests wait for one, {pool.acquire_ms:.0f} ms each"
    else:
        score = measured.share(measured.in_flight - database.connections)
        none_waits = (
            in_use < IN_USE or measured.in_flight < QUEUE * database.connections,
            f"{database.in_use:.1f} of {database.connections:.0f} connections are in use",
        )
        what = f"{measured.in_flight:.0f} requests in flight and {in_use:.0%} of the connections in use"
    against = first_of(none_waits, *_other_causes(measured, *databases))
    most = f" (at most {pool.connections_max:.0f})" if pool and pool.connections_max else ""
    return POOL.decide(against, score, figures, f"{database.connections:.0f} connections{most}: {what}")


def _other_causes(measured: Measured, *databases: Hypothesis) -> list[tuple[bool, str]]:
    """Other reasons why requests wait for connections."""
    server = measured.server
    occupied_share = server.processes[0].occupied_share if server and server.processes else 0.0
    return [
        (bool(stands_out(*databases)), f"the cause of the queue is something else: {stands_out(*databases)}"),
        (measured.short_of_cores, "no core is idle, so the requests wait for a core in the end"),
        (
            occupied_share >= BUSY,
            f"a server process is occupied for {occupied_share:.0%} of its time",
        ),
    ]


def weigh_churn(measured: Measured) -> Hypothesis:
    """H-B2, from the database's own count of sessions."""
    database = measured.database
    if database is None:
        return CHURN.leave_open(measured.unseen["database"])
    if database.connects_per_s is None:
        return CHURN.leave_open("new sessions: use a PostgreSQL that counts them (14 or later)")
    a_request = database.connects_per_s / measured.rate_per_s if measured.rate_per_s else 0.0
    figures: dict[str, Figure] = {
        "new_sessions_per_s": database.connects_per_s,
        "new_sessions_per_request": a_request,
        "requests_per_s": measured.rate_per_s,
    }
    said = f"{database.connects_per_s:.0f} new sessions/s for {measured.rate_per_s:.0f} requests/s"
    against = first_of((a_request < CONNECTS_A_REQUEST, said))
    return CHURN.decide(against, a_request, figures, said)
