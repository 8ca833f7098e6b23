"""What other processes are and do, although they may end at any time.

A process that ``psutil`` lists may be a zombie, or gone, when it is queried a moment later. These functions give an
answer then, too, so that no caller has to handle it.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


def alive(process: psutil.Process | int) -> bool:
    """Whether it, or the process of that pid, still runs. A zombie does not: it only waits to be reaped."""
    try:
        if isinstance(process, int):
            process = psutil.Process(process)
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # it exists, but this user may not see more


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty when it has ended or when this user may not see it."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def born_s(process: psutil.Process) -> float:
    """When it started, in seconds since the machine did. Together with its pid this identifies a process.

    The time of day would not do: it changes when the clock is set. Raises what psutil raises where it has ended.
    """
    return round(process.create_time() - psutil.boot_time(), 2)


def children(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """Its children, or all its descendants; none when it has ended."""
    try:
        return psutil.Process(pid).children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []


def find_session(leader: int) -> list[psutil.Process]:
    """The processes of a session, with its leader."""
    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.NoSuchProcess):
            if os.getsid(pid) == leader:
                found.append(psutil.Process(pid))
    return found
