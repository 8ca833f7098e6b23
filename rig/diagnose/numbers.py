"""The numbers that hypotheses are weighed with: one storm, seen from the client, the database, the server, the machine.

By Little's law the mean number of requests in flight is their rate times their mean response time, and the same holds
for every place on their way. So the numbers of all places are of one kind and add up: sessions at work in the database
(average active sessions), cores that a process kept busy, seconds a second that requests waited for a connection of the
pool. What is left over stood in a queue where nobody could look: before the server's event loop, in a socket, before
the client.

Values only: ``measured`` makes them of a case, and tests of literals. A part that nobody looked at is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rig.diagnose import aas

BUSY = 0.9
"""Of the machine's processors, or of a process's time: it has nothing to spare."""
FOREIGN = 0.25
"""Share of the machine's processors that others may use before what is measured is no longer the run's own."""
WITHOUT_CORE = 0.2
"""Of its time a process of the run was ready and got no core: with less, it lacked none."""
_COMMIT = ("IO:WalSync", "IO:WalWrite", "IO:WalInitWrite", "IO:WalInitSync", "LWLock:WALWrite", "LWLock:WALBufMapping")
_COMMIT_ELSEWHERE = ("IPC:SyncRep", "Timeout:CommitDelay", "IPC:SafeSnapshot")


@dataclass(frozen=True, slots=True)
class Client:
    """The load processes: the busiest worker and the one that stood still the longest, as shares of their time."""

    workers: int
    busiest: int
    utilisation: float
    cores_allowed: float
    stalled: float
    cores: float
    lag_p99_ms: float
    late: float
    """Requests that were due, had a connection, and were not sent yet: mean number."""
    unevenness: float
    """Mean response times of the connections, the 90th percentile over the 10th: how differently they are served."""
    without_core: float | None
    """Share of its time in which a worker was ready and got no core, by the kernel: a stopped one is not ready."""


@dataclass(frozen=True, slots=True)
class Database:
    """The sessions of the target: by event (average active sessions), and how often they did what."""

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
        """Sessions that are in the middle of something, the server's side of it included."""
        return self.active + self.idle_in_transaction

    def of(self, *prefixes: str) -> float:
        """Average active sessions in events that begin so."""
        return float(self.by_event[[str(event).startswith(prefixes) for event in self.by_event.index]].sum())

    @property
    def committing(self) -> float:
        """Average sessions that wait for the write-ahead log: its lock, its flush, a standby."""
        return self.of(*_COMMIT, *_COMMIT_ELSEWHERE)

    @property
    def locked(self) -> float:
        """Average sessions that wait for a lock of a row, a table, an advisory one."""
        return self.of("Lock:")


@dataclass(frozen=True, slots=True)
class Pool:
    """The server's pool of connections, as it counts itself."""

    connections_max: float | None
    waiting: float
    """Requests waiting for a connection: mean number (seconds waited, a second)."""
    acquire_ms: float
    timeouts: float


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A process of the target that served: shares of its time on a core, ready without one, blocked on a disk."""

    pid: int
    on_core: float
    without_core: float
    on_disk: float

    @property
    def occupied(self) -> float:
        """Share of its time in which it could have taken no further request."""
        return min(1.0, self.on_core + self.without_core + self.on_disk)


@dataclass(frozen=True, slots=True)
class Server:
    """The processes of the target, the most occupied first. ``written_bytes_per_request`` None: it may not be seen."""

    processes: tuple[ServerProcess, ...]
    cpu_ms_per_request: float
    written_bytes_per_request: float | None


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine: cores that may be used, and shares of them. ``foreign`` None: nobody knows whose the load was."""

    cores: float
    busy: float
    steal: float
    throttled: float
    foreign: float | None

    @property
    def spent_on_the_run(self) -> bool:
        """Whether the run's own work keeps all processors busy: waiting for anything else then costs nothing more."""
        return self.busy >= BUSY and (self.foreign or 0.0) < FOREIGN


@dataclass(frozen=True, slots=True)
class Measured:
    """One storm in numbers."""

    scenario_runs: tuple[str, ...]
    seconds: float
    requests: int
    in_flight: float
    client: Client | None
    database: Database | None
    pool: Pool | None
    server: Server | None
    machine: Machine | None
    unseen: dict[str, str]
    """Why a part (``database``, ``pool``, ``server``, ``machine``) was not seen, and what would show it."""

    @property
    def rate_per_s(self) -> float:
        """Requests sent, a second."""
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
        """Whether processors are what is missing, whoever uses them: whatever waits, waits for one in the end."""
        if self.machine is None or self.machine.busy < BUSY:
            return False
        return self.machine.spent_on_the_run or self.without_core >= WITHOUT_CORE

    @property
    def waiting_for_sessions(self) -> float:
        """Requests that wait for a connection while all are in use: they wait for what the sessions do.

        Without the pool's own counters: all that is in flight beyond the sessions, as far as those are in use.
        """
        if self.database is None or not self.database.connections:
            return 0.0
        used = min(1.0, self.database.in_use / self.database.connections)
        waiting = self.pool.waiting if self.pool else max(0.0, self.in_flight - self.database.in_use) * (used >= BUSY)
        return min(waiting, self.in_flight) * used

    def share(self, requests: float) -> float:
        """A mean number of requests as a share of those in flight, 0 to 1."""
        return min(1.0, requests / self.in_flight) if self.in_flight else 0.0

    def places(self) -> dict[str, float]:
        """The requests in flight by the place where they were, mean numbers; the places on the way in their order."""
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
            found["database: locks"] = database.locked
            others = database.active - database.of(aas.ON_CPU) - database.committing - database.locked
            found["database: other waits"] = max(0.0, others)
            found["database: in a transaction, idle"] = database.idle_in_transaction
        found["elsewhere: in queues of server, sockets, client"] = max(0.0, self.in_flight - sum(found.values()))
        return {place: round(number, 2) for place, number in found.items()}
