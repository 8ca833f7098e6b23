"""The numbers that hypotheses are weighed with: one scenario, seen from client, database, server and machine.

By Little's law the mean number of requests in flight is their rate times their mean response time. The same holds for
every place on their way, so the numbers of all places add up: active sessions in the database, cores that a process
used, seconds in each second that requests waited for a connection of the pool. The rest was in queues that nobody can
look into: in the server's event loop, in sockets, in the client.

Values only: ``measured`` makes them from a case, tests from literals. A part that nobody looked at is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rig.diagnose import aas
from rig.diagnose.strangers import NEIGHBOUR

BUSY = 0.9
"""Share of the machine's cores, or of a process's time, from which on nothing is to spare."""
FOREIGN = 0.25
"""Share of the machine's cores that others may use. With more, the figures are not the run's own."""
WITHOUT_CORE = 0.2
"""Share of its time in which a process of the run was ready and got no core. With less, it had enough."""
_COMMIT = ("IO:WalSync", "IO:WalWrite", "IO:WalInitWrite", "IO:WalInitSync", "LWLock:WALWrite", "LWLock:WALBufMapping")
_COMMIT_ELSEWHERE = ("IPC:SyncRep", "Timeout:CommitDelay", "IPC:SafeSnapshot")


@dataclass(frozen=True, slots=True)
class ClientNumbers:
    """The load processes: the busiest worker, and the one that stood still longest, as shares of their time."""

    workers: int
    busiest: int
    utilisation: float
    cores_allowed: float
    stalled: float
    cores: float
    lag_p99_ms: float
    late: float
    """Mean number of requests that were due, had a connection, and were not sent yet."""
    unevenness: float
    """Of the connections' mean response times, the 90th percentile over the 10th."""
    without_core: float | None
    """Share of its time in which a worker was ready and got no core, by the kernel. A stopped worker is not ready."""
    signing: str = ""
    """Which part of the busiest worker's CPU the signatures took, in words; empty where it was less than half."""

    @property
    def occupied_share(self) -> float:
        """Share of its time in which a worker may take no further answer."""
        delayed = self.stalled if self.without_core is None else self.without_core
        return min(1.0, self.utilisation + delayed)


@dataclass(frozen=True, slots=True)
class DatabaseNumbers:
    """The sessions of the target: average active sessions by event, and rates."""

    looks: int
    by_event: pd.Series[float]
    idle_in_transaction: float
    connections: float
    commits_per_s: float
    connects_per_s: float | None
    longest_lock_wait_s: float
    blocked_query: str
    blocking_query: str

    @property
    def active(self) -> float:
        """Average active sessions."""
        return float(self.by_event.sum())

    @property
    def in_use(self) -> float:
        """Sessions in a transaction, active or idle."""
        return self.active + self.idle_in_transaction

    def of(self, *prefixes: str) -> float:
        """Average active sessions in events with one of these prefixes."""
        return float(self.by_event[[str(event).startswith(prefixes) for event in self.by_event.index]].sum())

    @property
    def committing(self) -> float:
        """Average sessions that wait for the write-ahead log: its lock, its flush, a standby."""
        return self.of(*_COMMIT, *_COMMIT_ELSEWHERE)

    @property
    def lock_waiting(self) -> float:
        """Average sessions that wait for a lock: of a row, of a table, advisory."""
        return self.of("Lock:")


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """The server's pool of connections, as it counts itself."""

    connections_max: float | None
    waiting: float
    """Mean number of requests that wait for a connection (seconds waited in each second)."""
    acquire_ms: float
    timeouts: float


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A serving process of the target: shares of its time on a core, ready without a core, blocked on a disk."""

    pid: int
    on_core: float
    without_core: float
    on_disk: float

    @property
    def occupied_share(self) -> float:
        """Share of its time in which it could take no further request."""
        return min(1.0, self.on_core + self.without_core + self.on_disk)


@dataclass(frozen=True, slots=True)
class ServerNumbers:
    """The processes of the target, busiest first. ``written_bytes_per_request`` is None where it may not be seen."""

    processes: tuple[ServerProcess, ...]
    cpu_ms_per_request: float
    written_bytes_per_request: float | None


@dataclass(frozen=True, slots=True)
class MachineNumbers:
    """The machine: cores that may be used, and shares of them. ``foreign`` is None where it is not known."""

    cores: float
    busy: float
    steal: float
    throttled: float
    foreign: float | None
    strangers: str = ""
    """Who held the foreign share, in words."""

    @property
    def spent_on_the_run(self) -> bool:
        """Whether the run's own work uses all cores. Then no other wait costs time."""
        return self.busy >= BUSY and (self.foreign or 0.0) < FOREIGN

    @property
    def undisturbed(self) -> bool:
        """Whether it is known that nobody else used a noticeable part of it."""
        return self.foreign is not None and max(self.foreign, self.steal, self.throttled) < NEIGHBOUR


