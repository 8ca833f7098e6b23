"""One HTTP/1.1 connection of the load: sends a request's bytes, times its answer, says how it ended.

Flow: the executor calls ``send``; the answer's bytes go through the parser (``rig.target.http_answer``); its
``end_request`` gets the result and decides what the connection does next. One request is in flight at a time; bodies
are not kept.
Not for: deciding what is sent, or when, or whether an answer is the right one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar, cast

from rig.errors import ErrorKind
from rig.target.http_answer import PARSER_ERRORS, AnswerParser, BrokenRule, TooLarge

STALE_AFTER_NS = 1_000_000_000
"""A connection that was idle for so long may meet its peer's time limit for idle connections."""
IDLE = -1
_ANSWERED = ErrorKind.NONE
_monotonic_ns = time.monotonic_ns


_Own = TypeVar("_Own", contravariant=True)


class Listener(Protocol[_Own]):
    """What a connection tells its executor."""

    def end_request(self, connection: _Own, status: int, kind: ErrorKind, done_ns: int) -> None:
        """Take the whole answer to ``connection.seq``; with a ``kind`` (status 0) there is none: the transport is gone.

        The listener sets ``seq`` to IDLE or sends the next request.
        """

    def lose_idle(self, connection: _Own) -> None:
        """Take note that the transport is gone; nothing was in flight."""


class Connection(AnswerParser, asyncio.Protocol):
    """A slot of the load; it outlives the transports that it goes through.

    ``seq`` is the request in flight or ``IDLE``; ``intended_ns`` and ``sent_ns`` are its times. ``free_ns`` is when the
    transport was opened or its last answer was whole.
    """

    __slots__ = (
        "_end_request",
        "_lose_idle",
        "_why",
        "_write",
        "broken_rule",
        "free_ns",
        "intended_ns",
        "number",
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
        self.broken_rule = ""
        """The last rule of HTTP that an answer broke, in words."""
        self._end_request: Callable[[Any, int, ErrorKind, int], None] = listener.end_request
        self._lose_idle: Callable[[Any], None] = listener.lose_idle

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
        self.free_ns = _monotonic_ns()
        self._write = self.transport.write
        self._why = ErrorKind.CONNECTION_LOST
        self.start_stream()

    def data_received(self, data: bytes) -> None:
        """Parse what came: at most the rest of one answer, or the peer does not speak HTTP as we do."""
        if self.seq == IDLE:
            # More than was asked for: it could be taken for the answer to the next request.
            self.give_up(ErrorKind.PROTOCOL)
            return
        # As ``feed`` does it, without a call of its own on the timed path where an answer comes in one piece.
        try:
            self._parser.feed_data(data)
            if self._answers == 1 and not self._begun and not self._partial_bytes:
                self._answers = 0
            elif not self.take_piece(data):
                return
        except (*PARSER_ERRORS, BrokenRule, TooLarge) as error:
            self._refuse(data, error)
            return
        self.free_ns = done_ns = _monotonic_ns()
        self._end_request(self, self.status, _ANSWERED, done_ns)

    def _refuse(self, data: bytes, error: Exception) -> None:
        """Give up an answer that is none, and keep the rule that it breaks."""
        if isinstance(error, TooLarge):
            self.give_up(ErrorKind.TOO_LARGE)
            return
        self.broken_rule = str(error if isinstance(error, BrokenRule) else self.explain(data, error))
        self.give_up(ErrorKind.PROTOCOL)

    def eof_received(self) -> bool:
        """The peer will send no more: let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self.transport = None
        self.reusable = False
        if self.seq == IDLE:
            self._lose_idle(self)
        elif exc is None and self._why is ErrorKind.CONNECTION_LOST and self.ends_with_stream():
            self._end_request(self, self.status, _ANSWERED, _monotonic_ns())
        else:
            why = ErrorKind.STALE_CONNECTION if self._is_stale() else self._why
            self._end_request(self, 0, why, _monotonic_ns())

    def _is_stale(self) -> bool:
        """True when the peer may have been closing the idle connection while the request was on its way.

        RFC 9112, 9.3.1: nobody knows whether such a request was processed.
        """
        was_idle = self.sent_ns - self.free_ns >= STALE_AFTER_NS
        return self._why is ErrorKind.CONNECTION_LOST and not self.has_begun and was_idle
