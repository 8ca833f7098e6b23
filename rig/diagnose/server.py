"""H-C and H-E: the server's processes, occupied with writing logs or with computing.

A process with an event loop serves nobody while it computes, waits for a core or is blocked on a disk. Requests queue
at a process that is never idle. What it does tells the two hypotheses apart. CPU time counts as too much when a core
cannot reach the rate that the gates ask for (S8: 1,000 requests/s).
"""

from __future__ import annotations

from rig.diagnose.database import stands_out
from rig.diagnose.numbers import BUSY, Measured, ServerNumbers
from rig.diagnose.weighing import Claim, first_of
from rig.evidence.diagnosis import Figure, Hypothesis

WRITTEN_BYTES = 8192
"""For each request. Two or three log lines are under 2 kB; four times that repeats the event."""
OCCUPIED_BY_WRITING = 0.5
"""Share of a process's time on a core, waiting for one, or blocked on a disk. With less, writing costs little."""
ON_CORE = 0.5
"""Share of a process's time. One with less waits for a core, and the machine is the cause."""
CPU_MS = 1.0
"""For each request. With more, a core carries fewer than 1,000 requests/s."""
UNEVEN = 2.0
"""The busiest process over the mean of the others. Connections that spread by chance differ by less."""
SERVED_UNEVENLY = 3.0
"""Slow connections over fast ones, by mean response time. Of equal processes, one with more connections is slower by as
much; chance gives none three times as many. A lack of cores slows all alike."""

MOST = 0.5
"""Share of the machine's time."""

LOGS = Claim(
    "H-C",
    "the server's logs",
    f"the server writes over {WRITTEN_BYTES:,} bytes to files for each request, and its processes are held up by it",
    "it writes little, or its processes are idle most of the time",
)
COMPUTING = Claim(
    "H-E",
    "a busy server process",
    f"a server process is never idle and uses a core; a request costs over {CPU_MS:g} ms of CPU, or the other "
    "processes do much less",
    "every process has time to spare, or a request costs little CPU on all processes and only cores are missing",
)


def weigh_logs(measured: Measured) -> Hypothesis:
    """H-C."""
    server = measured.server
    if server is None or not server.processes:
        return LOGS.leave_open(measured.unseen.get("server", "no process of the target served"))
    if server.written_bytes_per_request is None:
        return LOGS.leave_open(measured.unseen["written"])
    written, busiest = server.written_bytes_per_request, server.processes[0]
    figures: dict[str, Figure] = {
        "written_bytes_per_request": round(written),
        "process": busiest.pid,
        "occupied_share": busiest.occupied_share,
        "blocked_on_disk_share": busiest.on_disk,
    }
    said = f"{written:,.0f} bytes written to files a request"
    against = first_of(
        (written < WRITTEN_BYTES, said),
        (
            busiest.occupied_share < OCCUPIED_BY_WRITING,
            f"{said}, but no process is occupied for more than {busiest.occupied_share:.0%} of its time",
        ),
    )
    because = f"{said}; server process {busiest.pid} blocked on a disk for {busiest.on_disk:.0%} of its time"
    return LOGS.decide(against, _at_the_server(measured), figures, because)


def weigh_computing(measured: Measured, *causes: Hypothesis) -> Hypothesis:
    """H-E. ``causes`` are hypotheses that cost the server's CPU themselves.

    Where others hold most of the machine, slow connections beside fast ones are no sign: who gets a core is chance.
    """
    server = measured.server
    if server is None or not server.processes:
        return COMPUTING.leave_open(measured.unseen.get("server", "no process of the target served"))
    busiest, *others = server.processes
    crowded_out = measured.machine is not None and (measured.machine.foreign or 0.0) > MOST
    apart = measured.client.unevenness if measured.client and others and not crowded_out else 1.0
    uneven = _unevenness(server)
    figures: dict[str, Figure] = {
        "process": busiest.pid,
        "on_core_share": busiest.on_core,
        "occupied_share": busiest.occupied_share,
        "others_on_core_share": sum(other.on_core for other in others) / len(others) if others else None,
        "cpu_ms_per_request": server.cpu_ms_per_request,
        "slow_to_fast_connections": apart,
    }
    against = first_of(
        (
            busiest.occupied_share < BUSY,
            f"no process is occupied for more than {busiest.occupied_share:.0%} of its time",
        ),
        (
            busiest.on_core < ON_CORE and apart < SERVED_UNEVENLY,
            f"process {busiest.pid} gets a core for {busiest.on_core:.0%} of its time only",
        ),
        (
            server.cpu_ms_per_request < CPU_MS and uneven < UNEVEN and apart < SERVED_UNEVENLY,
            f"{server.cpu_ms_per_request:.2f} ms of CPU a request, evenly spread",
        ),
        (bool(stands_out(*causes)), f"it is busy with something else: {stands_out(*causes)}"),
    )
    because = f"server process {busiest.pid} at {busiest.on_core:.0%} of a core"
    if others:
        because += f", the other{'s' if len(others) > 1 else ''} at {figures['others_on_core_share']:.0%}"
    because += f", {server.cpu_ms_per_request:.2f} ms of CPU a request"
    if apart >= SERVED_UNEVENLY:
        because += f"; slow connections wait {apart:.0f} times as long as fast ones"
    return COMPUTING.decide(against, _at_the_server(measured), figures, because)


def _unevenness(server: ServerNumbers) -> float:
    """The busiest process's CPU over the mean of the others; 1 without others."""
    busiest, *others = server.processes
    mean = sum(other.on_core for other in others) / len(others) if others else busiest.on_core
    return busiest.on_core / mean if mean else float("inf")


def _at_the_server(measured: Measured) -> float:
    """Share of the requests in flight that are neither in the database nor in the client."""
    database, client = measured.database, measured.client
    away = (database.in_use if database else 0.0) + (client.late if client else 0.0)
    return measured.share(max(0.0, measured.in_flight - away))
