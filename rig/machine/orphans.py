"""Processes that lost their parent: they become children of this one, so that they are found and ended.

A process that leaves its session, its environment and its parent (``env -i setsid …``) carries no marker of the run,
and init would adopt it. Flow: the rig's first process calls ``adopt_orphans`` once (PR_SET_CHILD_SUBREAPER). A thread
then looks at its children: one that ended is reaped, as init would, and one that lives is registered with the
supervisor, whose reaper ends it also after SIGKILL of the rig. Children that the rig started itself are left to whoever
did so: they are of its session, or were started by ``rig.machine.child``. Not for a process that starts children of
another session in other ways.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rig.machine import child

_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.5
_adopting = False


def adopt_orphans(register: Callable[[int], None]) -> None:
    """Have orphans become children of this process from now on; ``register`` is told of each that lives."""
    global _adopting
    if _set_adopting(True):
        _adopting = True
        threading.Thread(target=_look_after, args=(register,), name="orphans", daemon=True).start()


@contextmanager
def leave_orphans() -> Iterator[None]:
    """Whoever loses its parent within the context is left to init: it is to be nobody's of this run."""
    if not _adopting:
        yield
        return
    _set_adopting(False)
    try:
        yield
    finally:
        _set_adopting(True)


def _set_adopting(wanted: bool) -> bool:
    """Whether the kernel has heard it."""
    return sys.platform == "linux" and not ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def may_be_adopted(pid: int) -> bool:
    """Whether another process may have started a child of this one."""
    return _adopting and pid not in child.started


def is_adopted(pid: int) -> bool:
    """Whether another process has started a child of this one: it has a session that is not of the rig's making."""
    if not may_be_adopted(pid):
        return False
    with suppress(ProcessLookupError):
        return os.getsid(pid) != os.getsid(0)
    return False


def _look_after(register: Callable[[int], None]) -> None:
    known: set[int] = set()
    while True:
        time.sleep(_POLL_S)
        adopted = set(filter(is_adopted, _children()))
        for pid in adopted & known:  # not the one that is being started right now
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        for pid in adopted - known:
            register(pid)
        known = adopted


def _children() -> Iterator[int]:
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that ended
            yield from map(int, listed.read_text().split())
