"""What altered values have in common: a hundredfold amount, a time of another zone, the content of another event. Pure.

Flow: an ``Alteration`` is one column of one row. ``describe`` gives each a label and says, for each column, which
labels there are and how often. A JSON value gets the labels of the places in it that differ. Values are shown cut and
escaped: what a row holds may be anything.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from rig.requests.content import unit_of, unix_of
from rig.text import shorten

_SHOWN = 80
_LABELS_MOST = 3
_RARE = 0.02
"""A label of fewer of the values is not worth a group of its own."""
_DAY_S = 86_400
_YEAR_S = 366 * _DAY_S
_DIGITS_MOST = 400
_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_OTHER = "other values"
_NONE = object()


@dataclass(frozen=True, slots=True)
class Alteration:
    """One column of one row: the type of its field, what was sent and what was found, as texts; None is NULL.

    Of a time, what was sent is in unix seconds.
    """

    column: str
    type: str
    key: str
    expected: str | None
    found: str | None
    holes: tuple[tuple[str, ...], ...] = ()
    """Places in a JSON value that are not compared, nor shown: they may hold personal values."""

    @property
    def label(self) -> str:
        """What is wrong with it, without its values."""
        return f"{self.column}: {_label(self, {}, {})}"

    @property
    def words(self) -> str:
        """The column with both values."""
        if self.type.startswith("json") and (places := list(_differences(self))):
            shown = "; ".join(
                f"{path}: {_show(expected)} became {_show(found)}" for path, expected, found in places[:3]
            )
            return f"{self.column}: {shown}"
        if self.holes:
            return f"{self.column}: another value, which is not shown: it may hold personal data"
        expected = self.expected
        if self.type in ("unix", "iso") and expected is not None:
            expected = _in_words(Decimal(expected))
        return f"{self.column}: {_show(expected)} became {_show(self.found)}"


def describe(alterations: Sequence[Alteration], totals: Mapping[str, int]) -> tuple[str, ...]:
    """One sentence for each column. ``totals``: how many rows were altered in it, of which these are a sample."""
    by_column: dict[str, list[Alteration]] = defaultdict(list)
    for each in alterations:
        by_column[each.column].append(each)
    owners = {each.key.replace("-", ""): each.key for each in alterations}
    return tuple(
        _sentence(column, by_column[column], total, owners)
        for column, total in sorted(totals.items(), key=lambda item: -item[1])
        if by_column[column]
    )


def _sentence(column: str, sample: Sequence[Alteration], total: int, owners: Mapping[str, str]) -> str:
    sent = {each.expected: each.key for each in sample if each.expected is not None}
    labels = [_label(each, sent if len(sent) > 1 else {}, owners) for each in sample]
    counts = Counter(labels)
    common = [label for label, count in counts.most_common(_LABELS_MOST) if count > len(sample) * _RARE or count > 1]
    named = common or [_OTHER]
    counts[_OTHER] += sum(count for label, count in counts.items() if label not in named and label != _OTHER)
    if counts[_OTHER] and _OTHER not in named:
        named.append(_OTHER)
    of = f"{total:,}" if total == len(sample) else f"the first {len(sample):,} of {total:,}"
    first = sample[labels.index(named[0])] if named[0] in labels else sample[0]
    said = ", ".join(f"{label} in {counts[label]:,} of {of}" for label in named)
    return f"{column}: {said} (key {first.key}: {first.words.removeprefix(f'{column}: ')})"


def _label(each: Alteration, sent: Mapping[str, str], owners: Mapping[str, str]) -> str:
    """What is wrong with a value, in a few words that many values share."""
    if each.found is None:
        return "NULL"
    if each.found.strip() == "":
        return "empty"
    if each.expected is None or each.type == "null":
        return "a value where none was sent"
    other = sent.get(each.found)
    if each.type in ("text", "json", "json-contains") and (other is not None or _names_another(each, owners)):
        return "content of another event"
    if each.type in ("unix", "iso"):
        return _label_of_time(each.expected, each.found)
    if each.type in ("integer", "decimal", "cents"):
        label = _label_of_number(each.expected, each.found)
        return "content of another event" if other is not None and other != each.key and "expected" in label else label
    if each.type == "text":
        return _label_of_text(each.expected, each.found)
    return _label_of_json(each)


def _names_another(each: Alteration, owners: Mapping[str, str]) -> bool:
    """Whether the id of another event stands in a value, and that of its own does not."""
    found = {match.replace("-", "") for match in _ID.findall(each.found or "")}
    return bool(found) and each.key.replace("-", "") not in found and bool(_ID.search(each.expected or ""))


def _label_of_number(expected: str, found: str) -> str:
    try:
        was, now = Decimal(expected), Decimal(found.strip())
    except InvalidOperation:
        return "not a number"
    if not now.is_finite() or abs(now.adjusted()) > _DIGITS_MOST:
        return f"always {_show(found)}"
    if now == 0:
        return "0"
    if now == -was:
        return "the sign is flipped"
    for factor in (10, 100, 1000):
        if now == was * factor:
            return f"×{factor}"
        if now * factor == was:
            return f"÷{factor}"
    if now * 100 == was.to_integral_value() // 1 or (was != was.to_integral_value() and abs(now - was) < 1):
        return "rounded"
    if abs(now * 100 - was) < 100 and now * 100 != was and was > 100:
        return "÷100 and rounded"
    return f"expected {now - was:+}"


_UNITS_OF_TIME = (
    (Decimal("0.001"), "milliseconds"),
    (Decimal(1), "seconds"),
    (Decimal(60), "minutes"),
    (Decimal(3600), "hours"),
    (Decimal(_DAY_S), "days"),
)


def _label_of_time(expected: str, found: str) -> str:
    try:
        was, now = Decimal(expected), _as_unix(found)
    except (ValueError, ArithmeticError):
        return "not a time"
    off = now - was
    if 0 <= now < _YEAR_S:
        return "1970"
    for unit, name in _UNITS_OF_TIME:  # the finest first: a whole hour is a whole second, too
        if now == was // unit * unit:
            return f"truncated to {name}"
    if abs(off) < 1:
        return "off by less than a second"
    if off % 900 == 0 and abs(off) <= 14 * 3600:
        return f"time off by {float(off) / 3600:+g} h"
    if abs(off) > _YEAR_S:
        year = _in_words(now)[:4]
        return (
            f"of the year {year}" if year.isdigit() and now < 2**36 else f"far in the {'future' if now > 0 else 'past'}"
        )
    return f"time off by {off:+f} s"


def _as_unix(found: str) -> Decimal:
    text = found.strip()
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        number = Decimal(text)
        return number / unit_of(number)
    return unix_of(text)


def _in_words(seconds: Decimal) -> str:
    """A time in ISO 8601; of one that no datetime can be, its seconds."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _label_of_text(expected: str, found: str) -> str:
    if found.strip() == expected.strip():
        return "white space changed"
    if found.casefold() == expected.casefold():
        return "case changed"
    if unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", expected):
        return "encoding changed (Unicode normalisation)"
    if _is_mangled(expected, found):
        return "encoding changed (characters were read in another encoding)"
    if expected.startswith(found):
        return "truncated"
    if found in expected:
        return "a part of it"
    return "longer text" if expected in found else f"always {_show(found)}" if len(found) <= _SHOWN else _OTHER


