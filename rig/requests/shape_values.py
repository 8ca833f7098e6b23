"""The values that events have elsewhere, by the role of a field. Pure.

``control_of`` is what a field is changed to first, ``changes_of`` all else that may lie there, ``changes_of_list`` what
may lie in a list, ``whole_changes`` what is done to an event as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from rig.model import ShapeKind
from rig.requests.event_json import RawJson, Style
from rig.requests.shapes import EXTRA, MISSING, Change, EventField, EventPath, FieldRole, Growth
from rig.requests.template import SENTINEL_PATTERN

TEXTS = (
    ("caf\u00e9", "text in NFC"),
    ("cafe\u0301", "text in NFD"),
    ("\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467", "emoji of several characters"),
    ("\U0001d400\U00020000", "characters beyond 16 bits"),
    ("\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627", "right-to-left text"),
    ("a\u202eb\u202cc", "marks of the writing direction"),
    ("Z\u0351\u036b\u0343a\u0321\u0315", "stacked combining marks"),
    ("a\u200bb\u2060c\ufeffd", "zero-width characters"),
    ("\ufb01 \u2460 \uff21 \u00bd", "compatibility characters"),
    ("\u0130stanbul Stra\u00dfe \u01c5", "letters whose case changes their length"),
    ("MiXeD cAsE", "upper and lower case"),
    ("  two spaces  around  ", "spaces around"),
    ("one\ttwo\nthree\r\nfour", "tabs and line ends"),
    ("a\u2028b\u2029c\u0085d", "line ends of Unicode"),
    ("a\u0001b\u001fc\u007fd", "control characters"),
    ("a\u0000b", "a NUL"),
    ("a\ud800b", "half of a surrogate pair"),
    ("\"quoted\" 'and' `so`", "quotes"),
    ("C:\\new\\table\\", "backslashes"),
    ("<b>&amp;</b> <!-- x --> ]]>", "markup"),
    ("'; SELECT 1; --", "SQL"),
    ("%s %d {0} {{x}} ${y} #{z}", "placeholders of templates"),
    ("=1+1", "a formula"),
    ("", "empty text"),
    (" ", "a space alone"),
    ("null", "the word null"),
    ("false", "the word false"),
    ("007.10", "text that looks like a number"),
    ("1e3", "text that looks like an exponent"),
    ("2024-02-30", "text that looks like a date"),
    ("\ufffd", "the replacement character"),
)
TEXT_SIZES = (256, 1_001, 10_000, 70_000)
UP = (1, 2**15, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30)
DOWN = (1, 2**31 + 1, 2**63 + 1)
NUMBERS = (
    ("0", "zero"),
    ("-0", "minus zero"),
    ("1.0", "a whole number with a decimal"),
    ("12.345", "three decimals"),
    ("0.30000000000000004", "seventeen decimals"),
    ("123456789012345678.125", "more digits than a float has"),
    ("1e2", "an exponent"),
    ("1E+2", "a capital exponent"),
    ("1e-7", "a negative exponent"),
    ("1e400", "beyond any float"),
)
DECIMALS = (
    ("0.00", "zero"),
    ("1.0", "one decimal"),
    ("12.345", "three decimals"),
    ("1.005", "half a cent"),
    ("0.000001", "six decimals"),
    ("1.0e2", "an exponent"),
    ("000012.50", "leading zeros"),
)
_CURRENCIES = ("USD", "EUR", "GBP", "CHF")
"""All have hundredths: a service may store an amount by the decimals of its currency."""
_SECONDS = (
    (0, "1970"),
    (-1, "before 1970"),
    (-2_208_988_800, "the year 1900"),
    (2**31 - 1, "the last second of 31 bits"),
    (2**31, "beyond 31 bits"),
    (2**32, "beyond 32 bits"),
    (99_999_999_999, "the year 5138"),
    (1_729_989_000, "an hour that comes twice in Europe, the first time"),
    (1_729_992_600, "an hour that comes twice in Europe, the second time"),
    (1_730_611_800, "an hour that comes twice in New York, the first time"),
    (1_730_615_400, "an hour that comes twice in New York, the second time"),
)
MOMENTS = (
    ("2024-02-29T12:30:00Z", "a leap day"),
    ("2024-06-01T12:00:00.123Z", "milliseconds"),
    ("2024-06-01T12:00:00.123456Z", "microseconds"),
    ("2024-06-01T12:00:00.123456100Z", "nanoseconds"),
    ("2024-06-01T12:00:00+00:00", "an offset of zero"),
    ("2024-06-01T12:00:00+05:30", "an offset of half an hour"),
    ("2024-06-01T00:30:00+14:00", "the largest offset"),
    ("2024-06-01T23:30:00-11:00", "an offset that changes the day"),
    ("2024-10-27T00:30:00Z", "an hour that comes twice in Europe, the first time"),
    ("2024-10-27T01:30:00Z", "an hour that comes twice in Europe, the second time"),
    ("2024-11-03T05:30:00Z", "an hour that comes twice in New York, the first time"),
    ("2024-11-03T06:30:00Z", "an hour that comes twice in New York, the second time"),
    ("2016-12-31T23:59:60Z", "a leap second"),
    ("1970-01-01T00:00:00Z", "1970"),
    ("1969-12-31T23:59:59Z", "before 1970"),
    ("1900-01-01T00:00:00Z", "the year 1900"),
    ("2038-01-19T03:14:08Z", "beyond 31 bits"),
    ("9999-12-31T23:59:59Z", "the last year of four digits"),
    ("+010000-01-01T00:00:00Z", "a year of six digits"),
)
_KEYS = (
    ("caf\u00e9", "a key in NFC"),
    ("cafe\u0301", "a key in NFD"),
    ("\U0001f600", "an emoji as key"),
    ("", "an empty key"),
    ("a.b", "a key with a dot"),
    ("with space", "a key with a space"),
    ("MixedCase", "a key in mixed case"),
    ("__proto__", "the key __proto__"),
    ("$ref", "a key with a dollar"),
    ("k" * 300, "a key of 300 characters"),
)
_EXTRAS: tuple[tuple[Any, str], ...] = (
    ("text", "an unknown text"),
    (7, "an unknown number"),
    (2**53 + 1, "an unknown number beyond 53 bits"),
    (None, "an unknown null"),
    (True, "an unknown truth value"),
    ([], "an unknown empty list"),
    ({}, "an unknown empty object"),
    ({"deep": [{"er": 1}]}, "an unknown object"),
    ([1, "two", None, {"three": 3}], "an unknown list of mixed values"),
)
_STYLES = (
    (Style(reverses=True), "its keys in reversed order"),
    (Style(spaces=True), "with spaces and line ends"),
    (Style(escapes=True), "with all letters but ASCII as \\u escapes"),
    (Style(mark=True), "with a byte order mark"),
)


_LENGTH = Growth("length", lambda size: "x" * size, lambda size: f"has {size:,} characters or more")
_DEPTH = Growth(
    "depth",
    lambda size: RawJson('{"in":' * size + "1" + "}" * size),
    lambda size: f"is nested {size:,} levels deep or deeper",
)
_ITEMS = Growth("items", lambda size: RawJson(f"[{'1,' * (size - 1)}1]"), lambda size: f"has {size:,} items or more")


def _integer(field: EventField, sign: int) -> Growth:
    """A number, written as the field is; of a decimal in hundredths."""

    def text(size: int) -> str:
        digits = f"{size // 100}.{size % 100:02d}" if field.role is FieldRole.DECIMAL else str(size)
        return digits if sign > 0 else f"-{digits}"

    kind, compared = f"{field.role} {'up' if sign > 0 else 'down'}", ">=" if sign > 0 else "<="
    return Growth(kind, lambda size: _as_sent(field, text(size)), lambda size: f"{compared} {text(size)}")


_GROWTHS: dict[tuple[FieldRole, bool, int], Growth] = {}


def _growth(field: EventField, sign: int) -> Growth:
    """One value for all fields of a role, so that they can be compared."""
    return _GROWTHS.setdefault((field.role, field.is_quoted, sign), _integer(field, sign))


def _as_sent(field: EventField, digits: str) -> str:
    return digits if field.is_quoted else RawJson(digits)


def control_of(field: EventField) -> Change:
    """Another plain value: what is not stored with it is no field that may be anything."""
    plain = {
        FieldRole.INTEGER: "4711",
        FieldRole.DECIMAL: "47.11",
        FieldRole.UNIX: "1700000000",
        FieldRole.UNIX_MS: "1700000000123",
    }
    if field.role in plain:
        return Change(_kind(field), field.path, "another number", _as_sent(field, plain[field.role]))
    if field.role is FieldRole.CURRENCY:
        return Change(_kind(field), field.path, "another currency", _other_currencies(field)[0])
    value = "2023-11-14T22:13:20Z" if field.role is FieldRole.ISO else "word"
    return Change(_kind(field), field.path, "another text", value)


def _kind(field: EventField) -> ShapeKind:
    if field.role in (FieldRole.TEXT, FieldRole.CURRENCY):
        return ShapeKind.TEXTS
    return ShapeKind.NUMBERS if field.role in (FieldRole.INTEGER, FieldRole.DECIMAL) else ShapeKind.TIMES


def _other_currencies(field: EventField) -> list[str]:
    """In the case of the profile's own."""
    codes = [code.lower() if field.plain.islower() else code for code in _CURRENCIES]
    return [code for code in codes if code != field.plain]


