"""Where the key of an event lies in a row: in which column, how it is written there, and SQL that reads it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg import sql

from rig.init.new_rows import NewRow, WatchedTable

_UUID_LENGTH = 36
_DASHES = r"regexp_replace({}, '^(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})$', '\1-\2-\3-\4-\5')"


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to write a key into a column; ``path`` leads into its JSON.

    ``form``: with dashes (``key``), without (``hex``), in capitals, the sixteen ``bytes``, or one ``number``.
    """

    column: str
    path: tuple[str, ...] = ()
    form: Literal["key", "hex", "capitals", "bytes", "number"] = "key"
    in_text: bool = False
    """Whether the column is text that holds JSON."""


@dataclass(frozen=True, slots=True)
class Place:
    """A spelling that holds for every row, with what stands before the key (None: it differs) and behind it."""

    spelling: Spelling
    prefix: str | None = ""
    suffix: str = ""

    @property
    def is_column(self) -> bool:
        """Whether the column holds the key and nothing else, as the truth reads it."""
        return self.spelling == Spelling(self.spelling.column) and not self.prefix and not self.suffix

    @property
    def directness(self) -> int:
        """2: the column is the key; 1: the column is made of it; 0: it lies within JSON."""
        return 2 if self.is_column else 1 if not self.spelling.path else 0

    def __str__(self) -> str:
        own = self.spelling
        where = ".".join((own.column, *own.path))
        forms = {"key": "", "hex": ", without dashes", "capitals": ", in capitals", "bytes": ", as bytes",
                 "number": ", as a number"}  # fmt: skip
        around = f", as {self.prefix or '…'}<key>{self.suffix}" if self.prefix != "" or self.suffix else ""
        return f"{where}{forms[own.form]}{around}"

    def expression(self, table: WatchedTable) -> str:
        """SQL that gives the key of a row ``t``; it raises no error, whatever other rows hold."""
        own, column = self.spelling, f"t.{quoted(self.spelling.column)}"
        kind = table.table.columns[own.column].type
        if own.form == "bytes":
            return _DASHES.format(f"encode({column}, 'hex')")
        text = f"encode({column}, 'escape')" if kind == "bytea" else f"{column}::text"
        if own.path:
            path = sql.Literal("{" + ",".join(json.dumps(step) for step in own.path) + "}").as_string()
            at = f"{column}::json #>> {path}::text[]"
            text = f"(CASE WHEN {column} IS JSON THEN {at} END)" if own.in_text else f"({at})"
        length = 32 if own.form == "hex" else _UUID_LENGTH
        if self.prefix is None:
            text = f"right({text}, {length})"
        elif self.suffix:
            text = f"substr({text}, {len(self.prefix) + 1}, {length})"
        elif self.prefix:
            text = f"substr({text}, {len(self.prefix) + 1})"
        if own.form == "hex":
            return _DASHES.format(f"lower({text})")
        return f"lower({text})" if own.form == "capitals" else text


def places_of(rows: Sequence[tuple[NewRow, str]]) -> list[Place]:
    """Every place that holds the key in each of these rows; the most direct first."""
    found: dict[Spelling, list[tuple[str, str]]] = {}
    for row, key in rows:
        for column, value in row.values.items():
            for spelling, around in dict(_spellings(column, value, key)).items():
                found.setdefault(spelling, []).append(around)
    places = []
    for spelling, arounds in found.items():
        if len(arounds) < len(rows) or spelling.form == "number":
            continue
        prefixes, suffixes = {prefix for prefix, _ in arounds}, {suffix for _, suffix in arounds}
        if len(suffixes) == 1 and (len(prefixes) == 1 or suffixes == {""}):
            places.append(Place(spelling, prefixes.pop() if len(prefixes) == 1 else None, suffixes.pop()))
    return sorted(places, key=lambda place: (-place.directness, len(place.spelling.path)))


def holds_number(rows: Sequence[tuple[NewRow, str]]) -> str:
    """The column that holds the key as one number; empty where none does."""
    columns = {
        spelling.column
        for row, key in rows
        for column, value in row.values.items()
        for spelling, _ in _spellings(column, value, key)
        if spelling.form == "number"
    }
    return min(columns, default="")


def _spellings(column: str, value: Any, key: str) -> Iterator[tuple[Spelling, tuple[str, str]]]:
    """Each way in which a value holds the key, with what stands before and behind it."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        document = read_json(value)
        if document is not None:
            yield from _in_document(column, document, key, (), in_text=True)
            return
    yield from _in_document(column, value, key, (), in_text=False)


def _in_document(
    column: str, value: Any, key: str, path: tuple[str, ...], *, in_text: bool
) -> Iterator[tuple[Spelling, tuple[str, str]]]:
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for step, inner in items:
            yield from _in_document(column, inner, key, (*path, str(step)), in_text=in_text)
    elif isinstance(value, str):
        yield from _in_text(column, value, key, path, in_text=in_text)
    elif not isinstance(value, bool) and value is not None and value == UUID(key).int:
        yield Spelling(column, path, "number", in_text), ("", "")


def _in_text(
    column: str, text: str, key: str, path: tuple[str, ...], *, in_text: bool
) -> Iterator[tuple[Spelling, tuple[str, str]]]:
    if text.startswith("\\x") and not path:
        data = read_hex(text)
        if data == UUID(key).bytes:
            yield Spelling(column, (), "bytes"), ("", "")
            return
        text = data.decode("latin-1") if data is not None else text
    for wanted, form in ((key, "key"), (key.replace("-", ""), "hex")):
        at = text.lower().find(wanted)
        if at < 0:
            continue
        end = at + len(wanted)
        spelt: Any = "capitals" if form == "key" and text[at:end] != wanted else form
        yield Spelling(column, path, spelt, in_text), (text[:at], text[end:])
        return


def read_json(text: str) -> Any:
    """The document of a text; None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_hex(text: str) -> bytes | None:
    """The bytes of a bytea as PostgreSQL writes it; None where it is none."""
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        return None


def quoted(*names: str) -> str:
    """An identifier for SQL, in its quotes: it may be a word of SQL, like ``order``."""
    return sql.Identifier(*names).as_string()
