"""Several serving processes on one port, and the end of all of them with the first.

Flow: ``supervise(plan)``: bind one socket a process with SO_REUSEPORT, so that the kernel spreads connections over
them → start the processes, each with its socket, the board and a lifeline → wait for SIGTERM, SIGINT or the end of
any of them → close the lifelines, wait for all. Nothing is restarted: a process that dies is a fault to be seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from stub_server.service.config import Config
from stub_server.service.errors import ConfigError, ServiceError, Unavailable
from stub_server.service.metrics import Board, all_series

BACKLOG = 1024
STOP_MARGIN_S = 4.0
"""What a process gets on top of its requests' stop timeout to close its pool, before it is killed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Where to serve and in how many processes; ``worker_options`` are passed on to each on its command line."""

    config: Config
    host: str
    port: int
    processes: int
    worker_options: Sequence[str] = ()


def supervise(plan: Plan) -> None:
    """Serve until told to stop.

    Raises Unavailable for a port that is taken, ServiceError when a process cannot be started or ended unasked.
    """
    try:
        asyncio.run(_supervise(plan))
    except OSError as error:
        raise ServiceError(f"the service cannot go on: {error}") from None


async def _supervise(plan: Plan) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _bound(plan.host, plan.port, plan.processes) as sockets:
        port = sockets[0].getsockname()[1]
        board = Board.create(all_series(route.name for route in plan.config.routes), plan.processes)
        workers = [await _start(plan, index, one, board) for index, one in enumerate(sockets)]
    # Only the processes hold the sockets from here on: a dead one's must not go on taking connections.
    os.close(board.descriptor)
    logger.info("serving http://%s:%d in %d processes", plan.host, port, plan.processes)
    endings = [asyncio.create_task(worker.wait()) for worker in workers]
    told = asyncio.create_task(stop.wait())
    await asyncio.wait([told, *endings], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    ended = [index for index, ending in enumerate(endings) if ending.done()]
    await _end(workers, plan.config.stop_timeout_s + STOP_MARGIN_S)
    # Asked only now: what tells a whole group may reach a process before it reaches this one.
    _raise_for(workers, [] if stop.is_set() else ended)


@contextmanager
def _bound(host: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """``count`` listening sockets on one port (0: a free one), closed on exit."""
    with ExitStack() as opened:
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            family, host_port = address[0], address[4][:2]
            # Without SO_REUSEPORT first: with it, another service of the same user would silently share the port.
            with socket.create_server(host_port, family=family) as probe:
                host_port = probe.getsockname()[:2]
            sockets = [
                opened.enter_context(socket.create_server(host_port, family=family, backlog=BACKLOG, reuse_port=True))
                for _ in range(count)
            ]
        except OSError as error:
            raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        yield sockets


async def _start(plan: Plan, index: int, listener: socket.socket, board: Board) -> Process:
    descriptors = (listener.fileno(), board.descriptor)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stub_server.service", "worker"),
        *("--process", str(index), "--processes", str(plan.processes)),
        *("--socket-fd", str(descriptors[0]), "--board-fd", str(descriptors[1])),
        *plan.worker_options,
        stdin=PIPE,
        pass_fds=descriptors,
    )


async def _end(workers: Sequence[Process], timeout_s: float) -> None:
    for worker in workers:
        assert worker.stdin is not None  # it was started with a pipe
        worker.stdin.close()
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*(worker.wait() for worker in workers))
    except TimeoutError:
        logger.error("a process did not stop within %.0f s and is killed", timeout_s)
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()


def _raise_for(workers: Sequence[Process], unasked: Sequence[int]) -> None:
    """A process that could not start has said why itself, and its exit code is ours.

    One of the ``unasked``, which ended before anybody was told to, failed also where its exit code is 0.
    """
    codes = [worker.returncode or 0 for worker in workers]
    failed = [index for index, code in enumerate(codes) if code] or unasked
    if not failed:
        return
    kinds = {kind.exit_code: kind for kind in (Unavailable, ConfigError)}
    code = codes[failed[0]]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise kinds.get(code, ServiceError)(f"serving process {failed[0]} died ({how}); the service was stopped")
