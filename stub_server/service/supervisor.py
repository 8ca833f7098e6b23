"""Several serving processes on one port; one that is killed, or told to end, is replaced.

Flow of ``supervise(plan)``: bind one socket for each process with SO_REUSEPORT, so that the kernel spreads connections
over them → start the processes, each with its socket, the board, and pipes as standard input and output → replace those
that end → on SIGTERM or SIGINT close the sockets and the pipes, and wait for all. Each writes a line once it serves.

The supervisor keeps the sockets open, too. A connection that comes while a process is replaced waits for the new one,
so SIGTERM to one process after another is a deploy that fails no request. A process that fails is not replaced: it has
said why, and the next one would fail as well. All end with it then. One that is killed before it serves is replaced
where another has served before it: memory may be short for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from stub_server.service.config import Config
from stub_server.service.errors import ServiceConfigError, ServiceError, ServiceUnavailable
from stub_server.service.metrics import Board, all_series

BACKLOG = 1024
STOP_MARGIN_S = 4.0
"""A process has so long beyond the stop timeout of its requests to close its pool. Then it is killed."""
_PAUSE_S = 0.2
"""After the end of a process that never served, before the next is started."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServePlan:
    """Where to serve and in how many processes. ``worker_options`` go on the command line of each."""

    config: Config
    host: str
    port: int
    processes: int
    worker_options: Sequence[str] = ()
    is_contained: bool = True
    """False: when one process ends, all end. A defect."""


def supervise(plan: ServePlan) -> None:
    """Serve until told to stop.

    ServiceUnavailable for a port that is taken, ServiceError when a process cannot be started or fails.
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
        logger.info("serving http://%s:%d in %d processes", plan.host, port, plan.processes)
        start = partial(_restart, plan, sockets, board)
        failed = await _replace_until(stop, workers, start if plan.is_contained else None)
    os.close(board.descriptor)
    await _end(workers, plan.config.stop_timeout_s + STOP_MARGIN_S)
    # Look only now: a signal to the whole group may reach another process before this one.
    _raise_for(workers, [] if stop.is_set() else failed)


async def _replace_until(
    stop: asyncio.Event, workers: list[Process], start: Callable[[int], Awaitable[Process]] | None
) -> list[int]:
    """Replace each process that is killed or ends as it was told, until ``stop`` is set or one fails; which ones.

    Without ``start`` none is replaced.
    """
    stopping = asyncio.create_task(stop.wait())
    served: set[int] = set()
    lives = {asyncio.create_task(_live(worker, index, served)): index for index, worker in enumerate(workers)}
    try:
        while True:
            await asyncio.wait([stopping, *lives], return_when=asyncio.FIRST_COMPLETED)
            ended = [life for life in lives if life.done()]
            failed = [lives[life] for life in ended if not life.result()]
            if stop.is_set() or failed or start is None:
                return failed or [lives[life] for life in ended]
            for life in ended:
                index = lives.pop(life)
                logger.warning("serving process %d ended (%s) and is replaced", index, _how(workers[index]))
                workers[index] = await start(index)
                lives[asyncio.create_task(_live(workers[index], index, served))] = index
    finally:
        for task in (stopping, *lives):
            task.cancel()


async def _restart(plan: ServePlan, sockets: Sequence[socket.socket], board: Board, index: int) -> Process:
    return await _start(plan, index, sockets[index], board)


async def _live(worker: Process, index: int, served: set[int]) -> bool:
    """Wait for the end of a process; whether another one may do better: one has ``served``, and this did not fail."""
    assert worker.stdout is not None  # it was started with a pipe
    has_served = bool(await worker.stdout.readline())
    if has_served:
        served.add(index)
    may_do_better = await worker.wait() <= 0 and index in served
    if may_do_better and not has_served:
        await asyncio.sleep(_PAUSE_S)
    return may_do_better


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
        stdout=PIPE,
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
    raise kinds.get(code, ServiceError)(
        f"serving process {failed[0]} died ({_how(workers[failed[0]])}); the service was stopped"
    )


def _how(worker: Process) -> str:
    code = worker.returncode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"
