"""The closed and the open loop of a sender that tries again until an event is acknowledged.

Flow: each attempt that ends goes to ``RedeliverySchedule``, which says when its event is sent again, if ever. Until
then the event waits in a heap; one that is due joins the requests that wait for a connection. Each attempt is a row.
``executor_of`` takes these loops where the scenario has a ``Redelivery``; the other loops do not know of it.
"""

from __future__ import annotations

import heapq
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import cast

from rig.engine.connection import IDLE, Connection
from rig.engine.executors import ClosedLoop, OpenLoop
from rig.engine.pacer import NS
from rig.engine.scenario_executor import Assignment, ScenarioExecutor
from rig.errors import ErrorKind
from rig.limits import ASK_AGAIN
from rig.model import Redelivery, Scenario
from rig.requests.targeter import Composition
from rig.target.http_answer import read_date

_HEADER = b"retry-after"
_FINAL = (ErrorKind.SKIPPED, ErrorKind.ABORTED)
"""The rig itself wanted no answer."""


class RedeliveringConnection(Connection):
    """A connection that keeps ``Retry-After`` of its last answer."""

    __slots__ = ("retry_after",)

    def send(self, seq: int, payload: bytes, intended_ns: int = 0) -> None:
        self.retry_after = b""
        super().send(seq, payload, intended_ns)

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser saw a header."""
        if name.lower() == _HEADER:
            self.retry_after = value


def retry_after_s(value: bytes, now_unix: float) -> float:
    """How long a ``Retry-After`` asks to wait, seconds: a number of them or a date. 0 where it is neither, or past."""
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # more digits than any run lasts
    date = read_date(text)
    return max(0.0, date.timestamp() - now_unix) if date is not None else 0.0


class RedeliverySchedule:
    """When the events of one worker are sent again. Every draw follows from seed, scenario run, event and attempt."""

    def __init__(self, redelivery: Redelivery, scenario: Scenario, seed: int) -> None:
        self._plan = redelivery
        self._name = f"{seed}/{scenario.label}"
        self._failed: dict[int, int] = {}
        self._acknowledged: set[int] = set()

    def has_begun(self, seq: int) -> bool:
        """Whether an attempt of the event has ended."""
        return seq in self._failed or seq in self._acknowledged

    def wait_after_failure(self, seq: int) -> float | None:
        """How long the event waits for its next attempt, seconds; None where it is given up."""
        failed = self._failed.get(seq, 0)
        self._failed[seq] = failed + 1
        if failed >= len(self._plan.delays_s):
            return None
        return self._plan.delays_s[failed] * (1 + self._plan.jitter * self._draw(seq, failed))

    def wait_after_acknowledgement(self, seq: int) -> float | None:
        """How long until the event is sent once more although it was acknowledged, seconds; None where it is not."""
        if seq in self._acknowledged:
            return None
        self._acknowledged.add(seq)
        return self._plan.late_s * self._draw(seq, -2) if self._draw(seq, -1) < self._plan.late_share else None

    def _draw(self, seq: int, attempt: int) -> float:
        """A number from 0 to 1."""
        digest = blake2b(f"{self._name}/{seq}/{attempt}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


class _Redelivers(ScenarioExecutor):
    """What both loops have in common. ``_again`` holds the events that wait for their time, the next one first."""

    connection_class = RedeliveringConnection
    _queue: deque[tuple[int, int]]
    """Requests that are due, by index and intended time."""

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        super().__init__(assignment, progress)
        scenario, profile = assignment.scenario, assignment.profile
        assert scenario.redelivery is not None
        self._schedule = RedeliverySchedule(scenario.redelivery, scenario, assignment.run.seed)
        self._again: list[tuple[int, int]] = []
        self._is_over = False
        self._share = Composition(scenario, assignment.run.seed).share
        pairs = [(share.request_class, scenario.route) for share in scenario.shares]
        self._right = [(profile.answer(*pair).right, profile.right_again(*pair)) for pair in pairs]
        """By share: the right answers to the first attempt of an event, and to the others."""

    @abstractmethod
    def find_connection(self) -> None:
        """See that what waits in the queue is sent."""

    def needs(self, connection: Connection) -> bool:
        return bool(self._again) or super().needs(connection)

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        """See ``Executor``. Not the shortcut of the closed loop: the attempt is weighed before another is sent."""
        value = cast(RedeliveringConnection, connection).retry_after
        after_s = retry_after_s(value, time.time()) if value else 0.0
        self._weigh(self._seqs.index(connection.seq), status, kind, after_s)
        ScenarioExecutor.end_request(self, connection, status, kind, done_ns)

    def _book_connect_failure(self, connection: Connection, index: int, intended_ns: int) -> None:
        super()._book_connect_failure(connection, index, intended_ns)
        self._weigh(index, 0, ErrorKind.CONNECT, 0.0)

    def _weigh(self, index: int, status: int, kind: ErrorKind, after_s: float) -> None:
        """Decide what an attempt that ended means for its event."""
        seq = self._seqs[index]
        right = self._right[self._share[seq]][self._schedule.has_begun(seq)]
        if kind is ErrorKind.NONE and status in right:
            wait_s = self._schedule.wait_after_acknowledgement(seq)
        elif kind in _FINAL or (kind is ErrorKind.NONE and status < 500 and status not in ASK_AGAIN):
            return
        else:
            wait_s = self._schedule.wait_after_failure(seq)
        if wait_s is not None and not self._is_over:
            self._repeats += 1
            heapq.heappush(self._again, (time.monotonic_ns() + int(max(wait_s, after_s) * NS), index))
            self._set_alarm()

    def _set_alarm(self) -> None:
        if (alarm := self._timers.pop("again", None)) is not None:
            alarm.cancel()
        if self._again:
            delay_s = max(0.0, (self._again[0][0] - time.monotonic_ns()) / NS)
            self._timers["again"] = self._loop.call_later(delay_s, self._queue_due)

    def _queue_due(self) -> None:
        """Let the events whose time has come wait for a connection."""
        while self._again and self._again[0][0] <= time.monotonic_ns():
            due_ns, index = heapq.heappop(self._again)
            self._queue.append((index, due_ns))
            self.find_connection()
        self._set_alarm()

    def stop(self) -> None:
        """See ``ScenarioExecutor``. What waits for its time is skipped."""
        self._is_over = True
        while self._again:
            due_ns, index = heapq.heappop(self._again)
            self._skip(index, due_ns)
        super().stop()

    def _finish_if_done(self) -> None:
        if not self._again:
            super()._finish_if_done()


class RedeliveringOpenLoop(_Redelivers, OpenLoop):
    """Sends when a request is due, as ``OpenLoop`` does. An event that is due again waits behind those."""

    def find_connection(self) -> None:
        if (connection := self._pop_idle()) is not None:
            self.resume(connection)
        else:
            self._open_more()


class RedeliveringClosedLoop(_Redelivers, ClosedLoop):
    """Sends as ``ClosedLoop`` does. An event that is due again goes first."""

    def __init__(self, assignment: Assignment, progress: Callable[[int], None]) -> None:
        super().__init__(assignment, progress)
        self._queue = deque()

    @property
    def queue_length(self) -> int:
        return len(self._queue)

    def find_connection(self) -> None:
        for connection in self._connections:
            if connection.seq == IDLE and connection not in self._attempts:
                self.resume(connection)
                return

    def resume(self, connection: Connection) -> None:
        if not self._queue:
            super().resume(connection)
        elif connection.reusable:
            self._send(connection, *self._queue.popleft())
        else:
            self.connect(connection)

    def fail_attempt(self, connection: Connection) -> None:
        if self._queue:
            self._book_connect_failure(connection, *self._queue.popleft())
        else:
            super().fail_attempt(connection)

    def stop(self) -> None:
        while self._queue:
            self._skip_waiting(*self._queue.popleft())
        super().stop()