def _is_mangled(expected: str, found: str) -> bool:
    for encoding in ("latin-1", "cp1252"):
        if expected.encode().decode(encoding, "replace") == found:
            return True
        if expected.encode(encoding, "replace").decode("utf-8", "replace") == found:
            return True
        if not expected.isascii() and expected.encode("ascii", "replace").decode() == found:
            return True
    return False


def _label_of_json(each: Alteration) -> str:
    places = list(_differences(each))
    if not places:
        return "not JSON" if _load(each.found) is _NONE else "other values of the same look"
    if _load(each.found) in ({}, [], ""):
        return "emptied"
    dropped = [path for path, _, found in places if found is _NONE]
    added = [path for path, expected, _ in places if expected is _NONE]
    changed = [(path, expected, found) for path, expected, found in places if _NONE not in (expected, found)]
    said = [
        f"keys {word}: {', '.join(sorted(paths)[:5])}"
        for word, paths in (("dropped", dropped), ("added", added))
        if paths
    ]
    said += [f"{path}: {_label_of_leaf(expected, found)}" for path, expected, found in changed[:3]]
    return shorten("; ".join(said), 200)


def _label_of_leaf(expected: Any, found: Any) -> str:
    number = (int, float, Decimal)
    if isinstance(expected, str) and isinstance(found, str):
        return _label_of_text(expected, found)
    if isinstance(expected, number) and isinstance(found, number) and bool not in (type(expected), type(found)):
        return _label_of_number(str(expected), str(found))
    if found is None:
        return "null"
    if isinstance(expected, list) and isinstance(found, list):
        return f"{len(found)} items instead of {len(expected)}"
    return f"{_kind(found)} instead of {_kind(expected)}" if _kind(found) != _kind(expected) else "another value"


def _kind(value: Any) -> str:
    names = {str: "a text", bool: "true or false", dict: "an object", list: "a list", type(None): "null"}
    return names.get(type(value), "a number")


def _differences(each: Alteration) -> Iterator[tuple[str, Any, Any]]:
    """(path, sent, found) of each place where two JSON values differ; ``_NONE`` where one has none."""
    expected, found = _load(each.expected), _load(each.found)
    if _NONE not in (expected, found):
        hidden = {".".join(hole) for hole in each.holes}
        places = _walk(expected, found, "", contains=each.type == "json-contains")
        yield from (place for place in places if place[0] not in hidden)


def _walk(expected: Any, found: Any, path: str, *, contains: bool) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = expected if contains else [*expected, *(key for key in found if key not in expected)]
        pairs = [(key, expected.get(key, _NONE), found.get(key, _NONE)) for key in keys]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(str(at), one, other) for at, (one, other) in enumerate(zip(expected, found, strict=True))]
    else:
        if expected != found or _kind(expected) != _kind(found):
            yield path or "the whole", expected, found
        return
    for key, one, other in pairs:
        yield from _walk(one, other, f"{path}.{key}".lstrip("."), contains=contains)


def _load(text: str | None) -> Any:
    try:
        return _NONE if text is None else json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return _NONE


def _show(value: Any) -> str:
    if value is _NONE:
        return "nothing"
    if value is None:
        return "NULL"
    if isinstance(value, Decimal):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # A decomposed letter looks like the composed one.
    show = repr if unicodedata.is_normalized("NFC", text) else ascii
    return show(shorten(text, _SHOWN))
