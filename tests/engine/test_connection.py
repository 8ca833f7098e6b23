"""One connection against a transport that the test holds: every way in which an answer's bytes can arrive."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rig.target.http_answer
from rig.engine.connection import IDLE, Connection
from rig.errors import ErrorKind


@dataclass
class FakeTransport:
    written: list[bytes] = field(default_factory=list)
    aborted: bool = False
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


@dataclass
class Wire:
    """A connection, the transport below it and the listener above it. Events are (seq, status or error kind)."""

    events: list[tuple[int, int | ErrorKind]] = field(default_factory=list)
    closed_idle: int = 0

    def __post_init__(self) -> None:
        self.connection = Connection(0, self)
        self.plug()

    def plug(self) -> None:
        self.transport = FakeTransport()
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def arrive(self, *pieces: bytes) -> None:
        """Hand bytes over as a loop would: nothing after an abort."""
        for piece in pieces:
            if piece and not self.transport.aborted:
                self.connection.data_received(piece)

    def lose(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)

    def end_request(self, connection: Connection, status: int, kind: ErrorKind, done_ns: int) -> None:
        self.events.append((connection.seq, kind or status))
        connection.seq = IDLE

    def lose_idle(self, connection: Connection) -> None:
        self.closed_idle += 1


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b"3;note=x\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Sum: 13\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + LENGTH
EMPTY = b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"
ANSWERS = {"length": (LENGTH, 200), "chunked": (CHUNKED, 201), "interim": (INTERIM, 200), "empty": (EMPTY, 204),
           "not-modified": (NOT_MODIFIED, 304)}  # fmt: skip
CLOSING = {
    b"HTTP/1.1 200 OK\r\n\r\nbody without a length": 200,
    b"HTTP/1.0 202 Accepted\r\nServer: old\r\n\r\n": 202,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nX-Content-Length: 9\r\n\r\nbody": 503,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_may_be_split_at_every_byte(name: str) -> None:
    data, status = ANSWERS[name]
    for at in range(1, len(data)):
        wire = Wire()
        wire.connection.send(7, b"request")
        wire.arrive(data[:at])
        assert wire.events == []
        wire.arrive(data[at:])
        assert wire.events == [(7, status)]
        assert wire.connection.reusable
        assert wire.transport.written == [b"request"]
        assert not wire.transport.aborted


@given(st.data())
def test_a_row_of_answers_may_come_in_any_pieces(data: st.DataObject) -> None:
    wire = Wire()
    for seq in range(4):
        answer, status = ANSWERS[data.draw(st.sampled_from(sorted(ANSWERS)))]
        cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1))))
        wire.connection.send(seq, b"request")
        wire.arrive(*(answer[begin:end] for begin, end in pairwise([0, *cuts, len(answer)])))
        assert wire.events[-1] == (seq, status)
    assert len(wire.events) == 4


@pytest.mark.parametrize("data", CLOSING)
def test_the_end_of_the_stream_ends_an_answer_without_a_length(data: bytes) -> None:
    head_ends = data.rindex(b"\r\n\r\n") + 4
    for at in range(1, len(data) + 1):
        wire = Wire()
        wire.connection.send(7, b"request")
        wire.arrive(data[:at], data[at:])
        assert wire.events == []
        wire.lose()
        assert wire.events == [(7, CLOSING[data])]
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(data[: head_ends - 1])
    wire.lose()
    assert wire.events == [(7, ErrorKind.CONNECTION_LOST)]


@pytest.mark.parametrize("name", ["length", "chunked", "interim"])
def test_an_answer_cut_off_anywhere_is_lost_and_never_an_answer(name: str) -> None:
    data, _ = ANSWERS[name]
    for at in range(len(data)):
        wire = Wire()
        wire.connection.send(7, b"request")
        wire.arrive(data[:at])
        wire.lose()
        assert wire.events == [(7, ErrorKind.CONNECTION_LOST)], data[:at]


def test_a_reset_never_ends_an_answer() -> None:
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(b"HTTP/1.1 200 OK\r\n\r\nbody without a length")
    wire.lose(ConnectionResetError())
    assert wire.events == [(7, ErrorKind.CONNECTION_LOST)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"<html>HTTP/0.9 has no head</html>",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nXYZ\r\n",
        LENGTH + LENGTH,
        LENGTH + LENGTH[:10],
        LENGTH + b"junk",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello" + LENGTH,
    ],
)
def test_what_is_not_one_answer_is_a_protocol_error(data: bytes) -> None:
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(data)
    assert wire.transport.aborted
    assert not wire.connection.reusable
    wire.lose()
    assert wire.events == [(7, ErrorKind.PROTOCOL)]


def test_an_answer_that_nobody_asked_for_answers_nothing() -> None:
    wire = Wire()
    wire.arrive(LENGTH)
    assert wire.transport.aborted
    wire.lose()
    assert (wire.events, wire.closed_idle) == ([], 1)


def test_a_second_answer_after_the_first_is_not_taken_for_the_next_ones() -> None:
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(LENGTH, LENGTH)
    assert wire.transport.aborted
    assert not wire.connection.reusable
    wire.lose()
    assert (wire.events, wire.closed_idle) == ([(7, 200)], 1)


def test_nothing_of_one_transport_is_left_for_the_next() -> None:
    wire = Wire()
    wire.connection.send(1, b"request")
    wire.arrive(CHUNKED[:70])
    wire.lose(ConnectionResetError())
    wire.plug()
    wire.connection.send(2, b"request")
    wire.arrive(LENGTH)
    assert wire.events == [(1, ErrorKind.CONNECTION_LOST), (2, 200)]


@pytest.mark.parametrize(
    ("idle_s", "came", "why", "kind"),
    [
        (1.5, b"", None, ErrorKind.STALE_CONNECTION),
        (1.5, b"", ConnectionResetError(), ErrorKind.STALE_CONNECTION),
        # It was in use just now, or an answer had begun: that is no idle connection that was closed.
        (0.5, b"", None, ErrorKind.CONNECTION_LOST),
        (1.5, LENGTH[:9], ConnectionResetError(), ErrorKind.CONNECTION_LOST),
        (1.5, b"HTTP/1.1 100 Continue\r\n\r\n", None, ErrorKind.CONNECTION_LOST),
    ],
)
def test_a_connection_that_is_closed_after_an_idle_second_was_stale(
    idle_s: float, came: bytes, why: Exception | None, kind: ErrorKind
) -> None:
    wire = Wire()
    wire.connection.send(1, b"request")
    wire.arrive(LENGTH)
    wire.connection.free_ns -= int(idle_s * 1e9)
    wire.connection.send(2, b"request")
    if came:
        wire.arrive(came)
    wire.lose(why)
    assert wire.events == [(1, 200), (2, kind)]


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (LENGTH, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_the_answer_says_whether_the_connection_stays(data: bytes, reusable: bool) -> None:
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(data)
    assert wire.events == [(7, 200)]
    assert wire.connection.reusable is reusable


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.target.http_answer, "ANSWER_LIMIT_BYTES", 1000)
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 100] * 10)
    assert wire.transport.aborted
    wire.lose()
    assert wire.events == [(7, ErrorKind.TOO_LARGE)]


def test_times_are_taken_around_the_request_and_the_intended_one_is_kept() -> None:
    wire = Wire()
    wire.connection.send(7, b"request", 12345)
    assert wire.connection.intended_ns == 12345 < wire.connection.sent_ns
    wire.arrive(LENGTH)
    wire.connection.send(8, b"request")
    assert wire.connection.intended_ns == wire.connection.sent_ns
