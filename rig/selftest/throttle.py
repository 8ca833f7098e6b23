"""Processes that get a small part of a core: stopped and continued in turn, on any machine and as any user.

What a CPU quota does to a client, made on purpose, so that the rig can be seen to notice it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import psutil

RUN_S, STOP_S = 0.002, 0.198
_PATIENCE_S = 0.05
_LOOK_S = 0.0005


@contextmanager
def throttled(pids: Callable[[], Collection[int]], *, run_s: float = RUN_S, stop_s: float = STOP_S) -> Iterator[None]:
    """Give the processes that ``pids`` names ``run_s`` of CPU after every ``stop_s``; they run freely at the end.

    What counts is CPU time, not time: on a busy machine 2 ms may pass without a turn. Nobody waits for a process that
    has nothing to do.
    """
    over = threading.Event()

    def cycle() -> None:
        while not over.is_set():
            stopped = list(pids())
            try:
                _send(signal.SIGSTOP, stopped)
                over.wait(stop_s)
                before_s, patience = _cpu_s(stopped), time.monotonic() + _PATIENCE_S
            finally:  # whatever happens, nobody stands still for ever
                _send(signal.SIGCONT, stopped)
            while _cpu_s(stopped) - before_s < run_s and time.monotonic() < patience:
                over.wait(_LOOK_S)

    cycling = threading.Thread(target=cycle)
    cycling.start()
    try:
        yield
    finally:
        over.set()
        cycling.join()


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
