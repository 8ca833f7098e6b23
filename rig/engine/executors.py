"""In which order requests meet connections: the closed loop and the open loop.

Both hand the drive's requests, one after another, to connections that have nothing to do. The closed loop sends at
once: the target's slowness slows the load. The open loop sends when a request is due: what cannot be sent then waits
in a bounded queue, its intended time kept, and what does not fit the queue is skipped and counted.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rig.engine.connection import Connection
from rig.engine.pacer import Pacer
from rig.engine.timer import Timer


class Sender(Protocol):
    """What an order asks of its drive. A position counts this worker's requests from 0."""

    def take(self) -> int | None:
        """The position of the next request, None when all were taken."""

    def seq(self, position: int) -> int:
        """The number of that request in the whole scenario."""

    def send(self, connection: Connection, position: int, intended_ns: int) -> None:
        """Put it on the wire."""

    def skip(self, position: int, intended_ns: int) -> None:
        """Book it as never sent."""

    def reconnect(self, connection: Connection) -> None:
        """Open a new transport; ``free`` is called when it stands or could not be had."""

    def settle(self) -> None:
        """Look whether the drive is over."""


class Order(Protocol):
    """How a drive's requests meet its connections."""

    def start(self, start_ns: int) -> None:
        """Begin at a time of the monotonic clock."""

    def free(self, connection: Connection) -> None:
        """A connection has nothing to do."""

    def claim(self) -> tuple[int, int] | None:
        """Position and intended time (0: now) of the request that a failed connection attempt was for, if any."""

    def stop(self) -> None:
        """Send nothing more; skip what waits."""

    @property
    def waiting(self) -> bool:
        """True when a request was taken and not yet sent."""

    @property
    def queued(self) -> int:
        """Requests that are due and wait for a connection."""


class ClosedLoop:
    """Every connection sends its next request when its last one was answered."""

    waiting = False
    queued = 0

    def __init__(self, sender: Sender, connections: Sequence[Connection]) -> None:
        self._sender = sender
        self._connections = connections
        self._stopped = False

    def start(self, start_ns: int) -> None:
        """See ``Order``."""
        for connection in self._connections:
            self.free(connection)

    def free(self, connection: Connection) -> None:
        """See ``Order``."""
        if self._stopped:
            return
        if not connection.reusable:
            self._sender.reconnect(connection)
        elif (position := self._sender.take()) is not None:
            self._sender.send(connection, position, 0)

    def claim(self) -> tuple[int, int] | None:
        """See ``Order``."""
        position = None if self._stopped else self._sender.take()
        return None if position is None else (position, 0)

    def stop(self) -> None:
        """See ``Order``."""
        self._stopped = True


class OpenLoop:
    """Requests are sent when they are due, answered or not; ``queue_limit`` of them may wait for a connection."""

    def __init__(
        self, sender: Sender, connections: Sequence[Connection], pacer: Pacer, queue_limit: int, timer: Timer
    ) -> None:
        self._sender = sender
        self._connections = connections
        self._idle: deque[Connection] = deque()
        self._pacer = pacer
        self._queue: deque[tuple[int, int]] = deque()
        self._queue_limit = queue_limit
        self._timer = timer
        self._stopped = False
        self._start_ns = 0
        self._next: int | None = None

    def start(self, start_ns: int) -> None:
        """See ``Order``."""
        self._start_ns = start_ns
        self._timer.callback = self._due
        for connection in self._connections:
            self.free(connection)
        self._next = self._sender.take()
        self._due()

    def free(self, connection: Connection) -> None:
        """See ``Order``."""
        if not connection.reusable:
            with contextlib.suppress(ValueError):  # it was busy when it was lost
                self._idle.remove(connection)
            if not self._stopped:
                self._sender.reconnect(connection)
        elif self._queue:
            position, intended_ns = self._queue.popleft()
            self._sender.send(connection, position, intended_ns)
        else:
            self._idle.append(connection)

    def claim(self) -> tuple[int, int] | None:
        """See ``Order``."""
        return self._queue.popleft() if self._queue else None

    def stop(self) -> None:
        """See ``Order``."""
        self._stopped = True
        while self._queue:
            self._sender.skip(*self._queue.popleft())
        if self._next is not None:
            self._sender.skip(self._next, self._intended_ns(self._next))
            self._next = None

    @property
    def waiting(self) -> bool:
        """See ``Order``."""
        return bool(self._queue) or self._next is not None

    @property
    def queued(self) -> int:
        """See ``Order``."""
        return len(self._queue)

    def _intended_ns(self, position: int) -> int:
        return self._start_ns + self._pacer.intended_ns(self._sender.seq(position))

    def _due(self) -> None:
        """Send all that is due and sleep until the next is."""
        while (position := self._next) is not None:
            intended_ns = self._intended_ns(position)
            if intended_ns > time.monotonic_ns():
                self._timer.at(intended_ns)
                return
            connection = self._take_idle()
            if connection is not None:
                self._sender.send(connection, position, intended_ns)
            elif len(self._queue) < self._queue_limit:
                self._queue.append((position, intended_ns))
            else:
                self._sender.skip(position, intended_ns)
            self._next = self._sender.take()
        self._sender.settle()

    def _take_idle(self) -> Connection | None:
        """The connection that was idle longest, so that all of them are used."""
        while self._idle:
            connection = self._idle.popleft()
            # One that is about to close says so itself once it has, and is connected again then.
            if connection.reusable:
                return connection
        return None
