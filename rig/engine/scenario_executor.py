"""One worker's part of one scenario: its requests, its connections, its rows.

Flow: ``prepare`` builds, signs and connects; ``run`` starts the clock, sends until every request has ended, reports.
When a request goes out is the subclass's decision (``rig.engine.executors``). The timed path holds one write, one read,
one parse and one packed row for each request. Rows go to a file as the run goes: a crash loses 25 ms.
Not for: judging answers, talking to the parent (``rig.engine.worker``).
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

from rig.engine.connection import IDLE, Connection
from rig.engine.executor import Executor
from rig.engine.pacer import NS
from rig.engine.preparing import Preparation
from rig.engine.rows import RowFile
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import WorkerReport
from rig.model import RunKey, Scenario
from rig.profile import Profile
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from rig.target.endpoint import Endpoint

FLUSH_EVERY_S = 0.025
"""Rows are on disk this soon: who watches the database beside the run compares it with the answers (rig.truth)."""
_PROGRESS_EVERY = 10
"""Flushes between two words to the parent."""
PRESIGNED_LIMIT = 300_000
"""Requests that a worker may hold ready, about 700 bytes each; beyond it they are signed as they go."""
_PREPARE_BASE_S = 60.0
_PREPARE_PER_REQUEST_S = 2e-3


def prepare_limit_s(count: int) -> float:
    """How long workers may take to make and sign the requests of a scenario run."""
    return _PREPARE_BASE_S + count * _PREPARE_PER_REQUEST_S


def _cpu_s() -> float:
    """CPU that this process and its ended children have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


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
    executor: MakeExecutor | None = None
    """What runs it; None for the closed or open loop that the scenario's pace asks for."""


MakeExecutor: TypeAlias = "Callable[[Assignment, Callable[[int], None]], ScenarioExecutor]"


