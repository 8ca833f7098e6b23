"""Which processes listen at a port: of a server with workers the server, whatever the family and the address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rig.machine.sockets import find_listeners
from rig.target.endpoint import Endpoint
from rig.target.launch import FORWARDERS, find_servers

_SERVER = """
import os, pathlib, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, dualstack_ipv6=sys.argv[1] == "::")
pathlib.Path("/proc/self/comm").write_text(sys.argv[3])
worker = os.fork()
if worker:
    print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def serving(address: str, port: int = 0, name: str = "app") -> Iterator[tuple[int, int]]:
    """The pid and the port of a server with one worker. Both end when their input does."""
    words = [sys.executable, "-c", _SERVER, address, str(port), name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())


@pytest.mark.parametrize(
    ("bound", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")],
)
def test_the_server_is_found_and_not_its_worker(bound: str, asked: str) -> None:
    with serving(bound) as (pid, port):
        assert find_listeners([asked], port) == [pid]
        assert find_listeners([asked], port + 1) == []


def test_who_listens_at_the_address_itself_comes_before_who_listens_at_all() -> None:
    with serving("127.0.0.2") as (one, port), serving("127.0.0.3", port) as (other, _):
        assert find_listeners(["127.0.0.2"], port) == [one]
        assert find_listeners(["127.0.0.3"], port) == [other]
        assert find_listeners(["127.0.0.4"], port) == []


def test_a_program_that_passes_requests_on_is_not_the_service() -> None:
    with serving("127.0.0.1") as (pid, port):
        assert find_servers(Endpoint("127.0.0.1", port, addresses=("127.0.0.1",))) == (pid,)
    with serving("127.0.0.1", name="docker-proxy") as (_, port):
        assert find_servers(Endpoint("127.0.0.1", port, addresses=("127.0.0.1",))) == ()


def test_the_kernel_keeps_the_names_whole() -> None:
    assert all(len(os.fsencode(name)) <= 15 for name in FORWARDERS)
