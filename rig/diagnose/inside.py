"""H-G: requests wait inside the service, found by elimination.

A lock of the application, a sleep, a wait for a free thread and a call to somebody else cost no CPU, no session and no
connection. Nobody outside can see them. They are what is left where every place that can be seen has room.
"""

from __future__ import annotations

from rig.diagnose.database import stands_out
from rig.diagnose.numbers import BUSY, WITHOUT_CORE, Measured
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis

SHARE = 0.5
"""Of the requests in flight. With less, the places that can be seen explain more."""
WAIT_MS = 2.0
"""For each request. Queues of loops and sockets cost a healthy service less."""
IN_USE = 0.7
"""Share of the sessions. With more, a pool that does not count may be what they wait for."""

INSIDE = Claim(
    "H-G",
    "waiting inside the service",
    f"{SHARE:.0%} of the requests in flight and {WAIT_MS:g} ms a request are in no place that can be seen, though "
    "cores, server processes and connections are to spare",
    "the requests are in the client, in the database, at the pool, on a core or waiting for one",
)


def weigh_inside(measured: Measured, *others: Hypothesis) -> Hypothesis:
    """H-G. ``others`` are all that can be seen."""
    client, database, server, machine = measured.client, measured.database, measured.server, measured.machine
    if database is None or server is None or not server.processes or machine is None:
        part = "database" if database is None else "machine" if machine is None and server is not None else "server"
        return INSIDE.leave_open(measured.unseen.get(part, "no process of the target served"))
    places = measured.places()
    waiting = list(places.values())[-1]
    share, wait_ms = measured.share(waiting), 1e3 * waiting / measured.rate_per_s if measured.rate_per_s else 0.0
    used = database.in_use / database.connections if database.connections else 0.0
    busiest = server.processes[0].occupied_share
    # While a process is idle, no request queues at it. So the share that waits there is at most the share of its time.
    queues = max(busiest, client.occupied_share if client is not None else 1.0)
    may_queue = measured.without_core >= WITHOUT_CORE and share <= queues
    figures: dict[str, Figure] = {"share": share, "wait_ms": wait_ms, "busiest_process_share": busiest}
    against = first_of(
        (client is None, "nobody saw the client"),
        (bool(stands_out(*others)), f"it is explained: {stands_out(*others)}"),
        (may_queue, f"for {measured.without_core:.0%} of the time a core was missing"),
        (measured.short_of_cores or machine.spent_on_the_run, f"no core is idle: {machine.busy:.0%} are busy"),
        (busiest >= BUSY, f"a server process is occupied for {busiest:.0%} of its time"),
        (measured.pool is None and used >= IN_USE, f"{used:.0%} of the connections are in use"),
        (share < SHARE, f"{share:.0%} of the requests in flight are in no place that can be seen"),
        (wait_ms < WAIT_MS, f"{wait_ms:.1f} ms a request are in no place that can be seen"),
    )
    pool = ", pool" if measured.pool is not None else ""
    because = (
        f"{share:.0%} of its time a request is in none of client, database, CPU{pool}: it waits {wait_ms:,.0f} ms "
        "inside the service, for a lock, a sleep, a free thread or a call to somebody else"
    )
    return INSIDE.decide(against, share, figures, because)
