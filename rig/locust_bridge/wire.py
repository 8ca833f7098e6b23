"""Locust's protocol as a worker speaks it: msgpack triples ``(type, data, node id)`` over a ZeroMQ DEALER socket.

Spoken is the protocol of one pinned version of locust (``PROTOCOL``); it has changed before without saying so, which is
why a contract test drives a real master. Types that begin with ``rig_`` are the rig's own: a master without the rig's
locustfile never sends them and only logs those that it gets. Not for what the messages mean (``worker``).
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import zmq
import zmq.asyncio
from pydantic import NonNegativeInt, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic does not take that of `typing` before Python 3.12

from rig.errors import Unavailable, UsageError
from rig.locust_bridge.keys import line_key

PROTOCOL = "2.47"
"""Major and minor version of locust whose protocol this is."""
VERSION = f"{PROTOCOL}.0"
DEFAULT_PORT = 5557

PLAN = "rig_plan"
"""master → worker: what to send to whom (``rig.locust_bridge.plan``)."""
FINISH = "rig_finish"
"""master → worker: end the load and report; locust's own ``quit`` leaves no time for that."""
ROWS = "rig_rows"
"""worker → master: a piece of the history, ``{"label", "worker", "data"}``, in order."""
REPORT = "rig_report"
"""worker → master: the final account (``rig.evidence.locust_run.WorkerAccount``), after all rows."""
CLOCK = "rig_clock"
"""worker → master → worker: ``{"sent_ns"}`` comes back with ``{"master_ns", "wall_offset_ns", "boot_id"}``."""

CERTIFY = "rig_certify"
"""master → worker: measure your own client (``rig.locust_bridge.plan.CertificationOrder``)."""
CERTIFICATE = "rig_certificate"
"""worker → master: what was measured, ``{"certificate", "rows", "pids"}``."""
LOAD = "rig_load"
"""master → worker: get your share of one scenario ready, ``{"plan", "boot_id"}``."""
READY = "rig_ready"
"""worker → master: the share is ready."""
GO = "rig_go"
"""master → worker: begin to send at ``{"at_ns"}``, a time of the master's clock."""
ABORT = "rig_abort"
"""master → worker: stop at once and report."""
LOADED = "rig_loaded"
"""worker → master: the account of the share and the files beside its rows, ``{"account", "files"}``, after all rows."""
FAILED = "rig_failed"
"""worker → master: there is no account or certificate, ``{"why", "is_refusal"}``: it failed, or refuses the work."""

LISTENS, JOINED, GONE = "rig_listens", "rig_joined", "rig_gone"
"""Not on the wire: what ``rig.locust_bridge.master_relay`` says of itself and of its workers."""

_MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
_LINGER_MS = 2_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the protocol."""

    type: str
    data: Any = None


class _Acknowledgement(TypedDict, total=False):
    index: NonNegativeInt


class _Spawn(TypedDict):
    timestamp: float
    user_classes_count: dict[str, NonNegativeInt]
    host: str | None


class _Time(TypedDict):
    sent_ns: int
    master_ns: int
    wall_offset_ns: int
    boot_id: str


class _Load(TypedDict):
    plan: dict[str, Any]
    boot_id: str


class _Go(TypedDict):
    at_ns: int


_SHAPES: Mapping[str, TypeAdapter[Any]] = {
    "ack": TypeAdapter(_Acknowledgement | None),
    "spawn": TypeAdapter(_Spawn),
    CLOCK: TypeAdapter(_Time),
    LOAD: TypeAdapter(_Load),
    GO: TypeAdapter(_Go),
}
"""What a worker must find in the messages that it reads; a plan is read by ``LocustPlan.from_wire``."""


def read_message(packed: bytes, address: str) -> Message:
    """A message of the master at ``address``; Unavailable when it is not locust's protocol."""
    try:
        kind, data, _ = msgpack.unpackb(packed, strict_map_key=False)
        if shape := _SHAPES.get(str(kind)):
            data = shape.validate_python(data)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        why = f"its message {kind!r} has no right {'.'.join(map(str, fault['loc'])) or 'content'}"
        raise Unavailable(f"{address} does not speak locust's protocol: {why}") from None
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Unavailable(f"{address} does not speak locust's protocol: {error}") from None
    return Message(str(kind), data)


def parse_address(text: str) -> tuple[str, int]:
    """``HOST[:PORT]`` (an IPv6 address in brackets); UsageError when it is none."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--master {text!r}: give HOST or HOST:PORT")
    return host, int(port)


class MasterLink:
    """The worker's end of the line to a master. Belongs to the running event loop.

    ``key`` is the one that the master has for its workers. Without it the line is locust's own, open to everybody.
    """

    def __init__(self, host: str, port: int, key: str = "") -> None:
        self._key = line_key(key) if key else b""
        self.node = f"{socket.gethostname()}_rig_{os.getpid()}_{uuid.uuid4().hex}"
        self.address = f"tcp://{host}:{port}"
        self._context = zmq.asyncio.Context()
        self._socket = self._connect()

    @property
    def has_key(self) -> bool:
        """Whether the line is encrypted, and the master at its end the one with the key."""
        return bool(self._key)

    async def send(self, kind: str, data: Any = None) -> None:
        """Hand one message over; waits while the line is full."""
        await self._socket.send(msgpack.packb((kind, data, self.node)))

    async def receive(self) -> Message:
        """The next message; Unavailable when what comes is not locust's protocol."""
        return read_message(await self._socket.recv(), self.address)

    def reset(self) -> None:
        """Connect anew under the same name."""
        self._socket.close(linger=0)
        self._socket = self._connect()

    def close(self) -> None:
        """Close the line once what was handed over is gone, or the linger time is over."""
        self._socket.close(linger=_LINGER_MS)
        self._context.term()

    def _connect(self) -> zmq.asyncio.Socket:
        opened = self._context.socket(zmq.DEALER)
        opened.setsockopt(zmq.IDENTITY, self.node.encode())
        opened.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_LIMIT_BYTES)
        opened.setsockopt(zmq.TCP_KEEPALIVE, 1)
        opened.setsockopt(zmq.IPV6, 1)
        opened.setsockopt(zmq.LINGER, _LINGER_MS)  # for good: a context that is dropped waits for its sockets
        if self.has_key:
            opened.curve_publickey, opened.curve_secretkey = zmq.curve_keypair()
            opened.curve_serverkey = zmq.curve_public(self._key)
        try:
            opened.connect(self.address)
        except zmq.ZMQError as error:
            opened.close(linger=0)
            raise UsageError(f"{self.address} is no address of a master: {error}") from None
        return opened
