"""A TCP tee: passes bytes between a fleet and the JWKS origin, and counts the requests in them on its own.

``python -m rig.storms.unknown_kid.proxy --to PORT --ledger FILE`` listens on loopback, prints one JSON line ``{"port":
…}`` and ends when its standard input closes. It shares neither process nor HTTP server with the origin, so that the two
counts are two. The ledger has one JSON line when a request's first byte has come and one when its answer has passed, or
when either side went away before (``aborted``). Not for HTTP in general: it changes nothing, and waits for nobody. What
it cannot read it passes on uncounted: the two counts differ then, and a gate says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

import click
import httptools

_CHUNK_BYTES = 65536
_Count = Callable[[bytes], None]


class _Counter:
    """The requests of one connection, in both directions; the callbacks are httptools'."""

    def __init__(self, peer: str, ledger: Ledger) -> None:
        self._peer = peer
        self._ledger = ledger
        self._open: deque[int] = deque()
        self._requests = httptools.HttpRequestParser(_Callbacks(on_message_begin=self._begun))
        self._answers = httptools.HttpResponseParser(_Callbacks(on_message_complete=self._answered))

    def sent(self, data: bytes) -> None:
        _feed(self._requests, data)

    def answered(self, data: bytes) -> None:
        _feed(self._answers, data)

    def over(self) -> None:
        while self._open:
            self._ledger.end(self._open.popleft(), "aborted")

    def _begun(self) -> None:
        self._open.append(self._ledger.start(self._peer))

    def _answered(self) -> None:
        self._ledger.end(self._open.popleft(), str(self._answers.get_status_code()))


def _feed(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, data: bytes) -> None:
    """Count what is in the bytes; raises nothing, as they must go on whatever they are."""
    with contextlib.suppress(httptools.HttpParserError):
        while data:
            try:
                parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # An offer of another protocol (h2c) is a request all the same. The origin declines it: what follows is
                # the next one.
                data = data[upgrade.args[0] :]


class _Callbacks:
    """httptools looks for methods by name and takes what is not there as not asked for."""

    def __init__(self, **callbacks: object) -> None:
        self.__dict__.update(callbacks)


class Ledger:
    """Fetches as the tee sees them, in the form of the origin's ledger."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._fetches = 0

    def start(self, peer: str) -> int:
        """A request began; its number."""
        self._fetches += 1
        self._write("start", self._fetches, peer=peer)
        return self._fetches

    def end(self, fetch: int, outcome: str) -> None:
        """Its answer has passed, or will not."""
        self._write("end", fetch, outcome=outcome)

    def _write(self, event: str, fetch: int, **rest: str) -> None:
        self._file.write(json.dumps({"event": event, "fetch": fetch, "at_ns": time.monotonic_ns(), **rest}) + "\n")


class Tee:
    """The server: one upstream connection for each that comes in."""

    def __init__(self, upstream_port: int, ledger: Ledger) -> None:
        self._upstream_port = upstream_port
        self._ledger = ledger

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, until either side ends it."""
        host, port = writer.get_extra_info("peername")[:2]
        counter = _Counter(f"{host}:{port}", self._ledger)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            writer.close()
            return
        there = asyncio.create_task(_pass(reader, up_writer, counter.sent))
        back = asyncio.create_task(_pass(up_reader, writer, counter.answered))
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        counter.over()
        up_writer.close()
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: _Count) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        count(data)  # before it goes on: who reads it may already ask again
        writer.write(data)
        await writer.drain()


async def _serve(host: str, port: int, upstream_port: int, ledger: Ledger) -> None:
    server = await asyncio.start_server(Tee(upstream_port, ledger).handle, host, port, backlog=1024)
    click.echo(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


@click.command()
@click.option("--to", "upstream_port", type=int, required=True, help="Port of the origin.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default="a free one")
@click.option("--ledger", "path", type=click.Path(path_type=Path), required=True, help="JSON lines, written anew.")
def main(upstream_port: int, host: str, port: int, path: Path) -> None:
    """Pass on until standard input closes."""
    with path.open("w", encoding="utf-8", buffering=1) as file:
        asyncio.run(_serve(host, port, upstream_port, Ledger(file)))


if __name__ == "__main__":
    main()
