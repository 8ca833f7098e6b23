"""A server on a loopback socket that does to each request what a script says, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.engine.scenes import Message, taken_apart

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SAID_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class Then(Enum):
    """What the server does after it has said its bytes."""

    KEEP = "keep"
    CLOSE = "close"
    HALF_CLOSE = "half-close"
    RESET = "reset"
    HANG = "hang"
    """Say no more on this connection until the client leaves it."""
    VANISH = "vanish"
    """Close this connection and the server: nobody connects any more."""


@dataclass(frozen=True)
class Say:
    """The answer to one request."""

    data: bytes = OK
    then: Then = Then.KEEP


@dataclass
class Peer:
    """What a running server has met."""

    port: int
    requests: list[Message] = field(default_factory=list)
    accepted: int = 0
    open_connections: int = 0
    said_first: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first request."""


Greeting = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(
    script: Sequence[Say] = (),
    *,
    greet_first: bytes | None = None,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Peer]:
    """Serve: the n-th request meets ``script[n]``, later ones ``Say()``.

    ``greet_first``: said on the very first connection as soon as it stands, which then is closed.
    """
    met = Peer(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.accepted += 1
        met.open_connections += 1
        try:
            if met.accepted == 1 and greet_first is not None:
                writer.write(greet_first)
                return
            while (request := await _request(reader)) is not None:
                say = script[len(met.requests)] if len(met.requests) < len(script) else Say()
                met.requests.append(request)
                met.asked.set()
                writer.write(say.data)
                match say.then:
                    case Then.CLOSE:
                        return
                    case Then.HALF_CLOSE:
                        writer.write_eof()
                    case Then.RESET:
                        _reset(writer)
                        return
                    case Then.HANG:
                        await reader.read()
                        return
                    case Then.VANISH:
                        server.close()
                        return
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away in the middle
        finally:
            writer.close()
            met.open_connections -= 1

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    met.port = server.sockets[0].getsockname()[1]
    try:
        yield met
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> Message | None:
    """The next whole request, None at the end of the stream."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = int(taken_apart(head).headers["Content-Length"])
    return taken_apart(head + await reader.readexactly(length))


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def refused_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
