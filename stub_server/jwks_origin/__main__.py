"""Command line of the origin; the package's docstring has the changes that it takes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click
from aiohttp import web

from stub_server.jwks_origin.origin import FetchLedger, JwksOrigin


async def _serve(host: str, port: int, ledger: FetchLedger) -> None:
    origin = JwksOrigin(ledger)
    # Cancelled when the caller goes away, so that the ledger has the end at once.
    server = web.Server(origin.handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    click.echo(json.dumps({"port": runner.addresses[0][1]}))
    try:
        await _take_changes(origin)
    finally:
        await runner.cleanup()


async def _take_changes(origin: JwksOrigin) -> None:
    """One JSON line in, one out, until the input closes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            origin.change(json.loads(line))
            answer: dict[str, bool | str] = {"done": True}
        except (ValueError, TypeError) as error:
            answer = {"done": False, "error": str(error)}
        click.echo(json.dumps(answer))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default="a free one")
@click.option("--ledger", "path", type=click.Path(path_type=Path), required=True, help="JSON lines, written anew.")
def main(host: str, port: int, path: Path) -> None:
    """Serve until standard input closes."""
    with FetchLedger(path) as ledger:
        asyncio.run(_serve(host, port, ledger))


if __name__ == "__main__":
    main()
