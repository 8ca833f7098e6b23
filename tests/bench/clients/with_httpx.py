"""httpx's asynchronous client: fixed bytes, 50 tasks."""

from __future__ import annotations

import asyncio
import sys

import httpx
import uvloop

from tests.bench.clients.clock import Clock
from tests.bench.clients.trial import BODY, CONNECTIONS, HEADERS


async def _load(port: int, seconds: float) -> None:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(limits=limits) as client:
        clock = Clock(seconds)

        async def one() -> None:
            while clock.running():
                await client.post(f"http://127.0.0.1:{port}/x", content=BODY.encode(), headers=HEADERS)
                clock.count()

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        clock.report()


if __name__ == "__main__":
    uvloop.run(_load(int(sys.argv[1]), float(sys.argv[2])))
