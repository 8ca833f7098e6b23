"""Which process holds a TCP connection, from ``/proc``. psutil would read all sockets for every process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rig.machine.processes import children

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def socket_between(port: int, remote_port: int) -> Path | None:
    """The link target of the file descriptor of the socket between two ports; None where this machine has none.

    One port alone is not enough: the system reuses a port towards another peer, also while an old connection waits for
    its last packets.
    """
    ends = (f":{port:04X}", f":{remote_port:04X}")
    for table in _TABLES:
        with suppress(FileNotFoundError), table.open(encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
                    return Path(f"socket:[{fields[9]}]")
    return None


def find_holder(port: int, remote_port: int, pids: Sequence[int]) -> int | None:
    """The index of the process that has the socket between two ports open, itself or one that it started.

    None where it is none of them, or has closed the socket.
    """
    socket = socket_between(port, remote_port)
    for number, pid in enumerate(pids if socket else ()):
        if any(_has_open(one, socket) for one in (pid, *(child.pid for child in children(pid, recursive=True)))):
            return number
    return None


def _has_open(pid: int, socket: Path | None) -> bool:
    with suppress(OSError):  # it ended, or closed a file just now
        return any(link.readlink() == socket for link in Path(f"/proc/{pid}/fd").iterdir())
    return False