@dataclass(frozen=True, slots=True)
class Measured:
    """One scenario in numbers."""

    scenario_runs: tuple[str, ...]
    seconds: float
    requests: int
    in_flight: float
    client: ClientNumbers | None
    database: DatabaseNumbers | None
    pool: PoolNumbers | None
    server: ServerNumbers | None
    machine: MachineNumbers | None
    unseen: dict[str, str]
    """Why a part (``database``, ``pool``, ``server``, ``machine``) was not seen, and what to do."""

    @property
    def rate_per_s(self) -> float:
        """Requests sent in each second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def without_core(self) -> float:
        """Share of the time in which a process of the run that had something to do got no core."""
        processes = self.server.processes if self.server else ()
        delayed = max((process.without_core for process in processes), default=0.0)
        if self.client is None:
            return delayed
        seen = self.client.without_core
        return max(delayed, self.client.stalled if seen is None else seen)

    @property
    def short_of_cores(self) -> bool:
        """Whether cores are missing, whoever uses them. Then every wait is a wait for a core."""
        if self.machine is None or self.machine.busy < BUSY:
            return False
        return self.machine.spent_on_the_run or self.without_core >= WITHOUT_CORE

    @property
    def waiting_for_sessions(self) -> float:
        """Requests that wait for a connection while all are in use, so that they wait for the sessions' work.

        Without the pool's own counters: the requests in flight beyond the sessions, as far as these are in use.
        """
        if self.database is None or not self.database.connections:
            return 0.0
        used = min(1.0, self.database.in_use / self.database.connections)
        waiting = self.pool.waiting if self.pool else max(0.0, self.in_flight - self.database.in_use) * (used >= BUSY)
        return min(waiting, self.in_flight) * used

    def share(self, requests: float) -> float:
        """A mean number of requests as a share of the requests in flight, 0 to 1."""
        return min(1.0, requests / self.in_flight) if self.in_flight else 0.0

    def places(self) -> dict[str, float]:
        """Mean number of requests in flight at each place, in the order of their way."""
        found: dict[str, float] = {}
        if self.client is not None:
            found |= {"client: not sent yet": self.client.late, "client: on a core": self.client.cores}
        if self.server is not None:
            found["server: on a core"] = sum(process.on_core for process in self.server.processes)
            found["server: ready, without a core"] = sum(process.without_core for process in self.server.processes)
            found["server: blocked on a disk"] = sum(process.on_disk for process in self.server.processes)
        if self.pool is not None:
            found["waiting for a connection"] = self.pool.waiting
        if (database := self.database) is not None:
            found["database: on a core"] = database.of(aas.ON_CPU)
            found["database: commit"] = database.committing
            found["database: locks"] = database.lock_waiting
            others = database.active - database.of(aas.ON_CPU) - database.committing - database.lock_waiting
            found["database: other waits"] = max(0.0, others)
            found["database: in a transaction, idle"] = database.idle_in_transaction
        found["elsewhere: in queues of server, sockets, client"] = max(0.0, self.in_flight - sum(found.values()))
        return {place: round(number, 2) for place, number in found.items()}
