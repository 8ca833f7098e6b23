"""Processes that are stopped and continued in turn, on any machine and as any user.

This does to a client on purpose what a CPU quota or a busy machine does, so that the rig can be seen to notice it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psutil

RUN_S, STOP_S = 0.002, 0.198
_TURN_TIMEOUT_S = 0.05
_LOOK_S = 0.0005


def throttle(
    pids: Callable[[], Collection[int]], *, run_s: float = RUN_S, stop_s: float = STOP_S
) -> AbstractContextManager[None]:
    """Give the processes that ``pids`` names ``run_s`` of CPU after every ``stop_s``; they run freely at the end.

    CPU time counts: on a busy machine 2 ms may pass without a turn. The next stop does not wait longer than 50 ms for
    a process that has nothing to do.
    """

    def run(over: threading.Event, stopped: Collection[int]) -> None:
        before_s, latest = _cpu_s(stopped), time.monotonic() + _TURN_TIMEOUT_S
        _send(signal.SIGCONT, stopped)
        while _cpu_s(stopped) - before_s < run_s and time.monotonic() < latest:
            over.wait(_LOOK_S)

    return _stop_and_go(pids, stop_s, run)


def stutter(pids: Callable[[], Collection[int]], *, run_s: float, stop_s: float) -> AbstractContextManager[None]:
    """Let the processes run for ``run_s`` of time after every ``stop_s``; they run freely at the end."""

    def run(over: threading.Event, stopped: Collection[int]) -> None:
        _send(signal.SIGCONT, stopped)
        over.wait(run_s)

    return _stop_and_go(pids, stop_s, run)


def _stop_and_go(
    pids: Callable[[], Collection[int]], stop_s: float, run: Callable[[threading.Event, Collection[int]], None]
) -> AbstractContextManager[None]:
    def cycle(over: threading.Event) -> None:
        while not over.is_set():
            stopped = list(pids())
            try:
                _send(signal.SIGSTOP, stopped)
                over.wait(stop_s)
                run(over, stopped)
            finally:  # whatever happens, no process stays stopped
                _send(signal.SIGCONT, stopped)

    return alongside(cycle)


@contextmanager
def alongside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run ``work`` in a thread for the time of the context. It must end when its event is set."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), name="rig-injection", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _send(number: signal.Signals, pids: Collection[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _cpu_s(pids: Collection[int]) -> float:
    """CPU time that some processes have used, to the nanosecond where the kernel counts so."""
    return sum(_cpu_of_s(pid) for pid in pids)


def _cpu_of_s(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:  # noqa: PTH123  # two thousand times a second
            return int(file.read().split()[0]) / 1e9
    except OSError:
        with suppress(psutil.Error):
            return float(sum(psutil.Process(pid).cpu_times()[:2]))
        return 0.0
