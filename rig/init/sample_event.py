"""One event as its sender posts it, and the body of a profile that sends the same event with placeholders. Pure.

Flow: ``read_event`` (bytes) or ``event_of_preset`` → ``SampleEvent`` → ``put`` placeholders at paths → ``body``. A
placeholder is a mark in the document until the body is written, so that no text of the event is taken for one.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from rig.errors import UsageError
from rig.profile.dotted import index_in, steps_of
from rig.profile.placeholders import IN_BODY, PLACEHOLDER
from rig.profile.routes import sender_preset
from rig.requests.template import SENTINEL, SENTINEL_PATTERN

EVENT_BYTES_MAX = 900_000
"""A profile is at most 1 MiB."""
_DEPTH_MAX = 200
_ONE_EVENT = "one event: a JSON object, an array of them, a form (a=1&b=2) or XML"
_MARK = f"@{secrets.token_hex(8)}:"
_BARE = re.compile(rf'"{_MARK}!(\w+)@"')
_INSIDE = re.compile(rf"{_MARK}(\w+)@")
_FORM = re.compile(r"[^\s<>{}=&]+=[^\s&]*(&[^\s=&]+=[^\s&]*)*")
_XML_ID = re.compile(r"<(?:\w+:)?(?:id|event_?id|message_?id|order_?id)\b[^<>]*>\s*([^<>\s]{1,80})\s*</", re.IGNORECASE)
_VENDOR_PREFIX = re.compile(r"[A-Za-z]{1,12}_(?=[A-Za-z0-9-]{4,}$)")
_LABEL = re.compile(r"[A-Za-z]{1,12}[-#](?=[A-Za-z0-9]+$)")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*")
_REFERENCE = re.compile(r"(?=.*\d)[A-Za-z0-9#_/-]{4,}")
_DIGITS = re.compile(r"\d{1,15}")
_DECIMAL = re.compile(r"-?\d{1,15}\.\d+")
_IDS = ("id", "eventid", "messageid", "uuid", "deliveryid", "notificationid", "orderno", "orderid", "number",
        "reference")  # fmt: skip
_AMOUNTS = ("amount", "total", "totalprice", "amounttotal", "price", "cents", "value", "grandtotal")
_TIMES = ("created", "createdat", "timestamp", "time", "occurredat", "eventtime", "date", "placedat", "at", "sentat",
          "updatedat")  # fmt: skip
"""In small letters and without separators: ``event_id``, ``event-id`` and ``eventId`` are one name."""


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """An event. ``content`` is a JSON document, the fields of a form, or a text. ``name``: what errors call it."""

    format: Literal["json", "form", "text"]
    content: Any
    name: str

    def find(self, names: tuple[str, ...], fits: Callable[[Any], bool]) -> str:
        """The dotted path of the value with the first of these names; the one that lies highest. Else empty."""
        if self.format == "text":
            found = _XML_ID.search(self.content) if names is _IDS else None
            return found.group(1) if found else ""
        leaves = [(path, value) for path, value in walk(self.content) if fits(value)]
        leaves.sort(key=lambda leaf: len(leaf[0]))
        for name in names:
            for path, _ in leaves:
                if re.sub("[_-]", "", path[-1].lower()) == name and not any("." in step for step in path):
                    return ".".join(path)
        return ""

    @property
    def id_path(self) -> str:
        """Where the event's own id seems to lie; empty where there is none."""
        text = self.find(_IDS, lambda value: isinstance(value, str) and bool(value))
        return text or self.find(_IDS, lambda value: isinstance(value, int) and not isinstance(value, bool))

    @property
    def reference_path(self) -> str:
        """Where a text seems to lie that names something, like an order's number; empty where there is none."""
        if self.format == "text":
            return ""
        texts = (
            path
            for path, value in walk(self.content)
            if isinstance(value, str) and _REFERENCE.fullmatch(value) and _time(value) is None
        )
        return next((".".join(path) for path in texts if not any("." in step for step in path)), "")

    @property
    def amount_path(self) -> str:
        """Where an amount seems to lie."""
        return self.find(_AMOUNTS, lambda value: _amount(value) is not None)

    @property
    def time_path(self) -> str:
        """Where the time of the event seems to lie: under a usual name, else the only text that is one."""
        texts = [path for path, value in walk(self.content) if isinstance(value, str) and _ISO.fullmatch(value)]
        only = ".".join(texts[0]) if len(texts) == 1 and not any("." in step for step in texts[0]) else ""
        return self.find(_TIMES, lambda value: _time(value) is not None) or only

    def value(self, option: str, path: str) -> Any:
        """The value at a path; UsageError names the option where there is none. In a text it is a piece of it."""
        if self.format == "text":
            if path not in self.content:
                raise UsageError(f"--{option} {path}: the text {path[:60]!r} is not in the event")
            return path
        here = self.content
        for step in steps_of(here, path):
            here = _at(here, step, option, path)
        if isinstance(here, dict | list | bool) or here is None:
            raise UsageError(f"--{option} {path}: give the path of a text or a number, not of {json.dumps(here)[:60]}")
        return here

    def is_filled(self, path: str) -> bool:
        """Whether the text at a path has a placeholder."""
        return bool(_INSIDE.search(str(self.value("event-id", path))))

    def put(self, path: str, new: Any) -> SampleEvent:
        """The event with another value at a path that exists."""
        if self.format == "text":
            return SampleEvent("text", self.content.replace(path, str(new), 1), self.name)
        document = json.loads(json.dumps(self.content))
        here: Any = document
        *before, last = steps_of(document, path)
        for step in before:
            here = here[index_in(here, step)]
        here[index_in(here, last)] = new
        return SampleEvent(self.format, document, self.name)

    def has_number(self, path: str) -> bool:
        """Whether the id at a path is a number."""
        old = self.value("event-id", path)
        return not isinstance(old, str) or bool(_BARE.fullmatch(f'"{old}"'))

    def with_id(self, path: str, *, is_key: bool, text_path: str = "") -> SampleEvent:
        """With a placeholder in the place of its id. ``is_key``: the rows are looked up by it, so it is the key.

        A number is none: then the text at ``text_path`` is.
        """
        if not self.has_number(path):
            old = str(self.value("event-id", path))
            return self.put(path, id_prefix(old, is_key=is_key) + mark("key" if is_key else "event"))
        numbered = self.put(path, bare("number"))
        if not is_key:
            return numbered
        if not text_path or not isinstance(text := self.value("event-text", text_path), str):
            raise UsageError(
                f"--event-id {path}: the event's id is a number, and the rig looks rows up by a text; give "
                "--event-text, the path of a text that its row keeps, or --idempotency-header, the header that names "
                "the event"
            )
        return numbered.put(text_path, id_prefix(text, is_key=True) + mark("key"))

    def with_amount(self, path: str) -> SampleEvent:
        """With a placeholder in the place of an amount."""
        old = self.value("event-amount", path)
        name = _amount(old)
        if name is None:
            raise UsageError(f"--event-amount {path}: {str(old)[:40]!r} is not a number like 1250 or 12.50")
        return self._fill(path, old, name)

    def with_time(self, path: str) -> SampleEvent:
        """With a placeholder in the place of the time, written as it was."""
        old = self.value("event-time", path)
        name = _time(old)
        if name is None:
            raise UsageError(
                f"--event-time {path}: {str(old)[:40]!r} is no time that the rig can write; it writes seconds or "
                "milliseconds since 1970 and texts like 2027-01-01T00:00:00Z; leave the option out to send it as it is"
            )
        return self._fill(path, old, name)

    def _fill(self, path: str, old: Any, name: str) -> SampleEvent:
        return self.put(path, mark(name) if isinstance(old, str) else bare(name))

    def body(self) -> str:
        """The text of ``body`` in a profile."""
        if self.format == "text":
            own = PLACEHOLDER.sub(lambda match: _as_own(match.group(0), match.group(1)), self.content)
            return _INSIDE.sub(r"<\1>", own)
        return write_json(self.content)

    @property
    def batch(self) -> int:
        """How many like events it holds: the elements of an array of objects that each have an id. Else 1."""
        document = self.content
        if not isinstance(document, list) or len(document) < 2:
            return 1
        ids = {SampleEvent("json", each, self.name).id_path if isinstance(each, dict) else "" for each in document}
        return len(document) if len(ids) == 1 and "" not in ids else 1