class ScenarioExecutor(Executor[Connection]):
    """Runs one assignment on the running event loop; ``progress`` is called with the rows written so far.

    A request is named by its index among this worker's requests, and known to everybody by its sequence number
    (``_seqs[index]``). All below ``_next`` were taken; from ``_end`` on there is nothing to take.
    """

    connection_class: ClassVar[type[Connection]] = Connection
    start_lead_ns: ClassVar[int] = 0
    """How long before its start time the executor starts, because it waits for the rest by itself."""

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        scenario = assignment.scenario
        super().__init__(assignment.worker, assignment.endpoint, scenario.timeout_s)
        self._assignment = assignment
        self._progress = progress
        self._finished: asyncio.Future[None] = self._loop.create_future()
        # A worker more than there are connections would add one: it has nothing to do.
        active = min(assignment.workers, scenario.pace.connections)
        self._active = active
        self._seqs = range(assignment.worker, scenario.count if assignment.worker < active else 0, active)
        self._next = 0
        self._end = len(self._seqs)
        self._in_flight = 0
        self._skipped = 0
        self._repeats = 0
        """Attempts beyond the first of an event, sent or skipped."""
        self._first_sent_ns = 0
        self._last_done_ns = 0
        self._started = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waited_ns = self._unsent_waited_ns = 0
        self._samples = 0
        self._flushes = 0
        wanted = range(assignment.worker, min(scenario.pace.connections, len(self._seqs) * active), active)
        self._connections = [self.connection_class(number, self) for number in range(len(wanted))]
        # Opened first: a disk that takes no rows must be known before anything is sent.
        self._rows = RowFile(assignment.rows_file, assignment.worker)
        self._book = self._rows.pending.append

    # --- what the closed and the open loop decide ---

    @abstractmethod
    def start(self, start_ns: int) -> None:
        """Begin to send; ``start_ns`` is a time of the monotonic clock."""

    @property
    def queue_length(self) -> int:
        """Requests that are due and wait for a connection."""
        return 0

    # --- before the clock ---

    async def prepare(self) -> None:
        """Build and sign what may be held ready, and open connections."""
        before_s = _cpu_s()
        given = self._assignment
        targeter = Targeter(given.profile, given.run, given.endpoint.address)
        request, seqs = targeter.bind(given.scenario, given.credentials).request, self._seqs
        self._payload: Callable[[int], bytes]
        """The bytes of a request, by its index."""
        preparation = Preparation(request, seqs, self._active)
        self._signing_us = preparation.making_us
        count = self._count_ahead(preparation)
        self._signed_ahead = count > 0 or not seqs
        if self._signed_ahead:
            made = preparation.make_all(seqs[:count])
            self._payload = made.__getitem__ if count == len(seqs) else lambda index: made[index % count]
        else:
            self._payload = lambda index: request(seqs[index], time.time())
        self._build_cpu_s = _cpu_s() - before_s
        self.pause_collector()  # a last collection takes its time, in which an open connection would grow stale
        await self._open_connections()

    async def _open_connections(self) -> None:
        """Open every connection that is wanted from the start."""
        await asyncio.gather(*(self._dialer.dial(connection) for connection in self._connections))

    def _count_ahead(self, preparation: Preparation) -> int:
        """How many requests to make before the clock: all, or none."""
        count = len(self._seqs)
        takes_s = preparation.seconds(count)
        is_worth_it = count <= PRESIGNED_LIMIT and takes_s < prepare_limit_s(self._assignment.scenario.count) / 2
        return count if is_worth_it and self._outlives(takes_s) else 0

    def _outlives(self, takes_s: float) -> bool:
        """Whether a signature that is made so long before the clock is still valid at the end of the scenario run."""
        scenario = self._assignment.scenario
        max_age_s = self._assignment.profile.route(scenario.route).max_age_s
        return max_age_s is None or scenario.deadline_s + takes_s < max_age_s / 2

    # --- the run ---

    async def run(self, start_ns: int) -> WorkerReport:
        """Start at ``start_ns`` of the monotonic clock; return when every request has ended."""
        await asyncio.sleep(max(0.0, (start_ns - self.start_lead_ns - time.monotonic_ns()) / NS))
        self.start_clock()
        self._timers["flush"] = self._loop.call_later(FLUSH_EVERY_S, self._flush_regularly)
        self._timers["deadline"] = self._loop.call_later(self._assignment.scenario.deadline_s, self.stop)
        self._started = True
        self.start(start_ns)
        self._finish_if_done()
        await self._finished
        return self._report()

    def _report(self) -> WorkerReport:
        swept_ns = self._swept_ns - self._begun_ns
        usage = self.usage()
        before_s = time.process_time()
        self._rows.flush()
        offered = len(self._seqs) + self._repeats
        return replace(
            usage,
            offered=offered,
            sent=offered - self._skipped,
            skipped=self._skipped,
            repeats=self._repeats,
            first_sent_ns=self._first_sent_ns,
            last_done_ns=self._last_done_ns,
            build_cpu_s=self._build_cpu_s,
            signing_us=self._signing_us,
            signed_ahead=self._signed_ahead,
            flush_cpu_s=time.process_time() - before_s,
            in_system_mean=self._waited_ns / swept_ns if swept_ns > 0 else 0.0,
            in_system_samples=self._samples,
            unsent_waited_s=self._unsent_waited_ns / NS,
        )

    def stop(self) -> None:
        """Send nothing more; what is in flight is waited for."""
        while self._next < self._end:
            self._skip(self._take(), 0)
        self._finish_if_done()

    def abort(self) -> None:
        """Send nothing more and wait for nothing."""
        self.stop()
        self.give_up()

    def give_up(self) -> None:
        """Wait for nothing that is in flight: it is booked as given up by the rig, not as lost by the target."""
        for connection in self._connections:
            connection.give_up(ErrorKind.ABORTED)

    def fail(self, error: BaseException) -> None:
        """End the run with an error of the rig's own."""
        if not self._finished.done():
            self._finished.set_exception(error)

    async def close(self) -> None:
        """Release what the executor holds: its connections are gone when this returns."""
        self._end = self._next
        self.resume_collector()
        self.stop_sweeping()
        for timer in self._timers.values():
            timer.cancel()
        await self.hang_up()
        with contextlib.suppress(OSError):  # a disk that takes no more is what ended the run, and is known
            self._rows.flush()
        self._rows.close()

    # --- the parts of a request's way that are not the same in every loop ---

    @property
    def connections(self) -> list[Connection]:
        return self._connections

    def needs(self, connection: Connection) -> bool:
        return self._next < self._end or self.queue_length > 0

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        times = connection.intended_ns, connection.sent_ns, done_ns
        self._rows.add(connection.seq, *times, connection.number, status, kind)
        self._last_done_ns = done_ns
        connection.seq = IDLE
        self._in_flight -= 1
        if not connection.reusable:
            connection.close()
        self.resume(connection)

    def lose_idle(self, connection: Connection) -> None:
        """See ``Executor``. Nothing is sent before its time: ``start`` looks at every connection."""
        if self._started:
            self.resume(connection)

    def sample(self, elapsed_ns: int) -> None:
        self._waited_ns += elapsed_ns * (self._in_flight + self.queue_length)
        self._samples += 1

    def _take(self) -> int:
        index = self._next
        self._next = index + 1
        return index

    def _send(self, connection: Connection, index: int, intended_ns: int) -> None:
        """Put a request on the wire; ``intended_ns`` 0 means now."""
        self._in_flight += 1
        connection.send(self._seqs[index], self._payload(index), intended_ns)
        self._first_sent_ns = self._first_sent_ns or connection.sent_ns

    def _skip(self, index: int, intended_ns: int) -> None:
        """Book a request as never sent."""
        self._skipped += 1
        self._rows.add(self._seqs[index], intended_ns, 0, 0, 0, 0, ErrorKind.SKIPPED)

    def _skip_waiting(self, index: int, intended_ns: int) -> None:
        """Book a request as never sent that waited for a connection."""
        self._unsent_waited_ns += max(0, time.monotonic_ns() - intended_ns)
        self._skip(index, intended_ns)

    def _book_connect_failure(self, connection: Connection, index: int, intended_ns: int) -> None:
        """Book a request for which no connection could be opened."""
        self._last_done_ns = now_ns = time.monotonic_ns()
        self._first_sent_ns = self._first_sent_ns or now_ns
        seq = self._seqs[index]
        self._rows.add(seq, intended_ns or now_ns, now_ns, now_ns, connection.number, 0, ErrorKind.CONNECT)

    def _finish_if_done(self) -> None:
        """End the run when nothing more will be sent and nothing is in flight."""
        if not (self._in_flight or self._next < self._end or self.queue_length or self._finished.done()):
            self._finished.set_result(None)

    def _flush_regularly(self) -> None:
        try:
            self._rows.flush()
        except OSError as error:
            self.fail(error)
            return
        self._flushes += 1
        if self._flushes % _PROGRESS_EVERY == 0:
            self._progress(self._rows.written)
        self._timers["flush"] = self._loop.call_later(FLUSH_EVERY_S, self._flush_regularly)
