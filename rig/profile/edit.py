"""The text of a profile with some keys of one table changed, and what a person has to write for that. Pure.

The text is edited by lines, as a person would. It is read again then: an edit that does not give exactly the wanted
document, as where a table is written inline, is not offered.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Steps = tuple[str | int, ...]
"""The way to a table: names, and the number of an entry in an array of tables."""

_HEADER = re.compile(r"\s*\[\[?([^\[\]].*?)\]\]?\s*(?:#.*)?")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Write:
    """Keys of one table of a profile with the values to give them; None leaves a key out."""

    table: Steps
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Paste:
    """Where to write what. ``profile`` is the whole text with it."""

    where: str
    text: str
    profile: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines below the header of a table, up to the next header."""

    table: Steps
    header: str
    first: int
    end: int


def paste(text: str, write: Write) -> Paste | None:
    """How to make a change in a profile; None where lines alone do not make it."""
    wanted = _change(text, write)
    if wanted is None:
        return None
    lines = text.splitlines()
    own = next((block for block in _blocks(lines) if block.table == write.table), None)
    added = _lines_of(write)
    if own is None:
        return _append(lines, write.table, added, wanted)
    gone = [key for key in write.values if key in _table_of(tomllib.loads(text), write.table)]
    for key in gone:
        lines = _without(lines, write.table, key)
    lines[own.first : own.first] = added
    where = f"below {own.header.strip() or 'the first line'}"
    if gone:
        where += f", {'in place of' if added else 'take out'} {', '.join(gone)}"
    return _check(where, added, lines, wanted)


def in_words(write: Write) -> tuple[str, str]:
    """Where to write what, for a profile that lines alone do not change."""
    table = "".join(f"[{step}]" if isinstance(step, int) else f".{key_text(step)}" for step in write.table)
    gone = [key for key, value in write.values.items() if value is None]
    return f"in {table.lstrip('.')}{f', take out {chr(44).join(gone)}' if gone else ''}", "\n".join(_lines_of(write))


def _lines_of(write: Write) -> list[str]:
    """The keys that get a value."""
    return [f"{key_text(key)} = {value_text(value)}" for key, value in write.values.items() if value is not None]


def _change(text: str, write: Write) -> dict[str, Any] | None:
    """The document that the edit must give; None where the profile has something else than a table there."""
    wanted = tomllib.loads(text)
    table: Any = wanted
    for step in write.table:
        if isinstance(step, int):
            table = table[step] if isinstance(table, list) and step < len(table) else None
        elif isinstance(table, dict):
            table = table.setdefault(step, {})
        else:
            return None
    if not isinstance(table, dict):
        return None
    table.update(write.values)
    for key in [key for key, value in write.values.items() if value is None]:
        del table[key]
    return wanted


def _table_of(document: Any, steps: Steps) -> Any:
    for step in steps:
        document = document[step]
    return document


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    """The tables of a text in their order; the keys before the first header are the table without steps."""
    counts: dict[Steps, int] = {}
    table, header, first = (), "", 0  # type: tuple[Steps, str, int]
    for number, line in enumerate(lines):
        steps = _steps(line, counts)
        if steps is not None:
            yield _Block(table, header, first, number)
            table, header, first = steps, line, number + 1
    yield _Block(table, header, first, len(lines))


def _steps(line: str, counts: dict[Steps, int]) -> Steps | None:
    """The table that a line begins; None where it begins none. ``counts``: how many entries each array has so far."""
    found = _HEADER.fullmatch(line)
    if found is None:
        return None
    try:
        document: Any = tomllib.loads(f"[{found[1]}]")
    except tomllib.TOMLDecodeError:
        return None
    steps: Steps = ()
    while document:
        ((name, document),) = document.items()
        steps += (name,)
        if document and steps in counts:
            steps += (counts[steps] - 1,)
    if line.lstrip().startswith("[["):
        counts[steps] = counts.get(steps, 0) + 1
        steps += (counts[steps] - 1,)
    return steps


def _append(lines: list[str], table: Steps, added: Sequence[str], wanted: Mapping[str, Any]) -> Paste | None:
    """A new table: at the end, or of an entry of an array behind the last table of the entry."""
    header = f"[{'.'.join(key_text(step) for step in table if isinstance(step, str))}]"
    depth = max((place + 1 for place, step in enumerate(table) if isinstance(step, int)), default=0)
    within = [block for block in _blocks(lines) if depth and block.table[:depth] == table[:depth]]
    end = within[-1].end if within else len(lines)
    where = f"at the end of {within[0].header.strip()}" if within else "at the end"
    changed = [*lines[:end], "", header, *added, "", *lines[end:]]
    return _check(where, [header, *added], changed, wanted)


def _without(lines: list[str], table: Steps, key: str) -> list[str]:
    """The lines without a key of a table, whose value may take several; all where the key has no line of its own."""
    wanted = tomllib.loads("\n".join(lines))
    del _table_of(wanted, table)[key]
    begins = re.compile(rf"\s*(?:{re.escape(key)}|{re.escape(basic_text(key))})\s*=")
    own = next(block for block in _blocks(lines) if block.table == table)
    for at in range(own.first, own.end):
        if begins.match(lines[at]):
            for after in range(at + 1, own.end + 1):
                left = [*lines[:at], *lines[after:]]
                if _reads_as(left, wanted):
                    return left
    return lines


def _reads_as(lines: Sequence[str], wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads("\n".join(lines)) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _check(where: str, added: Sequence[str], lines: Sequence[str], wanted: Mapping[str, Any]) -> Paste | None:
    return Paste(where, "\n".join(added), "\n".join(lines) + "\n") if _reads_as(lines, wanted) else None


def value_text(value: Any) -> str:
    """A value in TOML; a text with quotation marks or lines as a literal, which is easier to read."""
    if isinstance(value, str):
        return literal_text(value) if '"' in value or "\n" in value else basic_text(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key_text(key)} = {value_text(each)}' for key, each in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return json.dumps(value)


def key_text(name: str) -> str:
    """A key in TOML."""
    return name if _BARE.fullmatch(name) else basic_text(name)


def basic_text(text: str) -> str:
    """A TOML basic string; its escapes are JSON's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def literal_text(text: str) -> str:
    """A TOML literal string, which is easier to read; a basic one where that is not possible."""
    plain = text.replace("\n", "").isprintable() and "'''" not in text and not text.endswith("'")
    first = "\n" if "\n" in text else ""  # TOML takes it off again
    return f"'''{first}{text}'''" if plain else basic_text(text)
