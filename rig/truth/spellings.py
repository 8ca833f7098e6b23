"""Finds canaries in bytes, however they are spelt or encoded. Pure.

``tokens_in`` searches one value thoroughly. ``suspicious`` (SQL) and ``Anchors`` (logs) pick out the few values for
which that is worth its time: they look for the first characters of a canary in each spelling.

============================ ===========================================================================================
as it was sent
another spelling             any letter case; with punctuation between or without (``+9997 123-4…``, an IPv6 address in
                             full); an IPv6 address as a decimal number or as 16 bytes
reversed
URL-encoded, escaped         ``%40``, also twice; ``&#64;`` and ``&commat;``; ``\\u0040`` and ``\\x40``
hexadecimal, base64          with separators or line breaks; standard and URL alphabet; wherever in the encoded text
compressed                   gzip or zlib, at the start of a value
============================ ===========================================================================================

They combine, two encodings deep. Not found: other compressions, encryption and hashes, numbers that lost digits
(floating point), and a value that is cut in pieces.

How often is an innocent value taken for a canary? A token is a hit only if it is one of the tokens of this run, whole.
Each carries 64 random bits (the address 63.6), so no second value has to confirm it. Say that each of a million rows
has 1,000 places where a token could begin, in 40 spellings, and that the run sent 100,000 canaries of three tokens
each. Before one counts that it has to begin like a canary as well, which divides by 10,000, the chance is
1e6 * 1000 * 40 * 3e5 / 2**63.6, or 1 in 1,200; with it 1 in 12 million.
"""

from __future__ import annotations

import base64
import html
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString
from urllib.parse import unquote_to_bytes

from psycopg import sql

from rig.requests.canary import CANARY_PATTERN

