"""Which process holds a TCP connection, from ``/proc``. psutil would read all sockets for every process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rig.machine.processes import children

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def find_holders(ports: Collection[int], remote_port: int, pids: Sequence[int]) -> dict[int, int]:
    """By port, the index of the process that has the socket between it and ``remote_port`` open.

    The process has it open itself, or one that it started has. A port is left out where it is none of them, or has
    closed the socket. The tables are read once for all: the sockets may not be open for long.
    """
    by_link = _links(set(ports), remote_port)
    found: dict[int, int] = {}
    for look in (_itself, _descendants):  # to look for the processes that one started takes longest
        for number, pid in enumerate(pids):
            if len(found) == len(by_link):
                return found
            open_now = {link for one in look(pid) for link in _open_sockets(one)}
            found.update((by_link[link], number) for link in open_now & by_link.keys())
    return found


def _links(ports: Collection[int], remote_port: int) -> dict[Path, int]:
    """Port by the link target of the file descriptor of the socket from that port to the remote one.

    One port alone is not enough: the system reuses a port towards another peer, also while an old connection waits for
    its last packets.
    """
    remote, found = f":{remote_port:04X}", {}
    for table in _TABLES:
        with suppress(FileNotFoundError), table.open(encoding="ascii") as lines:
            for line in lines:
                if remote in line:
                    fields = line.split()
                    port = int(fields[1].rpartition(":")[2], 16) if fields[2].endswith(remote) else 0
                    if port in ports:
                        found[Path(f"socket:[{fields[9]}]")] = port
    return found


def _itself(pid: int) -> tuple[int, ...]:
    return (pid,)


def _descendants(pid: int) -> tuple[int, ...]:
    return tuple(child.pid for child in children(pid, recursive=True))


def _open_sockets(pid: int) -> Iterator[Path]:
    with suppress(OSError):  # it ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # it was closed just now
                yield link.readlink()
