"""The known-latency stub: answers after a delay, and each answer says how long the stub really waited.

It is for the latency calibration: a client that times this stub must find the same delays. The first segment of the
path says how a request is treated, so that one process serves every measurement:

- ``/<n>ms/…``: after n milliseconds (``/0ms/`` at once);
- ``/mix/…``: after 5 ms, every fiftieth request after 200 ms;
- ``/churn/…``: after 1 ms, and the connection is closed after the answer;
- ``/freeze-<after>-<for>/…``: at once. But <after> ms after the first such request the event loop of the whole process
  is blocked for <for> ms.

No timer keeps a delay to the nanosecond, so the real delay is measured: ``X-Delivered-Ns`` is the time from the moment
the whole request was read to the call that writes its answer. Prints one JSON line ``{"port": …}`` once it listens;
ends when its standard input closes. With ``--ledger FILE`` it then writes all delivered delays there (int64 nanoseconds
in the machine's byte order, as answered), for clients whose statistics cannot take a header. Not for HTTP in general
(see ``stub_server.null``, whose framing it shares), nor for pipelined requests.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import json
import os
import re
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import click
import uvloop

from stub_server.null import REFUSE, end_of_request

HEADER = "X-Delivered-Ns"
_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_BODY = b'{"status":"ok"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s: %%d\r\n%%s\r\n%s"
    % (len(_BODY), HEADER.encode(), _BODY)
)  # fmt: skip
_CLOSE = b"Connection: close\r\n"
_FIXED = re.compile(r"(\d{1,5})ms")
_FREEZE = re.compile(r"freeze-(\d{1,6})-(\d{1,5})")


@dataclass(frozen=True)
class Behaviour:
    """How requests are treated: their delays in turn (ns), and what else happens."""

    delays_ns: tuple[int, ...]
    close: bool = False
    freeze_after_ns: int = 0
    freeze_for_ns: int = 0

    @classmethod
    def parse(cls, segment: str) -> Behaviour | None:
        """The behaviour for a path's first segment, None for an unknown one."""
        if fixed := _FIXED.fullmatch(segment):
            return cls((int(fixed[1]) * _MS,))
        if freeze := _FREEZE.fullmatch(segment):
            return cls((0,), freeze_after_ns=int(freeze[1]) * _MS, freeze_for_ns=int(freeze[2]) * _MS)
        return {"mix": cls((5 * _MS,) * 49 + (200 * _MS,)), "churn": cls((_MS,), close=True)}.get(segment)

    @cached_property
    def turns(self) -> Iterator[int]:
        """The delay of each request to come, nanoseconds."""
        return itertools.cycle(self.delays_ns)


class Wakeup:
    """Calls ``callback`` at times of the monotonic clock, one at a time; a new time replaces the one before.

    It uses a Linux timerfd, which is finer than an event loop's timers: they round to 1 ms. Where there is no timerfd
    the loop's own timer is used. A stub then waits longer, and its answers say so.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._libc = ctypes.CDLL(None, use_errno=True)
        create = getattr(self._libc, "timerfd_create", None)
        self._fd: int = create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC) if create else -1
        if self._fd >= 0:
            loop.add_reader(self._fd, self._on_timer)

    def at(self, when_ns: int) -> None:
        """Wake at ``when_ns``, at once where that time has passed."""
        if self._fd < 0:
            self._loop.call_later(max(0.0, (when_ns - time.monotonic_ns()) / _NS_PER_S), self._callback)
            return
        # Interval (none), then value, each as seconds and nanoseconds; a value of zero would disarm.
        spec = (ctypes.c_long * 4)(0, 0, *divmod(max(when_ns, 1), _NS_PER_S))
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _on_timer(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # replaced by a later time between the wake-up and here
            return
        self._callback()


class Delayer:
    """Answers that are due later, and the one wake-up that they share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due: list[tuple[int, int, LatencyProtocol]] = []
        self._number = itertools.count()
        self._wakeup = Wakeup(loop, self._answer_due)
        self._behaviours: dict[bytes, Behaviour | None] = {}
        self._loop = loop
        self.delivered_ns = array("q")
        """The delays of all answers so far. Empty where ``keeps`` is False."""
        self.keeps = False

    def behaviour(self, segment: bytes) -> Behaviour | None:
        """The behaviour for a segment. The first request for a freeze starts it."""
        if segment not in self._behaviours:
            self._behaviours[segment] = found = Behaviour.parse(segment.decode("latin-1"))
            if found is not None and found.freeze_for_ns:
                self._loop.call_later(found.freeze_after_ns / 1e9, time.sleep, found.freeze_for_ns / 1e9)
        return self._behaviours[segment]

    def answer_at(self, due_ns: int, protocol: LatencyProtocol) -> None:
        """Have a connection answer at a time of the monotonic clock."""
        heapq.heappush(self._due, (due_ns, next(self._number), protocol))
        if self._due[0][0] == due_ns:
            self._wakeup.at(due_ns)

    def _answer_due(self) -> None:
        while self._due:
            due_ns, _, protocol = self._due[0]
            if due_ns > time.monotonic_ns():
                self._wakeup.at(due_ns)
                return
            heapq.heappop(self._due)
            protocol.answer()


class LatencyProtocol(asyncio.Protocol):
    """One connection, one request at a time."""

    __slots__ = ("_close", "_delayer", "_pending", "_read_ns", "_transport")

    def __init__(self, delayer: Delayer) -> None:
        self._delayer = delayer
        self._pending = b""
        self._read_ns = 0
        self._close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take a whole request and have it answered when its time has come."""
        now_ns = time.monotonic_ns()
        if self._pending:
            data = self._pending + data
        end = end_of_request(data, 0)
        if end == 0 or end > len(data):
            self._pending = data
            return
        self._pending = b""
        behaviour = self._delayer.behaviour(_first_segment(data))
        if end != len(data) or self._read_ns or behaviour is None:
            self._transport.write(REFUSE)
            self._transport.close()
            return
        self._read_ns = now_ns
        self._close = behaviour.close
        delay_ns = next(behaviour.turns)
        if delay_ns:
            self._delayer.answer_at(now_ns + delay_ns, self)
        else:
            self.answer()

    def answer(self) -> None:
        """Write the answer to the current request, unless the client is gone."""
        if self._transport.is_closing():
            return
        delivered_ns = time.monotonic_ns() - self._read_ns
        self._read_ns = 0
        if self._delayer.keeps:
            self._delayer.delivered_ns.append(delivered_ns)
        self._transport.write(_ANSWER % (delivered_ns, _CLOSE if self._close else b""))
        if self._close:
            self._transport.close()


def _first_segment(request: bytes) -> bytes:
    path = request.partition(b" ")[2].partition(b" ")[0]
    return path[1:].partition(b"/")[0]


async def _serve(host: str, port: int, *, keep: bool) -> array[int]:
    loop = asyncio.get_running_loop()
    delayer = Delayer(loop)
    delayer.keeps = keep
    server = await loop.create_server(lambda: LatencyProtocol(delayer), host, port, backlog=4096)
    click.echo(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()
    return delayer.delivered_ns


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default="a free one")
@click.option("--ledger", type=click.Path(path_type=Path), help="Write all delivered delays there at the end.")
def main(host: str, port: int, ledger: Path | None) -> None:
    """Serve until standard input closes."""
    delivered_ns = uvloop.run(_serve(host, port, keep=ledger is not None))
    if ledger is not None:
        ledger.write_bytes(delivered_ns.tobytes())


if __name__ == "__main__":
    main()
