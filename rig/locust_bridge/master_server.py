"""The socket at which locust's master hears its workers, closed to whoever does not know their key.

Locust makes the socket before it asks anybody, so its class is replaced when the locustfile is read. A stranger's
worker never gets as far as locust: it is neither counted nor waited for, and receives nothing.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc import zmqrpc
from locust.runners import HEARTBEAT_LIVENESS, MasterRunner

from rig.locust_bridge.clock import boot_id
from rig.locust_bridge.keys import line_key
from rig.locust_bridge.wire import CLOCK

_log = logging.getLogger("rig")


def require_key(key: str) -> None:
    """Have every master of this process take only workers that know ``key``."""

    class KeyedServer(zmqrpc.Server):
        """As locust's own, and encrypted (CURVE): a client proves that it knows the master's public key."""

        def __init__(self, host: str, port: int) -> None:
            zmqrpc.BaseSocket.__init__(self, zmq.ROUTER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
            self.socket.curve_server = True
            self.socket.curve_secretkey = line_key(key)
            try:
                self.port = self.socket.bind_to_random_port(f"tcp://{host}") if port == 0 else port
                if port:
                    self.socket.bind(f"tcp://{host}:{port}")
            except zmq.ZMQError as error:
                raise RPCError(f"Socket bind failure: {error}") from error

    zmqrpc.Server = KeyedServer  # type: ignore[misc]


def tell_time(runner: MasterRunner, msg: Any) -> None:
    """Answer a worker that asks for the master's time."""
    master_ns = time.monotonic_ns()
    if not isinstance(msg.data, dict) or not isinstance(sent_ns := msg.data.get("sent_ns"), int):
        _log.warning("rig: a worker asked for the time in a way that cannot be read")
        return
    answer = {
        "sent_ns": sent_ns,
        "master_ns": master_ns,
        "wall_offset_ns": time.time_ns() - master_ns,
        "boot_id": boot_id(),
    }
    runner.send_message(CLOCK, answer, client_id=msg.node_id)


def answer_sign_of_life(runner: MasterRunner, node: str) -> None:
    """Rows are a sign of life, answered as locust answers a heartbeat: on a slow line those lie behind the rows."""
    client = runner.clients.get(node)
    if client is not None:
        client.heartbeat = HEARTBEAT_LIVENESS
        runner.send_message("heartbeat", client_id=node)
