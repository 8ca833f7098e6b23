"""Shapes: an event as others send it, with a huge amount, text in another form, a field that nobody knows. Pure.

Flow: ``fields_of`` finds the values of a route's event that may be others. ``shapes_of`` gives each the ``Change``s of
its role (``rig.requests.shape_values``), and those of the event as a whole. ``change_event`` applies some of them.
``controls`` change a field to another plain value: only where that is stored may the field be anything.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rig.model import ShapeKind
from rig.profile.dotted import index_in
from rig.requests.event_json import PLAIN, RawJson, Style
from rig.requests.template import SENTINEL_PATTERN, SLOTS

EXTRA = "rig_extra"
"""A field that no service knows."""
MISSING = object()
"""The value of a field that is taken out."""
_SHOWN = 60

EventPath = tuple[str, ...]


class FieldRole(StrEnum):
    """What a value of an event is."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    UNIX = "unix"
    UNIX_MS = "unix_ms"
    ISO = "iso"
    TEXT = "text"
    CURRENCY = "currency"


_ROLES = {
    "amount": FieldRole.INTEGER,
    "decimal": FieldRole.DECIMAL,
    "unix": FieldRole.UNIX,
    "unix_ms": FieldRole.UNIX_MS,
    "iso": FieldRole.ISO,
    "source": FieldRole.TEXT,
}
"""By the placeholder. All others say which event it is, and stay as they are."""


@dataclass(frozen=True, slots=True)
class EventField:
    """One value of an event. ``is_quoted``: a number that is written as a text; ``slot``: its placeholder, if any.

    ``plain``: the text that it has in the profile.
    """

    path: EventPath
    role: FieldRole
    is_quoted: bool = False
    slot: str = ""
    plain: str = ""

    @property
    def name(self) -> str:
        """Its dotted path."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Growth:
    """How a value is made of its size, and what is said of all that are as large or larger."""

    name: str
    make: Callable[[int], Any]
    words: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Change:
    """One way in which an event is not the plain one. ``path`` is empty where it is about the event as a whole."""

    kind: ShapeKind
    path: EventPath
    name: str
    value: Any = None
    growth: Growth | None = None
    size: int = 0
    style: Style | None = None

    @classmethod
    def grown(cls, kind: ShapeKind, path: EventPath, name: str, growth: Growth, size: int) -> Change:
        """A change to a value of a size."""
        return cls(kind, path, name, growth.make(size), growth, size)

    def at_size(self, size: int) -> Change:
        """The same with another size."""
        assert self.growth is not None
        return replace(self, value=self.growth.make(size), size=size)

    @property
    def field(self) -> str:
        """The field that it changes, in words."""
        return ".".join(self.path) or "the event"

    @property
    def words(self) -> str:
        """What the event has."""
        if self.style is not None:
            return f"{self.field}: {self.name}"
        if self.value is MISSING:
            return f"{self.field} is missing"
        shown = str(self.value) if isinstance(self.value, RawJson) else json.dumps(self.value)
        shown = SENTINEL_PATTERN.sub("…", shown)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        return f"{self.field} = {shown} ({self.name})"

    @property
    def least_words(self) -> str:
        """What all events have that fail as this one does, if none with a smaller value does."""
        return self.words if self.growth is None else f"{self.field} {self.growth.words(self.size)}"

    @property
    def makes_body_large(self) -> bool:
        """Whether it grows with the length of the request."""
        return self.growth is not None and self.kind not in (ShapeKind.NUMBERS, ShapeKind.TIMES)

    def covers(self, other: Change) -> bool:
        """Whether an event with ``other`` shows no more than one with this."""
        if self.growth is not None or other.growth is not None:
            return self.growth == other.growth and other.size >= self.size
        if self.kind is not other.kind:
            return False
        if self.kind is ShapeKind.TEXTS and self.value and isinstance(other.value, str):
            return self.value in other.value
        return self.name == other.name


def fields_of(document: Any, at: EventPath = ()) -> Iterator[EventField]:
    """The values of an event that may be others. A sentinel number stands for each placeholder."""
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, node in pairs:
            yield from fields_of(node, (*at, str(key)))
        return
    if isinstance(document, bool) or document is None:
        return
    text = document if isinstance(document, str) else json.dumps(document)
    slots = [SLOTS[int(number)] for number in SENTINEL_PATTERN.findall(text)]
    if not slots and isinstance(document, str):
        is_currency = len(document) == 3 and bool(at) and "currency" in at[-1].lower()
        yield EventField(at, FieldRole.CURRENCY if is_currency else FieldRole.TEXT, plain=document)
    elif not slots:
        yield EventField(at, FieldRole.DECIMAL if isinstance(document, float) else FieldRole.INTEGER)
    elif SENTINEL_PATTERN.fullmatch(text) and slots[0] in _ROLES:
        yield EventField(at, _ROLES[slots[0]], isinstance(document, str), slots[0])


def lists_of(document: Any, at: EventPath = ()) -> Iterator[tuple[EventPath, list[Any]]]:
    """The lists of objects within an event, like the lines of an order, each with its path."""
    if isinstance(document, list) and at and document and all(isinstance(each, dict) for each in document):
        yield at, document
    if isinstance(document, dict | list):
        for key, node in document.items() if isinstance(document, dict) else enumerate(document):
            yield from lists_of(node, (*at, str(key)))


def change_event(document: Any, changes: Sequence[Change]) -> tuple[Any, Style]:
    """The event with the changes, and how it is to be written."""
    changed, style = copy.deepcopy(document), PLAIN
    for change in changes:
        if change.style is not None:
            given = {name: value for name in Style.__slots__ if (value := getattr(change.style, name))}
            style = replace(style, **given)
            continue
        here = changed
        for step in change.path[:-1]:
            here = here[index_in(here, step)]
        last = index_in(here, change.path[-1])
        if change.value is MISSING:
            del here[last]
        else:
            here[last] = change.value
    return changed, style
