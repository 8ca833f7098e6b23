"""Who fetches, told from outside by the port that a fetch came from."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

from rig.evidence.key_storm import Fetch
from rig.machine import sockets
from rig.storms.unknown_kid.origin import CountedFetch
from rig.storms.unknown_kid.watch import FetchWatch


class Ledger:
    """A recording proxy's ledger with one fetch that goes on."""

    def __init__(self, peer: str) -> None:
        self._counted = CountedFetch(Fetch(1, None, "open"), peer)

    def read(self) -> list[CountedFetch]:
        return [self._counted]


def listening(stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def connected(port: int, to: socket.socket) -> socket.socket:
    """A connection from a given local port; it may be in use towards others."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    link.bind(("127.0.0.1", port))
    link.connect(to.getsockname())
    return link


def test_a_port_that_was_used_towards_others_just_now_is_told_apart() -> None:
    """Where connections come and go, many wait for their last packets; a port is then given away again."""
    with ExitStack() as stack:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for _ in range(12):
            other = listening(stack)
            link = connected(port, other)
            there, _ = other.accept()
            link.close()  # first: it is this end that has to wait
            there.close()
        proxy_fetches = listening(stack)
        fetching = stack.enter_context(connected(port, proxy_fetches))
        stack.enter_context(proxy_fetches.accept()[0])
        watch = FetchWatch(Ledger(f"127.0.0.1:{port}"), [os.getpid()], proxy_fetches.getsockname()[1])  # type: ignore[arg-type]
        watch.read_fetches()
        assert fetching.fileno() >= 0
        assert watch.members == {f"127.0.0.1:{port}": 0}


def test_the_kernel_and_its_tables_name_the_same_socket() -> None:
    with ExitStack() as stack:
        there = listening(stack)
        link = stack.enter_context(socket.create_connection(there.getsockname()))
        port, remote_port = link.getsockname()[1], there.getsockname()[1]
        read = sockets._read_tables({port}, remote_port)
        assert read == {Path(f"/proc/self/fd/{link.fileno()}").readlink(): port}
        assert sockets._ask_kernel(port, remote_port) in {None, *read}  # None: a sandbox may not let us ask
        assert sockets.find_holders({port}, remote_port, [1, os.getpid()]) == {port: 1}
    assert sockets.find_holders({port}, remote_port, [os.getpid()]) == {}
