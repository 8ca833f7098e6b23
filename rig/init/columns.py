"""Which column of a row holds which part of its event: ``[truth.canonical.fields]``. Pure.

A part is mapped only where the column follows it through every event that was sent, and the part differed from event to
event. What is the same in all events proves nothing alone: it is mapped where the column has the part's name, too, and
no default of that value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from rig.init.new_rows import NewRow, WatchedTable
from rig.init.places import read_json
from rig.profile.content import ContentType
from rig.requests.content import unit_of, unix_of

_NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"})
_TIMES = frozenset({"timestamptz", "timestamp", "date"})
_JSONS = frozenset({"json", "jsonb"})
_DISTINCT_LEAST = 3
"""A part with fewer values among the events could be matched by chance."""

Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """What a column holds: a part of the event (empty: all of it), or one value."""

    path: str | None
    type: ContentType = "text"
    constant: str | None = None

    def __str__(self) -> str:
        return json.dumps(self.constant) if self.constant is not None else self.path or "the whole event"


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event as it was sent. ``document`` is its JSON or its form; None where it is a text."""

    body: str
    document: Any


def map_columns(
    table: WatchedTable, pairs: Sequence[tuple[NewRow, SentEvent]], left_out: frozenset[str]
) -> dict[str, MappedColumn]:
    """The columns of a table that hold parts of the events; of two parts that fit, the one that is named alike."""
    events = [event for _, event in pairs]
    parts = _parts(events)
    mapped = {}
    for column in table.table.columns:
        if column in left_out or column in table.generated:
            continue
        values = [row.values.get(column) for row, _ in pairs]
        found = _follow(table, column, values, parts) or _whole(table, column, values, events)
        found = found or _same(table, column, values, parts)
        if found is not None:
            mapped[column] = found
    return mapped


def guess_columns(
    table: WatchedTable, pairs: Sequence[tuple[NewRow, SentEvent]], known: frozenset[str]
) -> dict[str, MappedColumn]:
    """Columns that perhaps hold a part: both have one text, the same in all events. ``known`` ones are left out."""
    texts = {
        path: sent[0]
        for path, sent in _parts([event for _, event in pairs]).items()
        if isinstance(sent[0], str) and all(value == sent[0] for value in sent)
    }
    guessed = {}
    for column in table.table.columns:
        values = [row.values.get(column) for row, _ in pairs]
        paths = [path for path, text in texts.items() if len(text) > 1 and all(value == text for value in values)]
        is_free = column not in known and column not in table.generated
        if paths and is_free and table.defaults.get(column) != values[0]:
            shortest = min(paths, key=len)
            guessed[column] = MappedColumn(".".join(shortest))
    return guessed


def _parts(events: Sequence[SentEvent]) -> dict[Steps, list[Any]]:
    """Every part that all events have, with its value in each of them."""
    found = [dict(_walk(event.document)) for event in events]
    return {path: [each[path] for each in found] for path in found[0] if all(path in each for each in found)}


