"""How many files a process may open. Each connection is one, and the usual soft limit of 1,024 is soon reached.

The rig raises the limit of its own processes only. A target keeps the limit that it is started with, which is part of
what is tested.
"""

from __future__ import annotations

import errno
import resource

MOST = 1 << 16


def raise_limit(pid: int = 0) -> None:
    """Raise the soft limit of a process of the rig to the hard one, at most to ``MOST``; ``pid`` 0 is this process."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


def describe(error: BaseException) -> str:
    """An error with its kind, and what to do where files or memory ran out."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"{said}. A process may open {soft:,} here and each connection is one: raise the limit (ulimit -Hn)"
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"{said}. No local port is free for a connection: load from fewer connections, or wait a minute"
    return said
