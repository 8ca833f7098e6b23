"""What all executors share: they dial connections, give up requests that take too long, and report what they used.

An executor decides which request goes out on which connection, and when. There are three: ``ClosedLoop`` and
``OpenLoop`` (``rig.engine.executors``) run a scenario; ``RampingUsers`` (``rig.locust_bridge``) follows locust's number
of users. Each runs on one event loop, in one process.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from rig.engine.connection import IDLE, Connection
from rig.engine.dialer import Dialer
from rig.engine.memory import resident_bytes
from rig.engine.pacer import NS
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import WorkerReport
from rig.machine.cgroup import worker_cores
from rig.target.endpoint import Endpoint

SWEEP_EVERY_S = 0.05
STALL_NS = 2 * int(SWEEP_EVERY_S * NS)
RECONNECT_AFTER_S = 0.01

Link = TypeVar("Link", bound=Connection)


class Executor(ABC, Generic[Link]):
    """The listener of its connections. A subclass says what each connection does next."""

    def __init__(self, worker: int, endpoint: Endpoint, timeout_s: float) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._dialer = Dialer(endpoint, timeout_s)
        self._timeout_ns = int(timeout_s * NS)
        self._attempts: dict[Link, asyncio.Task[None]] = {}
        self._stalled_ns = 0
        self._sweeper: asyncio.TimerHandle | None = None

    # --- what each kind of executor decides ---

    @property
    @abstractmethod
    def connections(self) -> Iterable[Link]:
        """All connections that may have a request in flight."""

    @abstractmethod
    def end_request(self, connection: Link, status: int, kind: ErrorKind, done_ns: int) -> None:
        """Book the row of the request in flight, and decide what the connection does next."""

    @abstractmethod
    def resume(self, connection: Link) -> None:
        """Send on an idle connection, open it again, or let it rest."""

    @abstractmethod
    def needs(self, connection: Link) -> bool:
        """Whether something is left to be sent for which the connection should be opened."""

    @abstractmethod
    def fail_attempt(self, connection: Link) -> None:
        """Book the request that a failed attempt to connect was made for: it is not tried again."""

    @abstractmethod
    def sample(self, elapsed_ns: int) -> None:
        """Count what is in the system now, for the time since the last sample."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """Take note of an error of the rig's own."""

    # --- connections ---

    def lose_idle(self, connection: Link) -> None:
        """The transport of an idle connection is gone."""
        self.resume(connection)

    def connect(self, connection: Link) -> None:
        """Open a transport, unless there is one, or an attempt is under way, or nothing needs it."""
        if connection.transport is None and connection not in self._attempts and self.needs(connection):
            attempt = self._loop.create_task(self._attempt(connection))
            self._attempts[connection] = attempt
            attempt.add_done_callback(self._check_attempt)

    async def _attempt(self, connection: Link) -> None:
        try:
            if not await self._dialer.dial(connection):
                self.fail_attempt(connection)
                await asyncio.sleep(RECONNECT_AFTER_S)
        finally:
            del self._attempts[connection]
        self.resume(connection)

    def _check_attempt(self, attempt: asyncio.Task[None]) -> None:
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            self.fail(error)

    async def hang_up(self) -> None:
        """End the attempts to connect and close every connection."""
        attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        await self._dialer.hang_up(self.connections)

    # --- measuring itself ---

    def pause_collector(self) -> None:
        """Keep the garbage collector away from the timed path."""
        gc.collect()
        gc.disable()

    def resume_collector(self) -> None:
        """Undo ``pause_collector``."""
        gc.enable()

    def start_clock(self) -> None:
        """Begin to count what this process uses, and to sweep."""
        self._rss_bytes = resident_bytes()
        self._used_before = resource.getrusage(resource.RUSAGE_SELF)
        self._begun_ns = self._swept_ns = time.monotonic_ns()
        self._sweeper = self._loop.call_later(SWEEP_EVERY_S, self._sweep)

    def usage(self) -> WorkerReport:
        """What this process has used so far. The counts of requests are the subclass's to fill in."""
        after, ended_ns = resource.getrusage(resource.RUSAGE_SELF), time.monotonic_ns()
        return WorkerReport(
            worker=self._worker,
            offered=0,
            sent=0,
            skipped=0,
            connects=self._dialer.dialled,
            first_sent_ns=0,
            last_done_ns=0,
            cpu_user_s=after.ru_utime - self._used_before.ru_utime,
            cpu_system_s=after.ru_stime - self._used_before.ru_stime,
            wall_s=(ended_ns - self._begun_ns) / NS,
            cores_allowed=worker_cores(os.getpid()),
            build_cpu_s=0.0,
            flush_cpu_s=0.0,
            max_rss_bytes=after.ru_maxrss * 1024,
            stalled_s=self._stalled_ns / NS,
            rss_start_bytes=self._rss_bytes,
            rss_end_bytes=resident_bytes(),
            broken_rule=next((each.broken_rule for each in self.connections if each.broken_rule), ""),
        )

    def stop_sweeping(self) -> None:
        """Cancel the next sweep, which would keep the executor and all its requests alive."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        """Give up what waits longer than the timeout: one pass over the connections, no timer for each request."""
        now_ns = time.monotonic_ns()
        elapsed_ns = now_ns - self._swept_ns
        self._swept_ns = now_ns
        # A sweep that comes late by more than a busy turn of the loop: the process was not running.
        self._stalled_ns += max(0, elapsed_ns - STALL_NS)
        self.sample(elapsed_ns)
        limit_ns = now_ns - self._timeout_ns
        for connection in self.connections:
            if connection.seq != IDLE and connection.sent_ns < limit_ns:
                connection.give_up(ErrorKind.TIMEOUT)
        self._sweeper = self._loop.call_later(SWEEP_EVERY_S, self._sweep)
