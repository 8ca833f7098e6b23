"""Values as words: one-line text, figures with their units, and escaping for Markdown and XML.

Text in a pack came from a target, a database or another machine. All of it goes through ``one_line`` before it reaches
a terminal or a table, which escapes control characters, line breaks and changes of the writing direction.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

_UNITS = {
    "ms_per_request": "ms/request",
    "us_per_request": "µs/request",
    "per_s": "/s",
    "rps": "requests/s",
    "ns": "ns",
    "us": "µs",
    "ms": "ms",
    "s": "s",
    "percent": "%",
    "bytes": "bytes",
    "mib": "MiB",
}
_NAME = re.compile(rf"(?:(?P<what>.*?)_)?(?P<unit>{'|'.join(_UNITS)})")
"""A figure's name ends in its unit: ``response_p95_ms``."""
_MARKDOWN = re.compile(r"([\\`*{}\[\]<>|#~&!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_NOT_XML = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Characters that XML 1.0 forbids, and those that change the writing direction."""
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LONG = 48
MOST_NAMED = 6


def one_line(value: object) -> str:
    """Text on one line without control characters: they are written as escapes."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


def is_encodable(text: str) -> bool:
    """Whether it is text: what comes from the shell may have bytes that are none (PEP 383)."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with what it counts: 1 row, 2,000 rows. ``many``: where more than an ending differs ("rows were")."""
    ending = "es" if one.endswith(("s", "ch", "sh")) else "s"
    return f"{count:,} {one if count == 1 else many or one + ending}"


def shorten(value: object, most: int = _LONG) -> str:
    """As ``one_line``, cut to ``most`` characters."""
    text = one_line(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def markdown(value: object) -> str:
    """Text with everything escaped that Markdown would read as markup or as the end of a table's cell."""
    return _MARKDOWN.sub(r"\\\1", one_line(value))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown_list(items: Iterable[str]) -> str:
    """A list of plain texts, which are escaped."""
    return "\n".join(f"- {markdown(item)}" for item in items)


def xml_text(value: object) -> str:
    """Text with everything escaped that XML 1.0 forbids. The writer of the XML escapes markup."""
    return _NOT_XML.sub(lambda match: _escape(match[0]), str(value))


def number(value: float) -> str:
    """Four significant digits with commas between thousands; a dash for NaN and infinity."""
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or value in (inf, -inf):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def milliseconds(value: float) -> str:
    """A latency with its unit; an infinite one belongs to a request that got no answer."""
    return "no answer" if value == inf else "–" if value != value else f"{number(value)} ms"


def value_words(value: Any) -> str:
    """One figure's value, without its unit."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value)
        case list() | tuple():
            some = ", ".join(value_words(item) for item in value[:3])
            return some if len(value) <= 3 else f"{some}, … ({len(value)} in all)"
        case Mapping():
            return value_words([f"{one_line(key)} {value_words(item)}" for key, item in value.items()]) or "none"
        case _:
            return shorten(value)


def figure_words(name: str, value: Any) -> str:
    """One figure as words, its unit taken from its name: ``median_s`` 6.2 is ``median 6.2 s``.

    Words in place of a number have no unit.
    """
    match = _NAME.fullmatch(name)
    label, unit = (one_line(name), "")
    if match and isinstance(value, int | float | list | tuple) and not isinstance(value, bool):
        label, unit = match["what"] or "", _UNITS[match["unit"]]
    elif match and isinstance(value, str):
        label = match["what"] or label
    return " ".join(filter(None, (label.replace("_", " "), value_words(value), unit)))


def figures_words(figures: Mapping[str, Any], most: int | None = None) -> str:
    """The first ``most`` figures of a gate, in the order of the checker, which puts the important ones first."""
    known = [(name, value) for name, value in figures.items() if value is not None and value != [] and value != ""]
    return " · ".join(figure_words(name, value) for name, value in known[:most])


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def json_text(document: object) -> str:
    """A document as JSON, indented; a number that is not finite is null, because JSON has no NaN."""
    return json.dumps(_with_finite(document), indent=2, allow_nan=False)


def record_lines(document: object) -> str:
    """A document as JSON for people and ``grep``: a line for each value on top and for each record of a list."""
    return _lay_out(document, 2, "")


def _lay_out(value: object, levels: int, indent: str) -> str:
    inner = f"{indent}  "
    match value:
        case Mapping() if value and levels:
            items = [f"{json.dumps(key)}: {_lay_out(each, levels - 1, inner)}" for key, each in value.items()]
        case list() if value and levels:
            items = [_lay_out(each, levels - 1, inner) for each in value]
        case _:
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
    start, end = "{}" if isinstance(value, Mapping) else "[]"
    return f"{start}\n" + ",\n".join(inner + item for item in items) + f"\n{indent}{end}"


def _with_finite(value: object) -> object:
    match value:
        case float():
            return value if isfinite(value) else None
        case Mapping():
            return {key: _with_finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_with_finite(each) for each in value]
        case _:
            return value


def last_lines(said: str | bytes, most: int = 1, if_none: str = "it said nothing") -> str:
    """The last lines of a log, or of what a process wrote, as one line. Lines that begin with a space (the frames of a
    stack) are left out where there are others.

    They are not shortened: a secret that was cut in half would not be found and blanked.
    """
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    lines = [line for line in text.splitlines() if line.strip()]
    said_lines = [line for line in lines if not line[0].isspace()] or lines
    return " | ".join(line.strip() for line in said_lines[-most:]) or if_none


def some(names: Iterable[str], most: int = MOST_NAMED) -> str:
    """The first ``most`` names, and the number of those left out where there are any: ``a, b and 27 more``."""
    every = list(names)
    named = ", ".join(every[:most])
    return named if len(every) <= most else f"{named} and {len(every) - most:,} more"


def by_word(words: Iterable[tuple[str, str]]) -> list[str]:
    """``(name, word)`` pairs as one phrase a word, ``a, b and 27 more: word``, in the order they first come."""
    names: dict[str, list[str]] = {}
    for name, word in words:
        names.setdefault(word, []).append(name)
    return [f"{some(dict.fromkeys(given), 3)}: {word}" for word, given in names.items()]
