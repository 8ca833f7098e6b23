"""The wire code against bytes that nobody meant to send: no hang, no crash, no misread status.

A reference that is as slow as it is plain says what a stream means; the connection must say the same however the stream
is cut. HEAD is never sent by the rig (every request carries a body), so an answer that only its method would tell to be
without one does not occur. What lies beyond a whole answer, a connection that is closed, and answers to nobody are in
``test_connection``.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rig.engine.connection import IDLE
from rig.errors import ErrorKind
from tests.engine.test_connection import Wire

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
RESERVED = {"content-length", "transfer-encoding", "connection", "upgrade", "trailer", "proxy-connection", "keep-alive"}
FIELDS = st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in RESERVED), VALUE), max_size=5)
FINAL = st.sampled_from([200, 201, 202, 203, 206, 301, 302, 400, 401, 404, 418, 429, 500, 502, 503, 599])
BODY = st.binary(max_size=300)


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """A chunked body, extensions and trailers included."""
    data = b""
    for chunk in draw(st.lists(st.binary(min_size=1, max_size=60), max_size=5)):
        extension = draw(st.sampled_from([b"", b";a", b";a=b"]))
        data += b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk)
    return data + b"0\r\n" + fields(draw(FIELDS)) + b"\r\n"


def fields(pairs: list[tuple[str, str]]) -> bytes:
    """Header lines."""
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in pairs)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int]:
    """A valid answer of any framing that keeps the connection, with interim ones before it; and its status."""
    interim = b"".join(
        b"HTTP/1.1 %d Wait\r\n%s\r\n" % (status, fields(draw(FIELDS)))
        for status in draw(st.lists(st.sampled_from([100, 102, 103]), max_size=3))
    )
    head = fields(draw(FIELDS))
    if draw(st.booleans()):
        status = draw(st.sampled_from([204, 304]))
        return interim + b"HTTP/1.1 %d Nothing\r\n%s\r\n" % (status, head), status
    status = draw(FINAL)
    line = b"HTTP/1.1 %d Said\r\n" % status
    if draw(st.booleans()):
        return interim + line + head + b"Transfer-Encoding: chunked\r\n\r\n" + draw(chunked()), status
    body = draw(BODY)
    return interim + line + head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body), status


def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The stream cut anywhere."""
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[begin:end] for begin, end in pairwise([0, *cuts, len(data)])]


def asked() -> Wire:
    wire = Wire()
    wire.connection.send(7, b"request")
    return wire


@given(st.data())
def test_any_valid_answer_in_any_pieces_has_its_status(data: st.DataObject) -> None:
    answer, status = data.draw(answers())
    wire = asked()
    parts = data.draw(st.composite(pieces)(answer))
    wire.arrive(*parts)
    assert wire.events == [(7, status)]
    assert not wire.transport.aborted


@given(st.data())
def test_an_answer_that_is_cut_off_is_never_one(data: st.DataObject) -> None:
    """Interim answers are none, and the end of the stream ends nothing that has a length."""
    answer, _ = data.draw(answers())
    at = data.draw(st.integers(0, len(answer) - 1))
    wire = asked()
    wire.arrive(*data.draw(st.composite(pieces)(answer[:at])))
    assert wire.events == []
    wire.lose()
    assert wire.events == [(7, ErrorKind.CONNECTION_LOST)]


@given(st.data())
def test_how_a_stream_is_cut_changes_nothing(data: st.DataObject) -> None:
    """A valid answer with some of its bytes changed: whatever it means now, it means the same whole and in pieces."""
    answer = bytearray(data.draw(answers())[0])
    for _ in range(data.draw(st.integers(1, 4))):
        answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    stream = bytes(answer)
    ends = []
    for parts in ([stream], data.draw(st.composite(pieces)(stream))):
        wire = asked()
        wire.arrive(*parts)
        wire.lose()
        assert len(wire.events) == 1, "one request ends once"
        ends.append(wire.events[0])
    whole, cut = ends
    # Bytes beyond the answer: in one piece with it they spoil it, after it they come too late to.
    beyond = whole == (7, ErrorKind.PROTOCOL) and isinstance(cut[1], int)
    assert whole == cut or beyond


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=80), max_size=8), st.sampled_from([None, ConnectionResetError()]))
@example([b"HTTP/1.1 200 OK\r\n\r\n"], None)
@example([b"HTTP/1.1 2", b"00 OK\r\nContent-Length: 18446744073709551616\r\n\r\n"], None)
@example([b"\r\n" * 40, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], None)
def test_any_bytes_at_all_end_in_a_status_or_a_named_error(parts: list[bytes], end: Exception | None) -> None:
    wire = asked()
    wire.arrive(*parts)
    wire.lose(end)
    ((seq, how),) = wire.events
    assert seq == 7
    assert wire.connection.seq == IDLE
    if isinstance(how, ErrorKind):
        assert how in (ErrorKind.PROTOCOL, ErrorKind.CONNECTION_LOST)
    else:
        # A status is never made up: the stream holds it in a status line.
        assert b"HTTP/" in b"".join(parts)
        assert b" %d" % how in b"".join(parts)


@given(st.binary(max_size=200))
def test_a_transport_is_clean_whatever_went_through_the_one_before(garbage: bytes) -> None:
    wire = asked()
    wire.arrive(garbage)
    wire.lose(ConnectionResetError())
    wire.plug()
    wire.connection.send(8, b"request")
    wire.arrive(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    assert wire.events[-1] == (8, 202)
