"""One serving process: it inherits its socket and its row of the board, and serves until told to stop.

Flow: ``serve_forever(Task)``: open the store → serve → wait for a signal or for the end of standard input → stop
accepting, answer the requests in flight, close the pool. Only the supervisor holds the other end of standard input, so
it ends when the supervisor ends, however that dies.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Collection
from dataclasses import dataclass

import click
import uvloop
from aiohttp import web

from stub_server.service import echoing, failing
from stub_server.service.app import Service
from stub_server.service.bottlenecks import pool_of_one
from stub_server.service.broken_stores import STORES, LeakyStore
from stub_server.service.config import Config
from stub_server.service.defects import inject_defects
from stub_server.service.intake import Intake, Steps
from stub_server.service.metrics import Board, all_series
from stub_server.service.spoiling import SPOILING
from stub_server.service.store import EventStore, open_store
from stub_server.service.supervisor import BACKLOG
from stub_server.service.switches import ServiceDefect
from stub_server.service.tokens import load_verifier
from stub_server.service.unsecuring import UNSECURED

GAUGE_REFRESH_S = 0.5
KEEP_ALIVE_S = 75.0
DRAIN_S = 0.1
"""So long the process goes on serving after it accepts no more connections."""


@dataclass(frozen=True)
class Task:
    """What a process has to do. The descriptors are inherited from the supervisor."""

    config: Config
    dsn: str
    process: int
    processes: int
    socket_descriptor: int
    board_descriptor: int
    defects: Collection[ServiceDefect]


def serve_forever(task: Task) -> None:
    """Serve until SIGTERM, SIGINT or the end of standard input."""
    gc.collect()
    gc.freeze()  # what was imported stays: a full collection would stop all requests while it looks at that again
    uvloop.run(_serve(task))


async def _serve(task: Task) -> None:
    stop = _stop_event()
    config = pool_of_one(task.config) if ServiceDefect.POOL_OF_ONE in task.defects else task.config
    if ServiceDefect.HANGS_WITH_DATABASE in task.defects:
        config = failing.hang_with_database(config)
    pooled, drops = ServiceDefect.NO_POOL not in task.defects, ServiceDefect.DROPS_AT_SIGTERM in task.defects
    board = Board(task.board_descriptor, all_series(route.name for route in config.routes), task.processes)
    verifier = load_verifier(config.auth.verifier, os.environ)
    listener = socket.socket(fileno=task.socket_descriptor)
    name, is_isolated = f"stub_server.service/{task.process}", UNSECURED.isdisjoint(task.defects)
    spoils = task.process == 0 and not SPOILING.isdisjoint(task.defects)
    kind = next((STORES[defect] for defect in task.defects if defect in STORES), EventStore)
    async with open_store(config, task.dsn, name, kind, pooled=pooled, is_isolated=is_isolated) as store:
        steps = inject_defects(Steps(Intake(config.routes).judge, store.persist), task.defects, task.process)
        if drops:
            steps = failing.drop_requests(steps, stop)
        service = Service(config, store, steps, verifier, board, task.process)
        application = service.application()
        application.middlewares.extend(echoing.middlewares(task.defects, config.probes.metrics))
        runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=config.stop_timeout_s,
            handler_cancellation=kind is LeakyStore,  # the handler learns that the sender has gone
        )
        await runner.setup()
        try:
            site = web.SockSite(runner, listener, backlog=BACKLOG)
            await site.start()
            click.echo("serving")  # the supervisor waits for it
            while not stop.is_set():
                service.refresh_gauges()
                if spoils:
                    await store.spoil_rows()
                await _wait(stop, GAUGE_REFRESH_S)
            if drops:
                await failing.end_at_once()
            # A connection that was accepted just before is known to the runner only later, and is served until then.
            await site.stop()
            await asyncio.sleep(DRAIN_S)
        finally:
            await runner.cleanup()


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # A terminal sends it to the whole group. The supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stop_with_supervisor() -> None:
        # Nothing is ever written to standard input: readable means that the other end is closed.
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), stop_with_supervisor)
    return stop


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
