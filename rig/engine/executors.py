"""The executors that run a scenario: the closed loop, the open loop, and a closed loop for stubs.

The closed loop sends the next request when the last was answered: the target's slowness slows the load. The open loop
sends when a request is due: what finds no connection then waits in a bounded queue, its intended time kept, and what
does not fit the queue is skipped and counted. It holds no more connections than its rate needs: silent ones would take
the threads of a server that gives each connection one.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable

from rig.engine.connection import Connection
from rig.engine.pacer import NS, Pacer, pacer_for
from rig.engine.rows import pack_row
from rig.engine.scenario_executor import Assignment, ScenarioExecutor
from rig.engine.timer import Timer
from rig.errors import ErrorKind

QUEUE_LIMIT = 10_000
"""Due requests that may wait for a connection, per worker; the next one is skipped."""
KEEP_IDLE_NS = NS
"""A connection that was not needed for so long is closed, but for the last one."""


class ClosedLoop(ScenarioExecutor):
    """Every connection sends its next request when its last one was answered."""

    def start(self, start_ns: int) -> None:
        for connection in self._connections:
            self.resume(connection)

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        """See ``Executor``. The hot path: nothing of the rig's own is called but ``send``."""
        index = self._next
        if index >= self._end or not connection.reusable:
            super().end_request(connection, status, kind, done_ns)
            return
        self._last_done_ns = done_ns
        seq, intended_ns, sent_ns = connection.seq, connection.intended_ns, connection.sent_ns
        self._book(pack_row(seq, intended_ns, sent_ns, done_ns, connection.number, status, kind, self._worker))
        self._next = index + 1
        connection.send(self._seqs[index], self._payload(index))

    def resume(self, connection: Connection) -> None:
        if self._next >= self._end:
            self._finish_if_done()
        elif connection.reusable:
            self._send(connection, self._take(), 0)
        else:
            self.connect(connection)

    def fail_attempt(self, connection: Connection) -> None:
        if self._next < self._end:
            self._book_connect_failure(connection, self._take(), 0)


class RepeatingLoop(ClosedLoop):
    """A closed loop against a stub, which takes any request twice: all are sent again until ``least_s`` have passed."""

    def __init__(self, assignment: Assignment, progress: Callable[[int], None], *, least_s: float) -> None:
        super().__init__(assignment, progress)
        self._least_ns = round(least_s * NS)

    def resume(self, connection: Connection) -> None:
        if self._next >= self._end and self._last_done_ns - self._first_sent_ns < self._least_ns:
            self._repeats += len(self._seqs)
            self._next = 0
        super().resume(connection)

    def stop(self) -> None:
        self._least_ns = 0
        super().stop()


class OpenLoop(ScenarioExecutor):
    """Requests are sent when they are due, answered or not; ``QUEUE_LIMIT`` of them may wait for a connection."""

    start_lead_ns = 10_000_000  # its own timer is finer than the event loop's

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        super().__init__(assignment, progress)
        self._timer = Timer(self._loop)
        self._timer.callback = self._send_due
        self._idle: deque[Connection] = deque()
        """Those that stand and carry nothing; the one that was used last is at the end."""
        self._unopened = dict.fromkeys(reversed(self._connections))
        self._queue: deque[tuple[int, int]] = deque()
        self._queue_limit = QUEUE_LIMIT
        self._start_ns = 0

    async def prepare(self) -> None:
        scenario = self._assignment.scenario
        pacer = pacer_for(scenario.pace, scenario.count, self._assignment.run.seed)
        assert pacer is not None
        self._pacer: Pacer = pacer
        await super().prepare()

    async def _open_connections(self) -> None:
        """See ``ScenarioExecutor``. One will do: others are opened when they are needed."""
        if self._unopened:
            connection, _ = self._unopened.popitem()
            await self._dialer.dial(connection)

    def start(self, start_ns: int) -> None:
        self._start_ns = start_ns
        for connection in self._connections:
            if connection not in self._unopened:
                self.resume(connection)
        self._send_due()

    def _send_due(self) -> None:
        """Send all that is due and sleep until the next is."""
        while self._next < self._end:
            intended_ns = self._intended_ns(self._next)
            if intended_ns > time.monotonic_ns():
                self._timer.at(intended_ns)
                return
            index = self._take()
            if (connection := self._pop_idle()) is not None:
                self._send(connection, index, intended_ns)
            elif len(self._queue) < self._queue_limit:
                self._queue.append((index, intended_ns))
            else:
                self._skip(index, intended_ns)
            if not self._idle:
                self._open_more()
        self._finish_if_done()

    def _intended_ns(self, index: int) -> int:
        return self._start_ns + self._pacer.intended_ns(self._seqs[index])

    def _open_more(self) -> None:
        """Open a connection for each request that waits, and one that is ready for the next."""
        wanted = len(self._queue) + (not self._idle)
        while self._unopened and len(self._attempts) < wanted:
            connection, _ = self._unopened.popitem()
            self.connect(connection)

    def _pop_idle(self) -> Connection | None:
        """The connection that was used last: a server closes the one that has been idle for longest."""
        while self._idle:
            connection = self._idle.pop()
            # One that is about to close says so itself once it has, and is connected again then.
            if connection.reusable:
                return connection
        return None

    def resume(self, connection: Connection) -> None:
        if not connection.reusable:
            with contextlib.suppress(ValueError):  # it was busy when it was lost
                self._idle.remove(connection)
            if connection.transport is None and self.needs(connection):
                self._unopened[connection] = None
                self._open_more()
        elif self._queue:
            self._send(connection, *self._queue.popleft())
            return
        else:
            self._idle.append(connection)
        if not self._in_flight:
            self._finish_if_done()

    def fail_attempt(self, connection: Connection) -> None:
        if self._queue:
            self._book_connect_failure(connection, *self._queue.popleft())

    def sample(self, elapsed_ns: int) -> None:
        super().sample(elapsed_ns)
        limit_ns = time.monotonic_ns() - KEEP_IDLE_NS
        while len(self._idle) > 1 and self._idle[0].free_ns < limit_ns:
            self._idle.popleft().close()

    def stop(self) -> None:
        """See ``ScenarioExecutor``. What waits in the queue is skipped with its intended time."""
        while self._queue:
            self._skip_waiting(*self._queue.popleft())
        if self._start_ns and self._next < self._end:
            index = self._take()
            self._skip(index, self._intended_ns(index))
        super().stop()

    async def close(self) -> None:
        self._queue.clear()
        await super().close()
        self._timer.close()

    @property
    def queue_length(self) -> int:
        return len(self._queue)