def changes_of(field: EventField) -> Iterator[Change]:
    """All that may lie in a field."""
    kind = _kind(field)
    match field.role:
        case FieldRole.TEXT:
            yield from (Change(kind, field.path, name, text) for text, name in TEXTS)
            yield from (Change.grown(kind, field.path, "long text", _LENGTH, size) for size in TEXT_SIZES)
        case FieldRole.CURRENCY:
            yield from (Change(kind, field.path, "another currency", code) for code in _other_currencies(field)[1:])
        case FieldRole.INTEGER | FieldRole.DECIMAL:
            for sign, sizes in ((1, UP), (-1, DOWN)):
                growth = _growth(field, sign)
                yield from (Change.grown(kind, field.path, "a number", growth, size) for size in sizes)
            values = DECIMALS if field.role is FieldRole.DECIMAL else NUMBERS
            yield from _give_values(field, values)
        case FieldRole.ISO:
            yield from (Change(kind, field.path, name, text) for text, name in MOMENTS)
        case _:
            factor = 1000 if field.role is FieldRole.UNIX_MS else 1
            yield from _give_values(field, ((str(second * factor), name) for second, name in _SECONDS))
    if field.path != (EXTRA,):
        yield Change(ShapeKind.NULLS, field.path, "null", None)
        if not field.path[-1].isdecimal():  # without an item those after it are others
            yield Change(ShapeKind.MISSING, field.path, "missing", MISSING)


