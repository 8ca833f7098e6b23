"""What the relay itself costs: how much later an answer comes through it, and its CPU time.

Flow: an echo in a thread answers messages of fixed sizes. They are sent by turns straight to it and through a relay, so
whatever else the machine does meets both alike. Each pair gives one difference.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, suppress

import numpy as np
import psutil

from rig.evidence.chaos import RelayCost
from rig.target.relay import Relay

_REQUEST, _ANSWER = b"q" * 1000, b"a" * 200
_TIMEOUT_S = 5.0


def measure_relay(exchanges: int = 1000) -> RelayCost | None:
    """The cost of a relay on this machine now; None where it did not answer in time."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        relay = stack.enter_context(Relay(listener.getsockname()))
        asked = []
        for address in (listener.getsockname(), relay.address):
            asked.append(stack.enter_context(_prepare(socket.create_connection(address, _TIMEOUT_S))))
            threading.Thread(target=_echo, args=(_prepare(listener.accept()[0]),), daemon=True).start()
        process = psutil.Process(relay.pid)
        begun_cpu_s = sum(process.cpu_times()[:2])
        try:
            took_ms = np.array([[_exchange(connection) for connection in asked] for _ in range(exchanges)])
        except OSError:
            return None
        cpu_s = sum(process.cpu_times()[:2]) - begun_cpu_s
    added_p50_ms, added_p99_ms = np.quantile(took_ms[:, 1] - took_ms[:, 0], (0.5, 0.99))
    return RelayCost(round(float(added_p50_ms), 4), round(float(added_p99_ms), 3), 1e6 * cpu_s / exchanges, exchanges)


def _prepare(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(_TIMEOUT_S)
    return connection


def _exchange(connection: socket.socket) -> float:
    """Milliseconds from the request to the whole answer."""
    begun_s = time.perf_counter()
    connection.sendall(_REQUEST)
    if not _read(connection, len(_ANSWER)):
        raise ConnectionError("the connection was closed")
    return 1e3 * (time.perf_counter() - begun_s)


def _echo(connection: socket.socket) -> None:
    """Answer each request, until the other side ends."""
    with connection, suppress(OSError):
        while _read(connection, len(_REQUEST)):
            connection.sendall(_ANSWER)


def _read(connection: socket.socket, size: int) -> bool:
    """Read so many bytes; False where the other side ends first."""
    while size:
        received = len(connection.recv(size))
        if not received:
            return False
        size -= received
    return True
