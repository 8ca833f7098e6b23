"""How an HTTP/1.1 answer is read, by the same rules for load, prober and doctor.

``AnswerParser`` takes the bytes of one stream, on which one answer is expected at a time. It says when the answer is
whole, and raises ``BrokenRule`` in words where what came is none. Not for sockets, timeouts or what an answer means.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rig.text import shorten

ANSWER_LIMIT_BYTES = 8 * 1024 * 1024
PARSER_ERRORS = (HttpParserError, HttpParserUpgrade)
_FRAMED = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)
_INTERIM = re.compile(rb"\s*HTTP/1\.\d 1")
_EXPLAINED_BYTES = 1 << 16
_SHOWN = 80
_NO_ANSWER = 2
"""As after two answers where one was asked for: the stream is given up."""
_OTHER_PROTOCOLS = (
    (re.compile(rb"[\x14-\x17]\x03[\x00-\x04]"), "it speaks TLS at this port: write https:// in the address"),
    (re.compile(rb"\x00.{2}\x04.\x00{4}|PRI \* HTTP/2|HTTP/2 ", re.DOTALL), "it speaks HTTP/2 only; the rig sends "
     "HTTP/1.1: let the service take HTTP/1.1 at this port, too"),
    (re.compile(rb"(?!HTTP/)"), "what came is no HTTP"),
)  # fmt: skip
_RULES = {
    "Unexpected whitespace after header value": "a header goes on in the next line (RFC 9112, 5.2 forbids folding)",
    "Transfer-Encoding can't be present with Content-Length": "the answer has Content-Length and Transfer-Encoding "
    "(RFC 9112, 6.2 allows one of them)",
    "Invalid header token": "a header's name holds a character that no name may have, or lacks its colon",
    "Expected HTTP/, RTSP/ or ICE/": "more came than one answer, and it is no HTTP",
}
"""The parser's words for a broken rule, in ours."""


class BrokenRule(Exception):
    """What came is not one HTTP/1.1 answer: which rule it breaks, and the place, with control characters escaped."""


class TooLarge(Exception):
    """The answer is larger than ``ANSWER_LIMIT_BYTES``."""


class AnswerParser:
    """Reads the answers of a stream. A subclass may have ``on_header`` and ``on_body``, which the parser calls."""

    __slots__ = ("_answers", "_begun", "_parser", "_partial", "_partial_bytes", "reusable", "status")

    def start_stream(self) -> None:
        """Forget the stream before, and take a new one."""
        self._parser = HttpResponseParser(self)
        self._begun = self._answers = self.status = self._partial_bytes = 0
        self._partial: list[bytes] = []
        self.reusable = True
        """False when the stream cannot carry another answer."""

    def feed(self, data: bytes) -> bool:
        """Take bytes; True when the answer is whole, with its ``status``. BrokenRule or TooLarge where it never is."""
        try:
            self._parser.feed_data(data)
        except PARSER_ERRORS as error:
            raise self.explain(data, error) from None
        return self.take_piece(data)

    def explain(self, data: bytes, error: Exception) -> BrokenRule:
        """What is wrong with a stream in which the parser refused ``data``."""
        if isinstance(error, HttpParserUpgrade):
            return BrokenRule("it changes to another protocol (101), which nobody asked for")
        return BrokenRule(_explain(b"".join([*self._partial, data]), str(error)))

    def take_piece(self, data: bytes) -> bool:
        """The second half of ``feed``, once the parser has taken ``data``."""
        if self._answers == 1 and not self._begun:
            self._answers = 0
            if self._partial_bytes:
                self._partial_bytes = 0
                self._partial.clear()
            return True
        if self._answers:
            if self.status < 100:
                raise BrokenRule(f"its status is {self.status:03}, and there is none below 100 (RFC 9110, 15)")
            # The rest could be taken for the answer to the next request.
            raise BrokenRule("more came than one answer")
        self._partial.append(data)
        self._partial_bytes += len(data)
        if self._partial_bytes > ANSWER_LIMIT_BYTES:
            raise TooLarge(f"the answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
        return False

    def ends_with_stream(self) -> bool:
        """Whether a final answer had begun without a length of its own: the stream's end ends it (RFC 9112, 6.3)."""
        head, rest = b"", b"".join(self._partial) if self._begun else b""
        while rest:
            head, whole, rest = rest.partition(b"\r\n\r\n")
            if whole and not _INTERIM.match(head):
                self.status = self.begun_status
                return self.status >= 100 and _FRAMED.search(head) is None
        return False

    @property
    def has_begun(self) -> bool:
        """Whether anything of the next answer has come."""
        return bool(self._begun or self._partial_bytes)

    @property
    def begun_status(self) -> int:
        """The status of the answer that has begun."""
        return int(self._parser.get_status_code())

    def on_message_begin(self) -> None:
        """The parser saw the first byte of an answer."""
        self._begun += 1

    def on_message_complete(self) -> None:
        """The parser saw the last byte of an answer; interim ones (1xx) are passed over."""
        self._begun -= 1
        status = self._parser.get_status_code()
        if not 100 <= status < 200:
            self._answers += 1 if status >= 200 else _NO_ANSWER
            self.status = status
            # Only here: the parser forgets it with the message.
            self.reusable = self._parser.should_keep_alive()


def read_date(text: str) -> datetime | None:
    """The time of a header; None where it is no date. One without a zone is in UTC (RFC 9110, 5.6.7)."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError):  # it may be anything
        return None


def _explain(stream: bytes, reason: str) -> str:
    """The rule that a stream breaks, and the line of it that does."""
    for pattern, words in _OTHER_PROTOCOLS:
        if pattern.match(stream.lstrip(b"\r\n")):
            return f"{words}: {_shown(stream)}"
    at = _break(stream[:_EXPLAINED_BYTES])
    begin = stream.rfind(b"\n", 0, at) + 1
    if begin == at and stream[at : at + 1] in (b" ", b"\t"):  # the line before goes on
        begin = stream.rfind(b"\n", 0, at - 1) + 1
    end = stream.find(b"\n", at)
    line = stream[begin : end + 1 if end >= 0 else None]
    return f"{_RULES.get(reason, reason)}: {_shown(line)}"


def _break(stream: bytes) -> int:
    """Where the first byte stands that the parser refuses."""
    parser = HttpResponseParser(object())
    for at in range(len(stream)):
        try:
            parser.feed_data(stream[at : at + 1])
        except (HttpParserError, HttpParserUpgrade):
            return at
    return len(stream)


def _shown(some: bytes) -> str:
    return shorten(repr(some[:_SHOWN])[1:], _SHOWN + 20)