_OWN_IDS = {"id", "uuid", "lineid", "itemid", "lineitemid"}
"""Names of what tells an item from the others of its list, in small letters and without separators."""
_LIST_SIZES = (11, 120)


def changes_of_list(path: EventPath, items: Sequence[Any]) -> Iterator[Change]:
    """A list of objects that is longer: its own items again and again, with ids of their own."""
    if any(_is_own(name) and not isinstance(value, str | int) for item in items for name, value in item.items()):
        return
    if any(_is_own(name) and SENTINEL_PATTERN.fullmatch(str(value)) for item in items for name, value in item.items()):
        return  # a placeholder of its own, of which there is no other

    def repeat(size: int) -> list[Any]:
        return [_again(items[at % len(items)], at // len(items)) for at in range(size)]

    growth = Growth(f"items of {'.'.join(path)}", repeat, lambda size: f"has {size:,} items or more, some alike")
    for size in sorted({len(items) + 1, *(size for size in _LIST_SIZES if size > len(items))}):
        yield Change.grown(ShapeKind.ARRAYS, path, "its items again and again", growth, size)


def _again(item: Mapping[str, Any], turn: int) -> dict[str, Any]:
    """An item of a list, with another id in each turn."""
    return {name: _another_id(value, turn) if turn and _is_own(name) else value for name, value in item.items()}


def _another_id(value: str | int, turn: int) -> str | int:
    if isinstance(value, int):
        return value + 1_000 * turn
    with suppress(ValueError):
        return str(UUID(int=(UUID(value).int + turn) % 2**128))
    return f"{value}-{turn}"


def _is_own(name: str) -> bool:
    return re.sub("[_-]", "", name.lower()) in _OWN_IDS


def _give_values(field: EventField, values: Iterable[tuple[str, str]]) -> Iterator[Change]:
    for digits, name in values:
        yield Change(_kind(field), field.path, name, _as_sent(field, digits))


def whole_changes(fields: Iterable[EventField]) -> Iterator[Change]:
    """What is done to an event of JSON as a whole. ``fields``: those of which one comes twice."""
    for value, name in _EXTRAS:
        yield Change(ShapeKind.EXTRA, (EXTRA,), name, value)
    for key, name in _KEYS:
        yield Change(ShapeKind.EXTRA, (key,), name, "value")
    yield from (Change.grown(ShapeKind.NESTING, (EXTRA,), "nested", _DEPTH, size) for size in (10, 60, 500, 5_000))
    yield from (Change.grown(ShapeKind.ARRAYS, (EXTRA,), "a long list", _ITEMS, size) for size in (100, 1_000, 50_000))
    yield from (Change.grown(ShapeKind.LARGE, (EXTRA,), "large", _LENGTH, size) for size in (200_000, 1_000_000))
    yield from (Change(ShapeKind.WRITING, (), name, style=style) for style, name in _STYLES)
    for field in fields:
        yield Change(ShapeKind.WRITING, field.path, "it comes twice, first as 0", style=Style(twice=field.path))
