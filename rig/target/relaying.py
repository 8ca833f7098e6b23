"""What the relay's process does: passes bytes between two sockets, as its way says.

``python -m rig.target.relaying HOST PORT`` (or one path, of a Unix socket) listens on a free port of 127.0.0.1 and
prints ``{"port": …}``. Each line of its standard input is a ``Way``; it answers each with an empty line once that way
holds. It ends when its standard input closes.

A connection is two ``Side``s, each the peer of the other. On a whole way a side writes what it receives straight to its
peer. Else what it receives waits in its queue, closes included, until it is due; a silent side is not read at all.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import cast

import click
import uvloop

from rig.target.relay import Direction, Way

_BACKLOG = 1024
_KEPT_BYTES_MAX = 1 << 18
"""What one side keeps for its peer before it stops reading."""
_PIECE_S = 0.02
"""On a throttled way bytes pass in pieces that take this long."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""


class _Close(Enum):
    END = "the side sends no more"
    RESET = "the side is gone"


class Side(asyncio.Protocol):
    """One of the two sockets of a connection, and what has come from it and is not passed on yet."""

    peer: Side

    def __init__(self, link: Link, direction: Direction) -> None:
        self._link = link
        self._direction: Direction = direction
        self._transport: asyncio.Transport | None = None
        self._kept: deque[tuple[float, bytes | _Close]] = deque()
        self._kept_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_straight = False
        self._is_full = False
        self._has_ended = False
        self._has_passed_end = False
        self._is_gone = False
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the peer, unless that has gone meanwhile."""
        self._transport = cast("asyncio.Transport", transport)
        self._link.sides.add(self)
        if self.peer._is_gone:
            self.reset()
        else:
            self.follow_way()
            self.peer.follow_way()

    def data_received(self, data: bytes) -> None:
        """Pass on what came, now or when it is due."""
        if self._is_lost:
            return
        if self._is_straight:
            self.peer._write(data)
        else:
            self._keep(data)

    def eof_received(self) -> bool:
        """Pass the end on in its turn; what the peer sends still passes."""
        self._has_ended = True
        if self._is_lost:
            return False
        self._keep(_Close.END)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Pass on that this side is gone, unless both have ended."""
        self._is_gone = True
        self._link.sides.discard(self)
        if not self._is_lost and not (self._has_passed_end and self.peer._has_passed_end):
            self._keep(_Close.RESET)

    def pause_writing(self) -> None:
        """This side takes no more for now: read no more from its peer."""
        self._is_full = True
        self.peer._read_or_pause()

    def resume_writing(self) -> None:
        """This side takes bytes again."""
        self._is_full = False
        self.peer._read_or_pause()

    def reset(self) -> None:
        """End the connection of this side at once, with a reset."""
        if self._transport is not None and not self._is_gone:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
            self._is_gone = True

    def lose(self) -> None:
        """Close the upstream's side. The other is not told, and what it sends goes nowhere."""
        self._is_lost = True
        self._kept.clear()
        if self._direction == "answers":
            self.reset()

    def fail(self) -> None:
        """The connection of this side cannot be made."""
        self._is_gone = True
        self.peer.reset()

    def follow_way(self) -> None:
        """Do from now on as the link's way says: pass on all that is due, and come back when the next is."""
        if self._is_lost:
            return
        loop, way = asyncio.get_running_loop(), self._link.way
        if self._timer is not None:
            self._timer.cancel()
        while self._kept and self.peer._transport is not None and self._direction not in way.silent:
            came_at, what = self._kept[0]
            if isinstance(what, _Close) and way.silent:
                break
            due_at = max(came_at + way.delay_s, self._link.free_at[self._direction])
            if due_at > loop.time():
                self._timer = loop.call_at(due_at, self.follow_way)
                break
            self._kept.popleft()
            self._pass(came_at, what)
        self._is_straight = not self._kept and way.is_whole and self.peer._transport is not None
        self._read_or_pause()

    def _keep(self, what: bytes | _Close) -> None:
        self._kept.append((asyncio.get_running_loop().time(), what))
        self._kept_bytes += len(what) if isinstance(what, bytes) else 0
        self.follow_way()

    def _pass(self, came_at: float, what: bytes | _Close) -> None:
        if what is _Close.RESET:
            self.peer.reset()
        elif what is _Close.END:
            self._has_passed_end = True
            self.peer._end()
        else:
            piece = what[: self._link.take(self._direction, len(what))]
            if len(piece) < len(what):
                self._kept.appendleft((came_at, what[len(piece) :]))
            self._kept_bytes -= len(piece)
            self.peer._write(piece)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._is_gone:
            self._transport.write(data)

    def _end(self) -> None:
        """Send no more to this side, and close the connection if nothing comes from it either."""
        if self._transport is None or self._is_gone:
            return
        self._transport.write_eof()
        if self._has_passed_end:
            for side in (self, self.peer):
                if side._transport is not None:
                    side._transport.close()

    def _read_or_pause(self) -> None:
        """Read from this side while its bytes may pass, its peer takes them, and not too many are kept."""
        transport = self._transport
        if transport is None or self._is_gone or self._has_ended:
            return
        is_wanted = (
            self.peer._transport is not None
            and not self.peer._is_full
            and self._direction not in self._link.way.silent
            and self._kept_bytes < _KEPT_BYTES_MAX
        )
        if is_wanted and not transport.is_reading():
            transport.resume_reading()
        elif not is_wanted and transport.is_reading():
            transport.pause_reading()