def mark(name: str) -> str:
    """What stands for a placeholder within a text of a document."""
    return f"{_MARK}{name}@"


def bare(name: str) -> str:
    """What stands for a placeholder that is a number."""
    return f"{_MARK}!{name}@"


def id_prefix(value: str, *, is_key: bool) -> str:
    """The part of an id that names its kind, like ``evt_``. The key keeps only that of vendors, with its ``_``."""
    value = _INSIDE.sub("0000", value)
    found = _VENDOR_PREFIX.match(value) or (None if is_key else _LABEL.match(value))
    return found.group(0) if found else ""


def write_json(document: Any) -> str:
    """JSON for a profile: every ``<`` that is no placeholder, and what cannot be printed, is escaped."""
    text = json.dumps(document, ensure_ascii=False).replace("<", "\\u003c")
    text = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
    text = text.replace("'''", "''\\u0027")
    return _INSIDE.sub(r"<\1>", _BARE.sub(r"<\1>", text))


def read_event(data: bytes, name: str) -> SampleEvent:
    """An event from the bytes of a file or a request; UsageError says what is wrong with them."""
    if len(data) > EVENT_BYTES_MAX:
        raise UsageError(
            f"{name}: it is larger than {EVENT_BYTES_MAX:,} bytes, and a profile holds it; give a shorter one"
        )
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: it is not text in UTF-8: {error.reason} at byte {error.start}") from None
    if SENTINEL_PATTERN.search(text):
        raise UsageError(f"{name}: it holds a number that the rig uses itself ({SENTINEL}…); write another")
    if text.lstrip().startswith("<"):
        return SampleEvent("text", _without_surrogates(text, name), name)
    if _FORM.fullmatch(text.strip()):
        return SampleEvent("form", _read_form(text.strip(), name), name)
    document = _read_json(text, name)
    if not isinstance(document, dict | list) or not document:
        raise UsageError(f"{name}: it must hold {_ONE_EVENT}")
    if isinstance(document, dict) and isinstance(log := document.get("log"), dict) and "entries" in log:
        raise UsageError(
            f"{name}: it is what a browser captured (HAR); save the body of one request, or copy the request as curl "
            "and give it to --from-curl"
        )
    return SampleEvent("json", document, name)


