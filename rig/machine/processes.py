"""Looking at other processes, which may end between one look and the next.

Whatever ``psutil`` lists may be a zombie or gone by the time that it is asked something. These answer then too, so
nobody else needs to think of it.
"""

from __future__ import annotations

import psutil


def alive(process: psutil.Process | int) -> bool:
    """Whether it, or the process of that pid, still runs. A zombie does not: it waits only for its parent to look."""
    try:
        if isinstance(process, int):
            process = psutil.Process(process)
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # it is there, and not ours to look at


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty when it has ended or is none of ours to look at."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def born_s(process: psutil.Process) -> float:
    """When it started, in seconds since the machine did; with its pid, what tells it from every other process.

    Not its time of day: that moves with the clock. Raises what psutil raises where it has ended.
    """
    return round(process.create_time() - psutil.boot_time(), 2)


def children(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """Its children, or all its descendants; none when it has ended."""
    try:
        return psutil.Process(pid).children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []
