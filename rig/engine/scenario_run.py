"""One worker's part of one drive: its requests, its connections, its rows.

Flow: ``prepare`` builds, signs and connects; ``run`` starts the clock, lets an ``Order`` bring requests and connections
together until every request has ended, and reports. The timed path holds one write, one read, one parse and one packed
row a request; the garbage collector rests meanwhile. Rows go to a file as the run goes, so that a crash loses a
quarter of a second and nothing else.
Not for: judging answers, talking to the parent (``rig.engine.worker``).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rig.engine.connection import IDLE, Connection
from rig.engine.dialer import Dialer
from rig.engine.executors import ClosedLoop, OpenLoop, Order
from rig.engine.memory import resident_bytes
from rig.engine.pacer import NS, pacer_for
from rig.engine.rows import RowFile
from rig.engine.timer import Timer
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import WorkerReport
from rig.model import RunKey, Scenario
from rig.profile import Profile
from rig.requests.targeter import Credentials, Targeter
from rig.target.endpoint import Endpoint

FLUSH_EVERY_S = 0.25
SWEEP_EVERY_S = 0.05
STALL_NS = 2 * int(SWEEP_EVERY_S * NS)
RECONNECT_AFTER_S = 0.01
PRESIGNED_LIMIT = 300_000
"""Requests that a worker may hold ready, about 700 bytes each; beyond it they are signed as they go."""
QUEUE_LIMIT = 10_000
"""Due requests that may wait for a connection, per worker; the next one is skipped."""
OPEN_LOOP_LEAD_NS = 10_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Assignment:
    """All that a worker needs for its part: it takes the requests ``worker``, ``worker + workers``, … ."""

    scenario: Scenario
    profile: Profile
    run: RunKey
    credentials: Mapping[str, Credentials]
    endpoint: Endpoint
    worker: int
    workers: int
    rows_file: Path
    scenario_run: type[Drive] | None = None
    """The kind of drive that runs it: None is ``Drive``."""


class Drive:
    """Runs one assignment on the running event loop; ``progress`` is called with the rows written so far."""

    connection_class: ClassVar[type[Connection]] = Connection

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        scenario = assignment.scenario
        self._assignment = assignment
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._timeout_ns = int(scenario.timeout_s * NS)
        self._dialer = Dialer(assignment.endpoint, scenario.timeout_s)
        # A worker more than there are connections would add one: it has nothing to do.
        active = min(assignment.workers, scenario.pace.connections)
        self._seqs = range(assignment.worker, scenario.count if assignment.worker < active else 0, active)
        self._cursor = 0
        self._in_flight = 0
        self._skipped = 0
        self._first_sent_ns = 0
        self._last_done_ns = 0
        self._started = False
        self._stopping = False
        self._deadline: asyncio.TimerHandle | None = None
        self._swept_ns = 0
        self._stalled_ns = 0
        self._waited_ns = 0
        self._sweeps = 0
        self._connecting: dict[Connection, asyncio.Task[None]] = {}
        wanted = range(assignment.worker, min(scenario.pace.connections, len(self._seqs) * active), active)
        self._connections = [self.connection_class(number, self) for number in range(len(wanted))]
        # Opened first: a disk that takes no rows must be known before anything is sent.
        self._rows = RowFile(assignment.rows_file, assignment.worker)
        self._timer = Timer(self._loop) if scenario.pace.rate_per_s else None

    # --- before the clock ---

    async def prepare(self) -> None:
        """Build and sign what may be held ready, and open every connection."""
        before_s = time.process_time()
        given = self._assignment
        targeter = Targeter(
            given.profile, given.run, host=given.endpoint.host_header, base_path=given.endpoint.base_path
        )
        self._targets = targeter.bind(given.scenario, given.credentials)
        self._ready: list[bytes] | None = None
        if self._may_sign_ahead():
            now = int(time.time())
            self._ready = [self._targets.request(seq, now) for seq in self._seqs]
        self._build_cpu_s = time.process_time() - before_s
        self._order = self._make_order()
        await asyncio.gather(*(self._dialer.dial(connection) for connection in self._connections))

    def _may_sign_ahead(self) -> bool:
        scenario = self._assignment.scenario
        route = self._assignment.profile.route(scenario.route)
        in_time = not route.ageing or scenario.deadline_s < route.tolerance_s / 2
        return in_time and len(self._seqs) <= PRESIGNED_LIMIT

    def _make_order(self) -> Order:
        scenario, run = self._assignment.scenario, self._assignment.run
        pacer = pacer_for(scenario.pace, scenario.count, run.seed)
        if pacer is None or self._timer is None:
            return ClosedLoop(self, self._connections)
        return OpenLoop(self, self._connections, pacer, QUEUE_LIMIT, self._timer)

    # --- the run ---

    async def run(self, start_ns: int) -> WorkerReport:
        """Start at ``start_ns`` of the monotonic clock; return when every request has ended."""
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            return await self._timed(start_ns)
        finally:
            gc.enable()
            gc.unfreeze()

    async def _timed(self, start_ns: int) -> WorkerReport:
        # The open loop wakes by its own, finer timer: it is only brought near its start here.
        near_ns = start_ns - (OPEN_LOOP_LEAD_NS if self._timer is not None else 0)
        await asyncio.sleep(max(0.0, (near_ns - time.monotonic_ns()) / NS))
        rss_bytes = resident_bytes()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        begun_ns = time.monotonic_ns()
        self._swept_ns = begun_ns
        self._loop.call_later(FLUSH_EVERY_S, self._flush_regularly)
        self._loop.call_later(SWEEP_EVERY_S, self._sweep)
        self._deadline = self._loop.call_later(self._assignment.scenario.deadline_s, self.stop)
        self._started = True
        self._order.start(start_ns)
        self.settle()
        await self._finished
        ended_ns = time.monotonic_ns()
        after = resource.getrusage(resource.RUSAGE_SELF)
        before_s = time.process_time()
        self._rows.flush()
        offered = len(self._seqs)
        return WorkerReport(
            worker=self._assignment.worker,
            offered=offered,
            sent=offered - self._skipped,
            skipped=self._skipped,
            connects=self._dialer.dialled,
            first_sent_ns=self._first_sent_ns,
            last_done_ns=self._last_done_ns,
            cpu_user_s=after.ru_utime - usage.ru_utime,
            cpu_system_s=after.ru_stime - usage.ru_stime,
            wall_s=(ended_ns - begun_ns) / NS,
            build_cpu_s=self._build_cpu_s,
            flush_cpu_s=time.process_time() - before_s,
            max_rss_bytes=after.ru_maxrss * 1024,
            stalled_s=self._stalled_ns / NS,
            in_system_mean=self._waited_ns / swept_ns if (swept_ns := self._swept_ns - begun_ns) > 0 else 0.0,
            in_system_samples=self._sweeps,
            rss_start_bytes=rss_bytes,
            rss_end_bytes=resident_bytes(),
        )

    def stop(self) -> None:
        """Send nothing more; what is in flight is waited for."""
        if not self._stopping:
            self._stopping = True
            self._order.stop()
            while (position := self._taken()) is not None:
                self.skip(position, 0)
            self.settle()

    def abort(self) -> None:
        """Send nothing more and wait for nothing."""
        self.stop()
        self.give_up()

    def give_up(self) -> None:
        """Wait for nothing that is in flight: it is booked as given up by the rig, not as lost by the target."""
        for connection in self._connections:
            connection.give_up(ErrorKind.ABORTED)

    def fail(self, error: BaseException) -> None:
        """End the drive with an error of the rig's own."""
        self._end(error)

    async def close(self) -> None:
        """Release what the drive holds: its connections are gone when this returns."""
        self._stopping = True
        if self._deadline is not None:
            # Else it would keep the drive and all its requests until it is due.
            self._deadline.cancel()
        attempts = list(self._connecting.values())
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        await self._dialer.hang_up(self._connections)
        if self._timer is not None:
            self._timer.close()
        with contextlib.suppress(OSError):  # a disk that takes no more is what ended the drive, and is known
            self._rows.flush()
        self._rows.close()

    # --- what the order asks (rig.engine.executors.Sender) ---

    def take(self) -> int | None:
        """The position of the next request, None when nothing more is to be sent."""
        return None if self._stopping else self._taken()

    def _taken(self) -> int | None:
        position = self._cursor
        if position >= len(self._seqs):
            return None
        self._cursor = position + 1
        return position

    def seq(self, position: int) -> int:
        """The number of a request in the whole scenario."""
        return self._seqs[position]

    def send(self, connection: Connection, position: int, intended_ns: int) -> None:
        """Put a request on the wire; ``intended_ns`` 0 in the closed loop."""
        if self._ready is not None:
            payload = self._ready[position]
        else:
            payload = self._targets.request(self._seqs[position], int(time.time()))
        self._in_flight += 1
        connection.send(self._seqs[position], payload, intended_ns)
        if not self._first_sent_ns:
            self._first_sent_ns = connection.sent_ns

    def skip(self, position: int, intended_ns: int) -> None:
        """Book a request as never sent."""
        self._skipped += 1
        self._rows.add(self._seqs[position], intended_ns, 0, 0, 0, 0, ErrorKind.SKIPPED)

    def reconnect(self, connection: Connection) -> None:
        """Open a new transport, where there is still something to send and the old one is gone."""
        if connection.transport is not None or connection in self._connecting or self._stopping:
            return
        if self._cursor < len(self._seqs) or self._order.waiting:
            attempt = self._loop.create_task(self._reconnected(connection))
            self._connecting[connection] = attempt
            attempt.add_done_callback(self._reaped)

    async def _reconnected(self, connection: Connection) -> None:
        if not await self._dialer.dial(connection):
            # The request that this attempt was for is not tried again: it failed with it.
            claimed = self._order.claim()
            if claimed is not None:
                self._unconnected(connection, *claimed)
            await asyncio.sleep(RECONNECT_AFTER_S)
        del self._connecting[connection]
        self._free(connection)

    def _unconnected(self, connection: Connection, position: int, intended_ns: int) -> None:
        self._last_done_ns = now_ns = time.monotonic_ns()
        self._first_sent_ns = self._first_sent_ns or now_ns
        seq = self._seqs[position]
        self._rows.add(seq, intended_ns or now_ns, now_ns, now_ns, connection.number, 0, ErrorKind.CONNECT)

    def _reaped(self, attempt: asyncio.Task[None]) -> None:
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            self._end(error)

    def settle(self) -> None:
        """Finish when nothing more will be sent and nothing is in flight."""
        if not self._in_flight and self._cursor >= len(self._seqs) and not self._order.waiting:
            self._end()

    def _end(self, error: BaseException | None = None) -> None:
        if self._finished.done():
            return
        if error is not None:
            self._finished.set_exception(error)
        else:
            self._finished.set_result(None)

    # --- what the connections say (rig.engine.connection.Listener) ---

    def ended(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        """The request in flight has its answer, or will have none."""
        self._rows.add(
            connection.seq,
            connection.intended_ns,
            connection.sent_ns,
            done_ns,
            connection.number,
            status,
            kind,
        )
        connection.seq = IDLE
        self._in_flight -= 1
        self._last_done_ns = done_ns
        if not connection.reusable:
            connection.close()
        self._free(connection)

    def closed(self, connection: Connection) -> None:
        """A connection ended while nothing was in flight on it."""
        self._free(connection)

    def _free(self, connection: Connection) -> None:
        if not self._started:
            # Nothing is sent before its time: the order looks at every connection when it starts.
            return
        self._order.free(connection)
        if not self._in_flight:
            self.settle()

    # --- regularly ---

    def _sweep(self) -> None:
        """Give up on what waits longer than the timeout: one pass over the connections, no timer a request."""
        if self._finished.done():
            return
        now_ns = time.monotonic_ns()
        # A sweep that comes late by more than a busy turn of the loop: the process was not running.
        since_ns = now_ns - self._swept_ns
        self._stalled_ns += max(0, since_ns - STALL_NS)
        self._waited_ns += since_ns * (self._in_flight + self._order.queued)
        self._sweeps += 1
        self._swept_ns = now_ns
        limit_ns = now_ns - self._timeout_ns
        for connection in self._connections:
            if connection.seq != IDLE and connection.sent_ns < limit_ns:
                connection.give_up(ErrorKind.TIMEOUT)
        self._loop.call_later(SWEEP_EVERY_S, self._sweep)

    def _flush_regularly(self) -> None:
        if self._finished.done():
            return
        try:
            self._rows.flush()
        except OSError as error:
            self._end(error)
            return
        self._progress(self._rows.written)
        self._loop.call_later(FLUSH_EVERY_S, self._flush_regularly)
