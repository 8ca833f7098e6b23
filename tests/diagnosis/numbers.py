"""Storms in made-up numbers: a healthy one on two cores, and what each fault changes in it.

The healthy one: 200 requests in flight at 1,600/s, most of them before the pool; both cores busy with the run's own
work, commits of 0.8 ms. ``idle`` is the same on a machine with cores to spare, so that nothing excuses waiting.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from rig.diagnose.numbers import (
    ClientNumbers,
    DatabaseNumbers,
    MachineNumbers,
    Measured,
    PoolNumbers,
    ServerNumbers,
    ServerProcess,
)

CLIENT = ClientNumbers(
    workers=1,
    busiest=0,
    utilisation=0.08,
    cores_allowed=1.0,
    stalled=0.0,
    cores=0.08,
    lag_p99_ms=0.4,
    late=0.0,
    unevenness=1.2,
    without_core=0.1,
)
DATABASE = DatabaseNumbers(
    looks=100,
    by_event=pd.Series({"LWLock:WALWrite": 2.4, "IO:WalSync": 0.6, "CPU": 0.3}),
    idle_in_transaction=0.0,
    connections=16.0,
    commits_per_s=1600.0,
    connects_per_s=0.0,
    longest_lock_wait_s=0.0,
    blocked_query="",
    blocking_query="",
)
POOL = PoolNumbers(connections_max=16.0, waiting=170.0, acquire_ms=106.0, timeouts=0.0)
SERVER = ServerNumbers(
    processes=(ServerProcess(11, 0.36, 0.56, 0.0), ServerProcess(12, 0.35, 0.55, 0.0)),
    cpu_ms_per_request=0.44,
    written_bytes_per_request=300.0,
)
MACHINE = MachineNumbers(
    cores=2.0, busy=0.98, steal=0.0, throttled=0.0, foreign=0.1, strangers="other processes held 10% of the machine"
)
HEALTHY = Measured(
    scenario_runs=("S8-10000-stripe-1",),
    seconds=6.25,
    requests=10_000,
    in_flight=199.0,
    client=CLIENT,
    database=DATABASE,
    pool=POOL,
    server=SERVER,
    machine=MACHINE,
    unseen={},
)
AT_EASE = ServerNumbers(
    processes=(ServerProcess(11, 0.2, 0.02, 0.0), ServerProcess(12, 0.2, 0.02, 0.0)),
    cpu_ms_per_request=0.44,
    written_bytes_per_request=300.0,
)
IDLE = replace(MACHINE, busy=0.5)


def idle(requests_per_s: float = 200.0, **changes: Any) -> Measured:
    """The storm on a machine with cores to spare and a server that is seldom occupied."""
    at_ease = replace(HEALTHY, requests=round(requests_per_s * 6.25), server=AT_EASE, machine=IDLE)
    return replace(at_ease, **changes)


def waiting(commits_per_s: float = 200.0, **events: float) -> DatabaseNumbers:
    """Sessions that wait for these events (``IO_WalSync``: ``IO:WalSync``), and for nothing else."""
    named = {name.replace("_", ":", 1): sessions for name, sessions in events.items()}
    return replace(DATABASE, by_event=pd.Series(named, dtype=float), commits_per_s=commits_per_s)


def blind(*parts: str, **changes: Any) -> Measured:
    """The healthy storm of which some parts were not seen."""
    nothing: dict[str, Any] = dict.fromkeys(parts)
    return replace(HEALTHY, unseen={part: f"nobody looked at the {part}" for part in parts}, **nothing, **changes)
