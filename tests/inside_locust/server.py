"""Which workers locust's master hears. ``tests/locust/test_inside.py`` runs this."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import pytest
import zmq
from locust.rpc import zmqrpc

from rig.locust_bridge.keys import line_key
from rig.locust_bridge.master_server import require_key

HEARD_MS = 5_000
DEAF_MS = 300


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[zmqrpc.Server]:
    monkeypatch.setattr(zmqrpc, "Server", zmqrpc.Server)
    require_key("the key")
    opened = zmqrpc.Server("127.0.0.1", 0)
    yield opened
    opened.close(linger=0)


def says_it_is_ready(server: zmqrpc.Server, key: str) -> bool:
    """Whether a worker with this key is heard."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as worker:
        worker.setsockopt(zmq.LINGER, 0)
        if key:
            worker.curve_publickey, worker.curve_secretkey = zmq.curve_keypair()
            worker.curve_serverkey = zmq.curve_public(line_key(key))
        worker.connect(f"tcp://127.0.0.1:{server.port}")
        worker.send(msgpack.packb(("client_ready", "2.47.0", "a-node")))
        return bool(server.socket.poll(HEARD_MS if key == "the key" else DEAF_MS))


def test_a_worker_with_the_key_is_heard_and_a_stranger_is_not(server: zmqrpc.Server) -> None:
    assert not says_it_is_ready(server, "")
    assert not says_it_is_ready(server, "another key")
    assert says_it_is_ready(server, "the key")
    _, packed = server.socket.recv_multipart()
    assert msgpack.unpackb(packed)[0] == "client_ready"


def test_a_port_that_is_taken_is_said_as_locust_says_it(server: zmqrpc.Server) -> None:
    with pytest.raises(zmqrpc.RPCError, match=r"^Socket bind failure: Address already in use"):
        zmqrpc.Server("127.0.0.1", server.port)