def _walk(document: Any, path: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Every value within a document, objects and arrays too, but of an empty name, which no path can say."""
    if not isinstance(document, Mapping | list):
        return
    for step, value in document.items() if isinstance(document, Mapping) else enumerate(document):
        if str(step):
            yield (*path, str(step)), value
            yield from _walk(value, (*path, str(step)))


def _follow(
    table: WatchedTable, column: str, values: Sequence[Any], parts: Mapping[Steps, Sequence[Any]]
) -> MappedColumn | None:
    """The part that differs from event to event and that the column follows."""
    fits = []
    for path, sent in parts.items():
        if len({json.dumps(value, default=str, sort_keys=True) for value in sent}) < min(_DISTINCT_LEAST, len(values)):
            continue
        kinds = {_same_value(table.table.columns[column].type, *pair) for pair in zip(sent, values, strict=True)}
        if None not in kinds and (kind := _one_type(kinds)) is not None:
            fits.append((not _named_alike(column, path), len(path), path, kind))
    if not fits or len(values) < 2:
        return None
    _, _, path, kind = min(fits)
    return MappedColumn(".".join(path), kind)


def _one_type(kinds: set[ContentType | None]) -> ContentType | None:
    """The one type for all; amounts without decimals read as integers among others with."""
    known = {kind for kind in kinds if kind is not None}
    if len(known) == 1:
        return known.pop()
    return "decimal" if known == {"integer", "decimal"} else None


def _whole(table: WatchedTable, column: str, values: Sequence[Any], events: Sequence[SentEvent]) -> MappedColumn | None:
    """The whole event, as JSON (perhaps with more in it) or as the text that was sent."""
    kind = table.table.columns[column].type
    if all(value == event.body for value, event in zip(values, events, strict=True)):
        return MappedColumn(None, "text")
    if kind not in _JSONS and not all(isinstance(value, str) and value[:1] in ("{", "[") for value in values):
        return None
    held = [value if kind in _JSONS else read_json(value) for value in values]
    documents = [_comparable(event.document) for event in events]
    if any(not document for document in documents):
        return None
    if all(_comparable(own) == sent for own, sent in zip(held, documents, strict=True)):
        return MappedColumn(None, "json")
    if all(_contains(_comparable(own), sent) for own, sent in zip(held, documents, strict=True)):
        return MappedColumn(None, "json-contains")
    return None


def _same(
    table: WatchedTable, column: str, values: Sequence[Any], parts: Mapping[Steps, Sequence[Any]]
) -> MappedColumn | None:
    """A text that is the same in all events: mapped only where the column is named as the part, without a default."""
    texts = {str(value) for value in values if isinstance(value, str)}
    if len(texts) != 1 or len([value for value in values if value is not None]) < len(values):
        return None
    (text,) = texts
    if len(text) < 2 or table.defaults.get(column) == text:
        return None
    for path, sent in sorted(parts.items(), key=lambda part: len(part[0])):
        if _named_alike(column, path) and {type(value) for value in sent} == {str} and len(set(sent)) == 1:
            if sent[0] == text:
                return MappedColumn(".".join(path), "text")
            if sent[0].lower() == text.lower():
                return MappedColumn(None, "text", text)
    return None


def _named_alike(column: str, path: Steps) -> bool:
    """Whether a column is called as the last step of a path, or as that with what stands before it."""
    own, words = _snake(column), [_snake(step) for step in path]
    return own in {"_".join(words[at:]) for at in range(len(words))} or own.endswith(f"_{words[-1]}")


def _snake(name: str) -> str:
    """``placedAt``, ``Placed at`` and ``placed-at`` as ``placed_at``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()


def _same_value(kind: str, sent: Any, held: Any) -> ContentType | None:
    """By which type of the profile a column of a type holds what was sent; None where it does not."""
    if sent is None or held is None or isinstance(sent, bool) or isinstance(held, bool):
        return None
    if isinstance(sent, Mapping | list) or kind in _JSONS:
        own = read_json(held) if kind not in _JSONS and isinstance(held, str) else held
        return "json" if isinstance(sent, Mapping | list) and own and _comparable(own) == _comparable(sent) else None
    if isinstance(held, str) and kind not in _NUMBERS | _TIMES:
        alike = held == str(sent) or (kind == "uuid" and _bare(held) == _bare(str(sent)))
        return "text" if alike else _same_time(sent, held)
    if kind in _TIMES:
        return _same_time(sent, held)
    return _same_number(sent, held) or _same_time(sent, held)


def _bare(text: str) -> str:
    return text.replace("-", "").lower()


def _same_number(sent: Any, held: Any) -> ContentType | None:
    given, own = _number(sent), _number(held)
    if given is None or own is None:
        return None
    has_point = "." in str(sent)
    if given == own:
        return "decimal" if has_point else "integer"
    if own == (given * 100 if has_point else given / 100):
        return "cents"
    return None


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _same_time(sent: Any, held: Any) -> ContentType | None:
    """Both as the same instant, to the precision that was sent; a day where the column holds days."""
    given, own = _seconds(sent), _seconds(held)
    if given is None or own is None:
        return None
    if isinstance(held, str) and len(held) == len("2027-01-01"):
        is_same = own == given - given % 86400
    else:
        is_same = own - own % (1 if given == int(given) else Decimal("0.001")) == given
    kind: ContentType = "iso" if isinstance(sent, str) and "-" in sent else "unix"
    return kind if is_same else None


def _seconds(value: Any) -> Decimal | None:
    """Seconds since 1970 of a time that is written in any of the usual ways."""
    number = _number(value)
    if number is not None:
        number /= unit_of(number)
        return number if 10**9 <= number < 10**10 else None
    try:
        return unix_of(str(value))
    except ValueError:
        return None


def _comparable(document: Any) -> Any:
    """A document with all numbers of one kind, so that 12.50 is 12.5."""
    if isinstance(document, Mapping):
        return {name: _comparable(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_comparable(value) for value in document]
    if isinstance(document, int | float) and not isinstance(document, bool):
        return Decimal(str(document))
    return document


def _contains(own: Any, sent: Any) -> bool:
    """As ``@>`` of jsonb, but for lists, which must be equal."""
    if isinstance(own, Mapping) and isinstance(sent, Mapping):
        return all(name in own and _contains(own[name], value) for name, value in sent.items())
    return bool(own == sent)
