"""The recording proxy: passes bytes between a fleet and the JWKS origin, and counts the requests in them on its own.

``python -m rig.storms.unknown_kid.proxy --to PORT --ledger FILE`` listens on loopback, prints one JSON line ``{"port":
…}`` and ends when its standard input closes. It shares neither process nor HTTP server with the origin, so the two
counts are independent. The ledger gets one JSON line with the first byte of a request, and one with the end of its
answer, or when either side goes away before that (``aborted``). It is no HTTP proxy: it changes no byte. Bytes that it
cannot read as HTTP it passes on uncounted; then the two counts differ, and a gate says so.
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
_DISCOVERY = b"/.well-known/openid-configuration"
_Count = Callable[[bytes], None]


class _ExchangeCounter:
    """The requests of one connection, in both directions; the callbacks are httptools'."""

    def __init__(self, peer: str, ledger: ProxyLedger) -> None:
        self._peer = peer
        self._ledger = ledger
        self._open: deque[int] = deque()
        self._url = b""
        self._requests = httptools.HttpRequestParser(
            _Callbacks(on_message_begin=self._start_fetch, on_url=self._read_url, on_headers_complete=self._look_at_url)
        )
        self._answers = httptools.HttpResponseParser(_Callbacks(on_message_complete=self._end_fetch))

    def count_requests(self, data: bytes) -> None:
        _feed(self._requests, data)

    def count_answers(self, data: bytes) -> None:
        _feed(self._answers, data)

    def abort_open(self) -> None:
        while self._open:
            self._ledger.end(self._open.popleft(), "aborted")

    def _start_fetch(self) -> None:
        self._url = b""
        self._open.append(self._ledger.start(self._peer))

    def _read_url(self, part: bytes) -> None:
        self._url += part

    def _look_at_url(self) -> None:
        if self._url.partition(b"?")[0].endswith(_DISCOVERY):
            self._ledger.pass_over(self._open[-1])

    def _end_fetch(self) -> None:
        self._ledger.end(self._open.popleft(), str(self._answers.get_status_code()))


def _feed(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, data: bytes) -> None:
    """Count what is in the bytes. It never raises: the bytes must be passed on whatever they are."""
    with contextlib.suppress(httptools.HttpParserError):
        while data:
            try:
                parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # An offer of another protocol (h2c) is a request too. The origin declines it, and the next request
                # follows.
                data = data[upgrade.args[0] :]


class _Callbacks:
    """httptools looks for methods by name, and calls those that exist."""

    def __init__(self, **callbacks: object) -> None:
        self.__dict__.update(callbacks)


class ProxyLedger:
    """Fetches as the proxy sees them, in the form of the origin's ledger."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._fetches = 0

    def start(self, peer: str) -> int:
        """A request began; returns its number."""
        self._fetches += 1
        self._write("start", self._fetches, peer=peer)
        return self._fetches

    def pass_over(self, fetch: int) -> None:
        """It asks where the keys are (OpenID Connect Discovery 1.0, section 4), and fetches none."""
        self._write("discovery", fetch)

    def end(self, fetch: int, outcome: str) -> None:
        """Its answer has passed, or will not."""
        self._write("end", fetch, outcome=outcome)

    def _write(self, event: str, fetch: int, **rest: str) -> None:
        self._file.write(json.dumps({"event": event, "fetch": fetch, "at_ns": time.monotonic_ns(), **rest}) + "\n")


class RecordingProxy:
    """The server: one connection to the origin for each that comes in."""

    def __init__(self, upstream_port: int, ledger: ProxyLedger) -> None:
        self._upstream_port = upstream_port
        self._ledger = ledger

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, until either side ends it, or the proxy ends."""
        with contextlib.suppress(asyncio.CancelledError):  # asyncio would print it
            await self._pass_both_ways(reader, writer)

    async def _pass_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        counter = _ExchangeCounter(f"{host}:{port}", self._ledger)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            writer.close()
            return
        there = asyncio.create_task(_pass(reader, up_writer, counter.count_requests))
        back = asyncio.create_task(_pass(up_reader, writer, counter.count_answers))
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        counter.abort_open()
        up_writer.close()
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: _Count) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        count(data)  # before it is passed on: its reader may ask again at once
        writer.write(data)
        await writer.drain()


async def _serve(port: int, upstream_port: int, ledger: ProxyLedger) -> None:
    server = await asyncio.start_server(RecordingProxy(upstream_port, ledger).handle, "127.0.0.1", port, backlog=1024)
    click.echo(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


@click.command()
@click.option("--to", "upstream_port", type=int, required=True, help="Port of the origin.")
@click.option("--port", default=0, show_default="a free one")
@click.option("--ledger", "path", type=click.Path(path_type=Path), required=True, help="JSON lines, written anew.")
def main(upstream_port: int, port: int, path: Path) -> None:
    """Pass on until standard input closes."""
    with path.open("w", encoding="utf-8", buffering=1) as file:
        asyncio.run(_serve(port, upstream_port, ProxyLedger(file)))


if __name__ == "__main__":
    main()
