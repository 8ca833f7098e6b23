"""Command line of the origin; the package's docstring has the orders."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click
from aiohttp import web

from stub_server.jwks_origin.ledger import Ledger
from stub_server.jwks_origin.origin import Origin


async def _serve(host: str, port: int, ledger: Ledger) -> None:
    origin = Origin(ledger)
    # Cancelled when the caller goes away: that end is in the ledger when it happens.
    server = web.Server(origin.handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    click.echo(json.dumps({"port": runner.addresses[0][1]}))
    try:
        await _take_orders(origin)
    finally:
        await runner.cleanup()


async def _take_orders(origin: Origin) -> None:
    """One JSON line in, one out, until the input closes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            origin.order(json.loads(line))
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
    with Ledger(path) as ledger:
        asyncio.run(_serve(host, port, ledger))


if __name__ == "__main__":
    main()
