"""Several serving processes on one port. When one ends, all end.

Flow of ``supervise(plan)``: bind one socket for each process with SO_REUSEPORT, so that the kernel spreads connections
over them → start the processes, each with its socket, the board and a pipe as standard input → wait for SIGTERM, SIGINT
or the end of any of them → close the pipes, wait for all. No process is restarted: one that dies must be seen.
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
from stub_server.service.errors import ServiceConfigError, ServiceError, ServiceUnavailable
from stub_server.service.metrics import Board, all_series

BACKLOG = 1024
STOP_MARGIN_S = 4.0
"""A process has so long beyond the stop timeout of its requests to close its pool. Then it is killed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServePlan:
    """Where to serve and in how many processes. ``worker_options`` go on the command line of each."""

    config: Config
    host: str
    port: int
    processes: int
    worker_options: Sequence[str] = ()


def supervise(plan: ServePlan) -> None:
    """Serve until told to stop.

    ServiceUnavailable for a port that is taken, ServiceError when a process cannot be started or ends by itself.
    """
    try:
        asyncio.run(_supervise(plan))
    except OSError as error:
        raise ServiceError(f"the service cannot go on: {error}") from None


async def _supervise(plan: ServePlan) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _bind_sockets(plan.host, plan.port, plan.processes) as sockets:
        port = sockets[0].getsockname()[1]
        board = Board.create(all_series(route.name for route in plan.config.routes), plan.processes)
        workers = [await _start(plan, index, one, board) for index, one in enumerate(sockets)]
    # From here on only the processes hold the sockets: the socket of a dead one must not take connections.
    os.close(board.descriptor)
    logger.info("serving http://%s:%d in %d processes", plan.host, port, plan.processes)
    endings = [asyncio.create_task(worker.wait()) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *endings], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    ended = [index for index, ending in enumerate(endings) if ending.done()]
    await _end(workers, plan.config.stop_timeout_s + STOP_MARGIN_S)
    # Look only now: a signal to the whole group may reach another process before this one.
    _raise_for(workers, [] if stop.is_set() else ended)


@contextmanager
def _bind_sockets(host: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """``count`` listening sockets on one port (0: a free one), closed on exit."""
    with ExitStack() as opened:
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            family, host_port = address[0], address[4][:2]
            # First without SO_REUSEPORT: with it, another service of the same user could share the port unnoticed.
            with socket.create_server(host_port, family=family) as probe:
                host_port = probe.getsockname()[:2]
            sockets = [
                opened.enter_context(socket.create_server(host_port, family=family, backlog=BACKLOG, reuse_port=True))
                for _ in range(count)
            ]
        except OSError as error:
            raise ServiceUnavailable(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        yield sockets


async def _start(plan: ServePlan, index: int, listener: socket.socket, board: Board) -> Process:
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
    """ServiceError where a process failed. It has printed the reason itself; its exit code becomes this one's.

    ``unasked`` are processes that ended by themselves. They failed even if their exit code is 0.
    """
    codes = [worker.returncode or 0 for worker in workers]
    failed = [index for index, code in enumerate(codes) if code] or unasked
    if not failed:
        return
    kinds = {kind.exit_code: kind for kind in (ServiceUnavailable, ServiceConfigError)}
    code = codes[failed[0]]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise kinds.get(code, ServiceError)(f"serving process {failed[0]} died ({how}); the service was stopped")