class Link:
    """The listening socket, all connections through it, and the way that holds for them."""

    def __init__(self, upstream: Sequence[str]) -> None:
        self.way = Way()
        self.sides: set[Side] = set()
        self.free_at: dict[Direction, float] = {"requests": 0.0, "answers": 0.0}
        """When a throttled direction is done with what it has taken."""
        self._upstream = upstream
        self._unconnected: list[Side] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        # Bound and never listening: nobody else is given the port while the way is cut.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]

    async def become(self, way: Way) -> None:
        """Let this way hold for all connections, those that are there and those that come."""
        self.way = way
        self.free_at = dict.fromkeys(self.free_at, 0.0)
        if way.is_cut:
            self.close()
            self._server = None
        if not way.is_cut and self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                self._accept, "127.0.0.1", self.port, reuse_port=True, backlog=_BACKLOG
            )
        for side in tuple(self.sides):
            side.reset() if way.is_cut else side.lose() if way.loses else side.follow_way()
        if not way.silent:
            while self._unconnected:
                self._connect(self._unconnected.pop())

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    def take(self, direction: Direction, size: int) -> int:
        """How many of ``size`` bytes may pass now."""
        if not self.way.bytes_per_s:
            return size
        taken = min(size, max(1, int(self.way.bytes_per_s * _PIECE_S)))
        self.free_at[direction] = asyncio.get_running_loop().time() + taken / self.way.bytes_per_s
        return taken

    def _accept(self) -> Side:
        near, far = Side(self, "requests"), Side(self, "answers")
        near.peer, far.peer = far, near
        if self.way.silent:
            self._unconnected.append(far)
        else:
            self._connect(far)
        return near

    def _connect(self, far: Side) -> None:
        task = asyncio.get_running_loop().create_task(self._connect_now(far))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect_now(self, far: Side) -> None:
        loop = asyncio.get_running_loop()
        try:
            if len(self._upstream) == 1:
                await loop.create_unix_connection(lambda: far, self._upstream[0])
            else:
                await loop.create_connection(lambda: far, self._upstream[0], int(self._upstream[1]))
        except OSError:
            far.fail()


async def _relay(upstream: Sequence[str]) -> None:
    link = Link(upstream)
    await link.become(Way())
    click.echo(json.dumps({"port": link.port}))
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        way = json.loads(line)
        await link.become(Way(**way | {"silent": tuple(way["silent"])}))
        click.echo()
    link.close()


if __name__ == "__main__":
    uvloop.run(_relay(sys.argv[1:]))