def event_of_preset(sender: str) -> SampleEvent | None:
    """The sample event of a preset, with its placeholders as marks; None where it is a batch."""
    route = sender_preset(sender).get("route", {})
    if "body" not in route or "event" in route or route.get("events", 1) > 1:
        return None
    pieces = PLACEHOLDER.split(route["body"])
    text, quoted = pieces[0], len(re.findall(r'(?<!\\)"', pieces[0])) % 2
    for placeholder, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        text += (mark(placeholder) if quoted else f'"{bare(placeholder)}"') + piece
        quoted ^= len(re.findall(r'(?<!\\)"', piece)) % 2
    return SampleEvent(route.get("format", "json"), json.loads(text), f"the sample event of {sender}")


def walk(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of a document that is no object and no array, with its path."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from walk(value, (*path, name))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from walk(value, (*path, str(number)))
    else:
        yield path, document


def _amount(value: Any) -> str | None:
    """The placeholder for an amount that is written so."""
    if isinstance(value, str):
        return "decimal" if _DECIMAL.fullmatch(value) else "amount" if _DIGITS.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return "decimal" if isinstance(value, float) else "amount"


def _time(value: Any) -> str | None:
    """The placeholder for a time that is written so."""
    if isinstance(value, str) and _ISO.fullmatch(value):
        return "iso"
    digits = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not digits.isdecimal() or not digits.isascii():
        return None
    return {9: "unix", 10: "unix", 12: "unix_ms", 13: "unix_ms"}.get(len(digits))


def _at(here: Any, step: str, option: str, path: str) -> Any:
    try:
        return here[index_in(here, step)]
    except (KeyError, IndexError, TypeError, ValueError):
        raise UsageError(f"--{option} {path}: the event has no {step!r} there") from None


def _as_own(tag: str, name: str) -> str:
    """A tag of XML that would be a placeholder, written so that it is none."""
    return f"<{name} >" if name in IN_BODY else tag


def _read_json(text: str, name: str) -> Any:
    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(given)
        if len(document) < len(given):
            twice = next(key for key, _ in given if sum(key == other for other, _ in given) > 1)
            raise UsageError(
                f"{name}: the key {twice[:60]!r} comes twice in one object; a profile keeps one: remove the other"
            )
        return document

    def number(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise UsageError(f"{name}: the number {text[:40]} is too large for most receivers; write a smaller one")
        return value

    def refuse(constant: str) -> None:
        raise UsageError(f"{name}: {constant} is no JSON value; write a number or null")

    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_float=number, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            raise UsageError(f"{name}: it holds more than one JSON document; give {_ONE_EVENT}") from None
        raise UsageError(
            f"{name}: it is not valid JSON: {error or 'it is nested too deeply'}; give {_ONE_EVENT}"
        ) from None
    if _depth(document) > _DEPTH_MAX:
        raise UsageError(f"{name}: it is nested more than {_DEPTH_MAX} levels deep; give a flatter one")
    return document


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level and depth <= _DEPTH_MAX:
        level = [
            each
            for value in level
            if isinstance(value, dict | list)
            for each in (value.values() if isinstance(value, dict) else value)
        ]
        depth += 1
    return depth


def _read_form(text: str, name: str) -> Mapping[str, Any]:
    fields: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise UsageError(f"{name}: a field of the form is not UTF-8; write it as UTF-8") from None
    for key, value in pairs:
        if key not in fields:
            fields[key] = _field(value, name)
        elif isinstance(fields[key], list):
            fields[key].append(value)
        else:
            fields[key] = [fields[key], value]
    return fields


def _field(value: str, name: str) -> Any:
    """A field whose text is a JSON object is one, so that its parts have paths."""
    try:
        return _read_json(value, name) if value.startswith("{") and value.endswith("}") else value
    except UsageError:
        return value


def _without_surrogates(text: str, name: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"{name}: it holds half of a surrogate pair, which is no character of XML; remove it")
    return text
