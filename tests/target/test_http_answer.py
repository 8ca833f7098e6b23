"""Load and probe read the same answers, by the same rules, and say in the same words which one is broken."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import ErrorKind
from rig.target.endpoint import Endpoint
from rig.target.http_answer import AnswerParser, BrokenRule
from rig.target.http_probe import HttpProbe, ProbeResponse
from tests.engine.test_connection import Wire

OK = b"HTTP/1.1 200 OK\r\n"
SOUND = {
    "bare": (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "empty body": (OK + b"Content-Length: 0\r\n\r\n", 200),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + OK + b"Content-Length: 2\r\n\r\nok", 200),
    "trailers": (OK + b'Transfer-Encoding: chunked\r\n\r\n2;a="b"\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n', 200),
    "1.0": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200),
    "close": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", 200),
    "no length": (OK + b"\r\nok", 200),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304),
    "not ASCII": (OK + b"X-Name: caf\xc3\xa9\r\nContent-Length: 0\r\n\r\n", 200),
}
BROKEN = {
    "line ends": (
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        r"Missing expected CR after response line: 'HTTP/1.1 200",
    ),
    "one line end": (OK + b"A: b\nC: d\r\n\r\n", r"Missing expected CR after header value: 'A: b\n'"),
    "two lengths": (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "Content-Length and Transfer-Encoding",
    ),
    "folding": (OK + b"A: b\r\n  c\r\nContent-Length: 2\r\n\r\nok", "goes on in the next line (RFC 9112, 5.2"),
    "no colon": (OK + b"Ab\r\n\r\n", r"lacks its colon: 'Ab\r\n'"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", "HTTP/2 only"),
    "TLS": (b"\x15\x03\x03\x00\x02\x02\x16", "write https://"),
    "a mail server": (b"220 mail ESMTP\r\n", "no HTTP: '220 mail ESMTP"),
    "escapes": (b"\x1b]0;pwned\x07\x1b[2J\r\n\r\n", r"no HTTP: '\x1b]0;pwned\x07"),
    "an escape in a header": (OK + b"A: \x1b[31m\r\n\r\n", r"A: \x1b[31m"),
    "a bad chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", r"chunk size: 'zz\r\n'"),
    "two answers": ((OK + b"Content-Length: 0\r\n\r\n") * 2, "more came than one answer"),
    "status 000": (
        b"HTTP/1.1 000 Unknown\r\nContent-Length: 0\r\n\r\n",
        "its status is 000, and there is none below 100",
    ),
    "status 099": (b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok", "its status is 099"),
    "another protocol": (b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "(101)"),
}


@contextmanager
def answering(data: bytes) -> Iterator[Endpoint]:
    """A server that answers one request so, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Endpoint("127.0.0.1", server.getsockname()[1])
        thread.join()


def probed(data: bytes) -> ProbeResponse:
    with answering(data) as endpoint:
        return HttpProbe(endpoint, 5.0).get("/")


def under_load(data: bytes) -> tuple[int | ErrorKind, str]:
    wire = Wire()
    wire.connection.send(7, b"request")
    wire.arrive(data)
    if not wire.events:
        wire.lose()
    ((_, end),) = wire.events
    return end, wire.connection.broken_rule


@pytest.mark.parametrize("name", SOUND)
def test_an_unusual_but_right_answer_is_one_for_both(name: str) -> None:
    data, status = SOUND[name]
    assert probed(data).status == status
    assert under_load(data) == (status, "")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_named_in_the_same_words_by_both_and_no_byte_can_command_a_terminal(name: str) -> None:
    data, words = BROKEN[name]
    response = probed(data)
    end, rule = under_load(data)
    assert (response.status, end) == (0, ErrorKind.PROTOCOL)
    assert words in rule
    assert response.problem == rule
    assert rule.isprintable()


def test_what_a_target_says_has_no_control_characters() -> None:
    response = probed(OK + b"Content-Length: 9\r\nX-Said: a\tb\r\n\r\n\x1b[2Jhello")
    assert (response.said, response.headers["x-said"]) == (r"\x1b[2Jhello", r"a\tb")


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_whatever_comes_is_an_answer_or_one_broken_rule(parts: list[bytes]) -> None:
    parser = AnswerParser()
    parser.start_stream()
    try:
        for part in parts:
            if parser.feed(part):
                break
    except BrokenRule as broken:
        assert str(broken).isprintable()


def test_every_address_of_a_name_is_tried() -> None:
    with answering(OK + b"\r\n") as endpoint:
        several = Endpoint("localhost", endpoint.port, addresses=("127.0.0.9", "127.0.0.1"))
        assert HttpProbe(several, 5.0).get("/").status == 200
