"""One HTTP/1.1 connection of the load: sends a request's bytes, times its answer, says how it ended.

Flow: the executor calls ``send``; the answer's bytes go through the parser (llhttp); its ``end_request`` gets the
result and decides what the connection does next. One request is in flight at a time; bodies are not kept.
Not for: deciding what is sent, or when, or whether an answer is the right one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rig.errors import ErrorKind

ANSWER_LIMIT_BYTES = 8 * 1024 * 1024
STALE_AFTER_NS = 1_000_000_000
"""A connection that was idle for so long may meet its peer's time limit for idle connections."""
IDLE = -1
_ANSWERED = ErrorKind.NONE
_monotonic_ns = time.monotonic_ns
_FRAMED = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)
_INTERIM = re.compile(rb"\s*HTTP/1\.\d 1")


_Own = TypeVar("_Own", contravariant=True)


class Listener(Protocol[_Own]):
    """What a connection tells its executor."""

    def end_request(self, connection: _Own, status: int, kind: ErrorKind, done_ns: int) -> None:
        """Take the whole answer to ``connection.seq``; with a ``kind`` (status 0) there is none: the transport is gone.

        The listener sets ``seq`` to IDLE or sends the next request.
        """

    def lose_idle(self, connection: _Own) -> None:
        """Take note that the transport is gone; nothing was in flight."""


class Connection(asyncio.Protocol):
    """A slot of the load; it outlives the transports that it goes through.

    ``seq`` is the request in flight or ``IDLE``; ``intended_ns`` and ``sent_ns`` are its times. ``free_ns`` is when the
    transport was opened or its last answer was whole.
    """

    __slots__ = (
        "_answers",
        "_begun",
        "_end_request",
        "_lose_idle",
        "_parser",
        "_partial",
        "_partial_bytes",
        "_status",
        "_why",
        "_write",
        "free_ns",
        "intended_ns",
        "number",
        "reusable",
        "sent_ns",
        "seq",
        "transport",
    )

    def __init__(self, number: int, listener: Listener[Self]) -> None:
        self.number = number
        self.seq = IDLE
        self.intended_ns = 0
        self.sent_ns = 0
        self.free_ns = 0
        self.transport: asyncio.Transport | None = None
        self.reusable = False
        """False when the transport cannot carry another request."""
        self._end_request: Callable[[Any, int, ErrorKind, int], None] = listener.end_request
        self._lose_idle: Callable[[Any], None] = listener.lose_idle
        self._partial: list[bytes] = []

    def send(self, seq: int, payload: bytes, intended_ns: int = 0) -> None:
        """Put one request on the wire; ``intended_ns`` 0 means now (closed loop)."""
        self.seq = seq
        self.sent_ns = now_ns = _monotonic_ns()
        self.intended_ns = intended_ns or now_ns
        self._write(payload)

    def give_up(self, kind: ErrorKind) -> None:
        """Drop the transport; what is in flight fails as ``kind`` once it is gone."""
        self._why = kind
        self.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self.reusable = False
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection at once, whatever is in flight."""
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()

    # --- asyncio.Protocol, in the order of events ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new transport into use."""
        self.transport = cast(asyncio.Transport, transport)
        self.reusable = True
        self.free_ns = _monotonic_ns()
        self._write = self.transport.write
        self._parser = HttpResponseParser(self)
        self._why = ErrorKind.CONNECTION_LOST
        self._begun = self._answers = self._status = self._partial_bytes = 0
        self._partial.clear()

    def data_received(self, data: bytes) -> None:
        """Parse what came: at most the rest of one answer, or the peer does not speak HTTP as we do."""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.give_up(ErrorKind.PROTOCOL)
            return
        if self._answers == 1 and not self._begun and self.seq != IDLE:
            self._answers = 0
            if self._partial_bytes:
                self._partial_bytes = 0
                self._partial.clear()
            self.free_ns = done_ns = _monotonic_ns()
            self._end_request(self, self._status, _ANSWERED, done_ns)
        elif not self._answers and self.seq != IDLE:
            self._keep_partial(data)
        else:
            # More than was asked for: the rest could be taken for the answer to the next request.
            self.give_up(ErrorKind.PROTOCOL)

    def on_message_begin(self) -> None:
        """The parser saw the first byte of an answer."""
        self._begun += 1

    def on_message_complete(self) -> None:
        """The parser saw the last byte of an answer; interim ones (1xx) are passed over."""
        self._begun -= 1
        status = self._parser.get_status_code()
        if status >= 200:
            self._answers += 1
            self._status = status
            # Only here: the parser forgets it with the message.
            self.reusable = self._parser.should_keep_alive()

    def eof_received(self) -> bool:
        """The peer will send no more: let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self.transport = None
        self.reusable = False
        if self.seq == IDLE:
            self._lose_idle(self)
        elif exc is None and self._why is ErrorKind.CONNECTION_LOST and self._is_ended_by_close():
            self._end_request(self, self._parser.get_status_code(), _ANSWERED, _monotonic_ns())
        else:
            why = ErrorKind.STALE_CONNECTION if self._is_stale() else self._why
            self._end_request(self, 0, why, _monotonic_ns())

    def _is_stale(self) -> bool:
        """True when the peer may have been closing the idle connection while the request was on its way.

        RFC 9112, 9.3.1: nobody knows whether such a request was processed.
        """
        unanswered = not (self._begun or self._partial_bytes)
        was_idle = self.sent_ns - self.free_ns >= STALE_AFTER_NS
        return self._why is ErrorKind.CONNECTION_LOST and unanswered and was_idle

    # --- an answer in pieces ---

    def _keep_partial(self, data: bytes) -> None:
        """Keep the pieces, to bound them and to see whether the end of the stream is the end of the answer."""
        self._partial.append(data)
        self._partial_bytes += len(data)
        if self._partial_bytes > ANSWER_LIMIT_BYTES:
            self.give_up(ErrorKind.TOO_LARGE)

    def _is_ended_by_close(self) -> bool:
        """True when a final answer had begun without a length of its own: the stream's end ends it (RFC 9112, 6.3)."""
        head, rest = b"", b"".join(self._partial) if self._begun else b""
        while rest:
            head, whole, rest = rest.partition(b"\r\n\r\n")
            if whole and not _INTERIM.match(head):
                return _FRAMED.search(head) is None
        return False
