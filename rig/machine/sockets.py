"""Which process holds a TCP connection, and which listen at a port. psutil would read all sockets for every process.

For a connection the kernel is asked for each socket by itself (sock_diag(7)): the tables in ``/proc/net`` have a line
for every connection of the machine, and take a tenth of a second where a load test left thousands. They are read where
it does not answer.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import psutil

from rig.machine.processes import children

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = 1
_LOOPBACK = socket.inet_aton("127.0.0.1")
_HEAD = struct.Struct("=IHHII")
"""A netlink message: its length, type, flags, number, sender."""
_ID = struct.Struct("!HH16s16s")
"""Ports and addresses of a socket; its device and its cookie follow."""
_INODE_AT = _HEAD.size + 4 + _ID.size + 12 + 16
_ANSWER_S = 0.1
_LISTENS = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def find_holders(ports: Collection[int], remote_port: int, pids: Sequence[int]) -> dict[int, int]:
    """By port, the index of the process that has the socket between it and ``remote_port`` open.

    The process has it open itself, or one that it started has. A port is left out where it is none of them, or has
    closed the socket. The tables are read once for all: the sockets may not be open for long.
    """
    by_link = {link: port for port in ports if (link := _ask_kernel(port, remote_port))}
    if unknown := set(ports) - set(by_link.values()):
        by_link |= _read_tables(unknown, remote_port)
    found: dict[int, int] = {}
    for look in (_itself, _descendants):  # to look for the processes that one started takes longest
        for number, pid in enumerate(pids):
            if len(found) == len(by_link):
                return found
            open_now = {link for one in look(pid) for link in _open_sockets(one)}
            found.update((by_link[link], number) for link in open_now & by_link.keys())
    return found


def find_process(port: int, remote_port: int, pids: Sequence[int]) -> int | None:
    """The first of the processes that has the socket between ``port`` and ``remote_port`` open, as the kernel says.

    None where it is none of them, or none has accepted the connection yet. Unlike ``find_holders`` it takes well below
    a millisecond, and never looks for processes that one has started.
    """
    link = _ask_kernel(port, remote_port)
    return next((pid for pid in pids if link in _open_sockets(pid)), None) if link else None


def find_listeners(addresses: Collection[str], port: int) -> list[int]:
    """The processes that accept connections to one of these addresses of this machine, the lowest pid first.

    Of a server and the workers that it started only the server: those that have the socket from a parent are left out.
    Empty where nobody of this machine listens there, and where this user may not see whose the socket is.
    """
    links = _listening_at({ip_address(address).compressed for address in addresses}, port)
    holders = {pid for pid in psutil.pids() if links & set(_open_sockets(pid))} if links else set()
    return sorted(pid for pid in holders if _parent(pid) not in holders)


def _listening_at(addresses: set[str], port: int) -> set[Path]:
    """The sockets that listen at the addresses themselves; where there are none, those that listen at all of them."""
    exactly: set[Path] = set()
    everywhere: set[Path] = set()
    for table in _TABLES:
        with suppress(FileNotFoundError), table.open(encoding="ascii") as lines:
            next(lines)
            for fields in map(str.split, lines):
                address, _, of = fields[1].rpartition(":")
                if fields[3] == _LISTENS and int(of, 16) == port:
                    at = _address(address)
                    found = exactly if at in addresses else everywhere if at in ("0.0.0.0", "::") else set()
                    found.add(Path(f"socket:[{fields[9]}]"))
    return exactly or everywhere


def _address(written: str) -> str:
    """The address that the kernel writes as words of 32 bits in the order of this machine, eight hex digits each."""
    words = [bytes.fromhex(written[at : at + 8]) for at in range(0, len(written), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    found = ip_address(packed)
    return (getattr(found, "ipv4_mapped", None) or found).compressed


def _parent(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return None


def _ask_kernel(port: int, remote_port: int) -> Path | None:
    """The link target of the file descriptor of the socket between two ports of 127.0.0.1; None where it is unknown."""
    question = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    question += _ID.pack(port, remote_port, _LOOPBACK, _LOOPBACK) + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    head = _HEAD.pack(_HEAD.size + len(question), _BY_FAMILY, _REQUEST, 1, 0)
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_S)
        kernel.send(head + question)
        answer = kernel.recv(4096)
        if len(answer) >= _INODE_AT + 4 and _HEAD.unpack_from(answer)[1] == _BY_FAMILY:
            (inode,) = struct.unpack_from("=I", answer, _INODE_AT)
            return Path(f"socket:[{inode}]") if inode else None  # 0: it is closed, and waits for its last packets
    return None


def _read_tables(ports: Collection[int], remote_port: int) -> dict[Path, int]:
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
