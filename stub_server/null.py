"""The null stub: reads the whole request, answers a fixed small JSON, does nothing else.

It measures the client: the rate of a null benchmark is the limit of the client (or of this stub), not of a service. One
process on raw uvloop protocols. Connections are kept alive. With ``--close`` every answer closes its connection, which
shows what a new connection costs. Prints one JSON line ``{"port": …}`` once it listens; ends when its standard input
closes. Not for HTTP in general: it frames requests by Content-Length alone and refuses everything else with 400.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import click
import uvloop

_BODY = b'{"status":"ok"}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(_BODY)
KEEP = _ANSWER + b"\r\n" + _BODY
CLOSE = _ANSWER + b"Connection: close\r\n\r\n" + _BODY
REFUSE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD_LIMIT_BYTES = 65536


class NullProtocol(asyncio.Protocol):
    """One connection: counts body bytes, answers at the end of each request."""

    __slots__ = ("_answer", "_pending", "_transport")

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in what has come so far; keep the rest."""
        if self._pending:
            data = self._pending + data
        answers = 0
        begin = 0
        while begin < len(data):
            end = end_of_request(data, begin)
            if end < 0:
                self._transport.write(REFUSE)
                self._transport.close()
                return
            if end == 0 or end > len(data):
                break
            answers += 1
            begin = end
        self._pending = data[begin:]
        if answers:
            self._transport.write(self._answer * answers)
            if self._answer is CLOSE:
                self._transport.close()


def end_of_request(data: bytes, begin: int) -> int:
    """Where the request that begins at ``begin`` ends; 0 when its head is not whole yet, -1 when it is not framed."""
    head_end = data.find(b"\r\n\r\n", begin)
    if head_end < 0:
        return -1 if len(data) - begin > _HEAD_LIMIT_BYTES else 0
    field = data.find(b"\r\nContent-Length:", begin, head_end)
    if field < 0:
        # Rare spellings go the slow way; a request without a body has no such field.
        head = data[begin:head_end].lower()
        if b"\r\ntransfer-encoding:" in head:
            return -1
        field = head.find(b"\r\ncontent-length:")
        if field < 0:
            return head_end + 4
        field += begin
    length = data[field + 17 : data.find(b"\r\n", field + 17)].strip()
    return head_end + 4 + int(length) if length.isdigit() else -1


async def _serve(host: str, port: int, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: NullProtocol(answer), host, port, backlog=4096)
    click.echo(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default="a free one")
@click.option("--close", is_flag=True, help="Close every connection after its answer.")
def main(host: str, port: int, close: bool) -> None:
    """Serve until standard input closes."""
    uvloop.run(_serve(host, port, CLOSE if close else KEEP))


if __name__ == "__main__":
    main()
