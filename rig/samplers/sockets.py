"""Which process holds how many connections: the kernel's own list of TCP sockets, by netlink.

``/proc/net/tcp`` holds the same, but takes several milliseconds to read. Linux only; OSError where the kernel does not
answer.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x1 | 0x300
_ESTABLISHED, _LISTEN = 1, 10
_HEADER = struct.Struct("=IHHII")
_PORT = struct.Struct(">H")
_PORT_AT = _HEADER.size + 4
_INODE = struct.Struct("=I")
_INODE_AT = _HEADER.size + 68


def count_connections(holders: dict[int, set[int]]) -> dict[int, int]:
    """Established connections of each process on the ports that any of them listens on.

    ``holders``: inodes of the sockets that a process holds (``inodes_of``), by pid.
    """
    held: set[int] = set().union(*holders.values())
    ports = {port for inode, port in _sockets(_LISTEN) if inode in held}
    connected = {inode for inode, port in _sockets(_ESTABLISHED) if port in ports} if ports else set()
    return {pid: len(inodes & connected) for pid, inodes in holders.items()}


def inodes_of(pid: int) -> set[int]:
    """Inodes of the sockets that a process holds; PermissionError where this user may not see them."""
    folder = f"/proc/{pid}/fd"
    found = set()
    for name in os.listdir(folder):  # noqa: PTH208 - hundreds of names each time: no Path for each
        try:
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def _sockets(state: int) -> Iterator[tuple[int, int]]:
    """Inode and own port of every TCP socket in a state."""
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from _dump(family, state)


def _dump(family: int, state: int) -> Iterator[tuple[int, int]]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(1.0)
        request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << state)
        link.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
        while True:
            data = link.recv(1 << 18)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, offset)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError("the kernel does not list its sockets")
                (port,) = _PORT.unpack_from(data, offset + _PORT_AT)
                yield _INODE.unpack_from(data, offset + _INODE_AT)[0], port
                offset += (length + 3) & ~3
