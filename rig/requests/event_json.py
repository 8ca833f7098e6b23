"""JSON as senders write it: numbers of any length, deep values, keys that come twice, escapes, spaces. Pure.

``rig.requests.body.as_json`` is for events as the profile gives them; this is for their shapes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


class RawJson(str):
    """JSON text that is sent as it is: no ``float`` holds ``1e400``, and no recursion gets through 5,000 levels."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Style:
    """How a document is written. ``twice``: the path of a key that comes twice, the first time with 0."""

    escapes: bool = False
    spaces: bool = False
    reverses: bool = False
    mark: bool = False
    """Whether a byte order mark stands before it."""
    twice: tuple[str, ...] = ()


PLAIN = Style()


def write_json(document: Any, style: Style = PLAIN) -> str:
    """A document as JSON text."""
    text = _write(document, style, ())
    if style.spaces:
        text = f"\r\n {text}\t\n"
    return f"\ufeff{text}" if style.mark else text


def _write(node: Any, style: Style, at: tuple[str, ...]) -> str:
    comma, colon = (" ,\n\t", " : ") if style.spaces else (",", ":")
    if isinstance(node, dict):
        pairs = [(key, value) for key, value in node.items() for _ in range(1 + (style.twice == (*at, key)))]
        seen: set[str] = set()
        parts = []
        for key, value in reversed(pairs) if style.reverses else pairs:
            is_first_of_two = style.twice == (*at, key) and key not in seen
            seen.add(key)
            written = "0" if is_first_of_two else _write(value, style, (*at, key))
            parts.append(f"{_text(key, style)}{colon}{written}")
        return "{" + comma.join(parts) + "}"
    if isinstance(node, list):
        return "[" + comma.join(_write(each, style, (*at, str(place))) for place, each in enumerate(node)) + "]"
    if isinstance(node, RawJson):
        return str(node)
    return _text(node, style) if isinstance(node, str) else json.dumps(node)


def _text(text: str, style: Style) -> str:
    written = json.dumps(text, ensure_ascii=style.escapes)
    return written.replace("/", "\\/") if style.escapes else written