DEPTH = 2
TOKEN_CHARACTERS_MIN = 16
"""A shorter value holds no canary in any spelling: an address in bytes has as many."""
DECODED_BYTES_MAX = 4 << 20
"""Of a longer value nothing is decoded, but it is searched for all spellings."""
_INFLATED_BYTES_MAX = 1 << 20
_CLEAR = re.compile(CANARY_PATTERN.encode())
_KEPT = b"0123456789abcdefghijklmnopqrstuvwxyz"
_PUNCTUATION = bytes(code for code in range(256) if code not in _KEPT)
# Each looks ahead only, so that one is found that begins within another match.
_FOLDED = re.compile(
    rb"(?=(?P<word>cnry[0-9a-f]{16})|(?P<digits>9997[0-9]{20})|20010?db80*(?P<address>[1-9a-f][0-9a-f]{15})"
    rb"|(?P<integer>4254076641128259[0-9]{22}))"
)
_PACKED = re.compile(rb"(?s)\x20\x01\x0d\xb8\0\0\0\0(.{8})")
_NETWORK = 0x2001_0DB8_0000_0000
_ESCAPE = re.compile(rb"\\+(?:u00|x)([0-9a-fA-F]{2})")
_LINE_BREAK = re.compile(rb"\\+[rn]|[\r\n]+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_HEX = re.compile(rb"[0-9a-f]{32,}")
_MAGIC = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


def tokens_in(value: bytes) -> dict[str, str]:
    """The tokens of canaries in a value, with what was done to each; "" for one that is there as it was sent."""
    found: dict[str, str] = {}
    waiting, seen = [(value, "", 0)], {value}
    for view, encoding, depth in waiting:
        for token, spelling in _read(view):
            found.setdefault(token, ", ".join(filter(None, (encoding, spelling))))
        if depth == DEPTH or len(view) > DECODED_BYTES_MAX:
            continue
        for name, decoded in _decode(view):
            if decoded not in seen:
                seen.add(decoded)
                waiting.append((decoded, encoding if encoding == name else f"{name} {encoding}".strip(), depth + 1))
    return found


def _read(view: bytes) -> Iterator[tuple[str, str]]:
    for token in _CLEAR.findall(view):
        yield token.decode(), ""
    folded = _fold(view)
    for text, spelling in ((folded, "another spelling"), (folded[::-1], "reversed")):
        for match in _FOLDED.finditer(text):
            if token := _token(match):
                yield token, spelling
    for packed in _PACKED.findall(view):
        yield _address(packed.hex()), "another spelling"


def _token(match: re.Match[bytes]) -> str:
    """The token as it was sent; "" for an address of another network."""
    kind, text = next((kind, text.decode()) for kind, text in match.groupdict().items() if text)
    if kind == "integer":
        network, host = divmod(int(text), 2**64)
        return _address(f"{host:016x}") if network == _NETWORK else ""
    return _address(text) if kind == "address" else text


def _address(host: str) -> str:
    return "2001:db8::" + ":".join(host[at : at + 4] for at in range(0, 16, 4))


def _decode(view: bytes) -> Iterator[tuple[str, bytes]]:
    """All that a value may be the encoding of, each with the name of the encoding."""
    if b"%" in view:
        yield "URL-encoded", unquote_to_bytes(view)
    if b"&" in view:
        yield "escaped", html.unescape(view.decode(errors="replace")).encode(errors="replace")
    if b"\\" in view:
        yield "escaped", _ESCAPE.sub(lambda match: bytes.fromhex(match.group(1).decode()), view)
    for run in _BASE64.findall(_LINE_BREAK.sub(b"", view)):
        for start in range(4):
            whole = run[start:].translate(_STANDARD)
            whole = whole[:-1] if len(whole) % 4 == 1 else whole  # a lone letter is less than a byte
            yield "base64", base64.b64decode(whole + b"=" * (-len(whole) % 4))
    for run in _HEX.findall(_fold(view)):
        for start in range(2):
            whole = run[start:]
            yield "hexadecimal", bytes.fromhex(whole[: len(whole) // 2 * 2].decode())
    if view.startswith(_MAGIC):
        inflater = zlib.decompressobj(wbits=47)
        try:
            yield "compressed", inflater.decompress(view, _INFLATED_BYTES_MAX)
        except zlib.error:
            return


# --- which values are worth it ---

WORDS = ("cnry", "9997", "2001")
"""How canaries begin."""
_CAPITALS = "CNRY"
_S: LiteralString = "[^0-9A-Za-z]*"
_HEX_JOINT: LiteralString = _S + "[xu]?(00)?"


def _as_hex(word: str, joint: str = "") -> str:
    return joint.join(f"{ord(letter):02x}" for letter in word)


def base64_anchors(word: bytes) -> tuple[str, ...]:
    """What base64 of any text with the word in it contains: one of three, by where the word begins."""
    anchors = []
    for before in range(3):
        texts = [
            base64.b64encode(filler * before + word + after + b"xx").decode()
            for filler in (b"\0", b"\xff")
            for after in (b"0", b"f")
        ]
        same = "".join(letters[0] if len(set(letters)) == 1 else " " for letters in zip(*texts, strict=True))
        first = 4 * before // 3
        anchors.append(max(same[first : first + 4 * len(word) // 3 + 1].split(), key=len))
    return tuple(anchors)


_BASE64_ANCHORS = (*(anchor for word in WORDS for anchor in base64_anchors(word.encode())), "H4sI")
_DECIMAL_ESCAPES = tuple(";&#".join(str(ord(letter)) for letter in word) for word in (*WORDS, _CAPITALS))
_LOOSE_DIGITS = "|".join(_S.join(digits) for digits in ("9997", "7999"))
"""With punctuation between, and reversed. Every third row has them in its ids: the digits beside them count, too."""
_ENCODED = r"([^0-9A-Za-z]|\\+([bfnrt]|(u00|x)..)|%(25)*[0-9A-Fa-f]{2}|&(amp;)*#?[0-9A-Za-z]+;)*"
"""Punctuation that may be escaped."""


def _digits(joint: str) -> str:
    """A pattern of a number of 24 digits, as canaries have, and of one reversed."""
    return f"{joint.join('9997')}({joint}[0-9]){{20}}|([0-9]{joint}){{20}}{joint.join('7999')}"


_BASE64_PATTERN = "|".join(_BASE64_ANCHORS)
_AS_NUMBER = "4254076641128259"
_FIXED = (
    "cnry",
    "yrnc",
    "8.b.d.0.1.0.0.2",
    _AS_NUMBER,
    *(_as_hex(word, joint) for word in (*WORDS, _CAPITALS) for joint in ("", ":", "x")),
)
"""The third is an address in the name system, the fourth one as a number."""
_ESCAPES = ("%", "&#", "u00")
"""One of these stands before each letter of a text that is escaped letter by letter."""
_ESCAPED_PATTERN = "|".join([*(_as_hex(word, _HEX_JOINT) for word in (*WORDS, _CAPITALS)), *_DECIMAL_ESCAPES])
_BYTES = (b"\x20\x01\x0d\xb8\0\0\0\0", b"c\0n\0r\0y", b"C\0N\0R\0Y", b"9\x009\x009\x007", b"2\x000\x000\x001")
"""An address in 16 bytes, and text of two bytes a character."""


def suspicious(hay: sql.Composable, lowered: sql.Composable) -> sql.Composed:
    """SQL that is true for every text in which ``tokens_in`` finds something, and for few others.

    ``lowered``: the same text in lower case and without backslashes. To search for a fixed text costs PostgreSQL a
    tenth of a pattern, and several short patterns cost it less than a long one. To examine a value in Python costs ten
    times as much as all of them, so hardly any innocent row may be left.
    """
    return sql.SQL(_SUSPICIOUS).format(
        hay=hay,
        low=lowered,
        loose=sql.Literal(_LOOSE_DIGITS),
        digits=sql.Literal(_digits(_S)),
        encoded=sql.Literal(_digits(_ENCODED)),
        base64=sql.Literal(_BASE64_PATTERN),
        fixed=sql.SQL(" OR ").join(sql.SQL("strpos({}, {}) > 0").format(lowered, sql.Literal(each)) for each in _FIXED),
        escapes=sql.SQL(" OR ").join(
            sql.SQL("strpos({}, {}) > 0").format(lowered, sql.Literal(each)) for each in _ESCAPES
        ),
        escaped=sql.Literal(_ESCAPED_PATTERN),
    )


_SUSPICIOUS: LiteralString = """(
    {fixed} OR {hay} ~ {base64}
    OR CASE WHEN {low} ~ {loose} THEN {low} ~ {digits} OR {hay} ~ '[\\\\%&]' AND {hay} ~ {encoded} ELSE false END
    OR strpos({low}, 'db8') > 0 AND strpos({low}, '2001') > 0 OR strpos({low}, '8bd') > 0 AND strpos({low}, '1002') > 0
    OR CASE WHEN {escapes} THEN {low} ~ {escaped} ELSE false END
)"""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Those of the first characters of a canary that a block of a log has: ``plain`` as they are, ``folded`` ones in
    lower case and without punctuation."""

    plain: tuple[bytes, ...]
    folded: tuple[bytes, ...]

    @classmethod
    def in_block(cls, block: bytes) -> Anchors:
        """The anchors of a block of lines."""
        folded = _fold(block)
        return cls(
            tuple(each for each in _PLAIN if each in block), tuple(each for each in _IN_FOLDED if each in folded)
        )

    def __bool__(self) -> bool:
        return bool(self.plain or self.folded)

    def are_in(self, line: bytes) -> bool:
        """Whether a line of the block has one of them."""
        folded = _fold(line)
        return any(each in line for each in self.plain) or any(each in folded for each in self.folded)


_PLAIN = (*(anchor.encode() for anchor in _BASE64_ANCHORS), *_BYTES[:1])
_JOINTS = ("", "x", "u00")
_IN_FOLDED = tuple(
    each.encode()
    for each in (
        "cnry", "yrnc", "9997", "7999", "db8", "8bd", _AS_NUMBER,
        *(_as_hex(word, joint) for word in (*WORDS, _CAPITALS) for joint in _JOINTS),
        *("".join(str(ord(letter)) for letter in word) for word in (*WORDS, _CAPITALS)),
    )
)  # fmt: skip


def _fold(text: bytes) -> bytes:
    return text.lower().translate(None, _PUNCTUATION)


def suspicious_bytes(column: sql.Composable) -> sql.Composed:
    """The same for what only bytes can hold."""
    tests = [sql.SQL("position({} IN {}) > 0").format(sql.Literal(needle), column) for needle in _BYTES]
    magic = sql.SQL(", ").join(map(sql.Literal, _MAGIC))
    tests.append(sql.SQL("substring({} FROM 1 FOR 2) IN ({})").format(column, magic))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests))
