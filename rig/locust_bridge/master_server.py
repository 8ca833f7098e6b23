"""The socket at which locust's master hears its workers, closed to whoever does not know their key.

Locust makes the socket before it asks anybody, so its class is replaced when the locustfile is read. A stranger's
worker never gets as far as locust: it is neither counted nor waited for, and receives nothing.
"""

from __future__ import annotations

import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc import zmqrpc

from rig.locust_bridge.keys import line_key


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
