"""The known-latency stub: it waits at least as long as it is told, and says how long it did."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rig.calibrate.stub import Stub, latency_stub
from rig.machine.processes import alive
from stub_server.latency import Behaviour
from stub_server.null import REFUSE

MS = 1_000_000


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with latency_stub() as running:
        yield running


def request(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody".encode()


class Client:
    """One connection to the stub."""

    def __init__(self, stub: Stub) -> None:
        self.sock = socket.create_connection((stub.endpoint.host, stub.endpoint.port), timeout=20)

    def asked(self, *pieces: bytes) -> tuple[bytes, int, int]:
        """The answer, the delay that it names, and the time from the last piece to the answer (ns)."""
        for piece in pieces[:-1]:
            self.sock.sendall(piece)
        sent_ns = time.monotonic_ns()
        self.sock.sendall(pieces[-1])
        answer = self.sock.recv(65536)
        waited_ns = time.monotonic_ns() - sent_ns
        said = [line for line in answer.split(b"\r\n") if line.startswith(b"X-Delivered-Ns: ")]
        return answer, int(said[0].split()[1]) if said else -1, waited_ns


@pytest.mark.parametrize(("path", "least_ms"), [("/0ms/x", 0), ("/1ms/x", 1), ("/5ms/x", 5), ("/20ms", 20)])
def test_it_waits_and_says_how_long(stub: Stub, path: str, least_ms: int) -> None:
    client = Client(stub)
    for _ in range(5):
        answer, delivered_ns, waited_ns = client.asked(request(path))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b'\r\n\r\n{"status":"ok"}')
        # What it says is within what was seen from outside, and no less than what it was told.
        assert least_ms * MS <= delivered_ns <= waited_ns


def test_the_delay_counts_from_the_whole_request(stub: Stub) -> None:
    whole = request("/5ms/x")
    client = Client(stub)
    client.sock.sendall(whole[:20])
    time.sleep(0.05)  # a slow sender, not a race: the delay must not begin here
    _, delivered_ns, waited_ns = client.asked(whole[20:])
    assert 5 * MS <= delivered_ns <= waited_ns


def test_many_connections_wait_beside_each_other(stub: Stub) -> None:
    clients = [Client(stub) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda client: client.asked(request("/100ms/x")), clients))
    assert all(100 * MS <= delivered <= waited for _, delivered, waited in answers)


def test_the_mix_is_two_points_in_a_fixed_ratio(stub: Stub) -> None:
    delays = Behaviour.parse("mix")
    assert delays is not None
    turns = [next(delays.turns) for _ in range(200)]
    assert (turns.count(5 * MS), turns.count(200 * MS)) == (196, 4)
    assert Client(stub).asked(request("/mix/x"))[1] >= 5 * MS


def test_churn_closes_behind_the_answer(stub: Stub) -> None:
    client = Client(stub)
    answer, delivered_ns, _ = client.asked(request("/churn/x"))
    assert b"Connection: close\r\n" in answer
    assert delivered_ns >= MS
    assert client.sock.recv(10) == b""


def test_a_freeze_stops_everybody_once() -> None:
    with latency_stub() as freezing:
        first, second = Client(freezing), Client(freezing)
        first.asked(request("/freeze-100-500/x"))
        # The clock runs from the first request: somebody who asks without a pause meets the freeze.
        waits_ns = []
        deadline = time.monotonic() + 10
        while max(waits_ns, default=0) < 400 * MS:
            assert time.monotonic() < deadline
            waits_ns.append(second.asked(request("/0ms/x"))[2])
        # It was the process that stood still, not the request: the delay that it says it made is none.
        assert second.asked(request("/0ms/x"))[1] < 400 * MS


@pytest.mark.parametrize("path", ["/", "/x/y", "/5s/x", "/freeze-1/x"])
def test_what_it_does_not_know_is_refused(stub: Stub, path: str) -> None:
    assert Client(stub).asked(request(path))[0] == REFUSE


def test_two_requests_at_once_are_refused(stub: Stub) -> None:
    assert Client(stub).asked(request("/5ms/x") * 2)[0] == REFUSE


def test_it_ends_with_its_standard_input() -> None:
    with latency_stub() as ending:
        process = ending.process
    assert not alive(process)
