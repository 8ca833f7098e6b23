"""aiohttp's client on uvloop: fixed bytes, 50 tasks."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop

from tests.bench.clients.clock import Clock
from tests.bench.clients.trial import BODY, CONNECTIONS, HEADERS


async def _load(port: int, seconds: float) -> None:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        clock = Clock(seconds)

        async def one() -> None:
            while clock.running():
                async with session.post(f"http://127.0.0.1:{port}/x", data=BODY.encode(), headers=HEADERS) as answer:
                    await answer.read()
                clock.count()

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        clock.report()


if __name__ == "__main__":
    uvloop.run(_load(int(sys.argv[1]), float(sys.argv[2])))
