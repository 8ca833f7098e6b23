"""Dotted paths into JSON, as a profile writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Steps = tuple[str, ...]


def steps_of(document: object, dotted: str) -> Steps:
    """The steps of a path. A number steps into a list; a name that is there may have dots of its own."""
    return _find(document, dotted) or tuple(dotted.split("."))


def value_at(document: Any, dotted: str) -> Any:
    """What lies at a dotted path; None where nothing does."""
    for step in steps_of(document, dotted):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def index_in(container: object, step: str) -> int | str:
    """A step as a list or an object takes it. ValueError where a list gets no number."""
    return int(step) if isinstance(container, list) else step


def _find(here: object, dotted: str) -> Steps:
    """The steps that lead somewhere; none where no way does."""
    ways: Iterator[tuple[object, str, str]]
    if isinstance(here, dict):
        if dotted in here:
            return (dotted,)
        heads = (dotted[:at] for at, letter in enumerate(dotted) if letter == ".")
        ways = ((here[head], head, dotted[len(head) + 1 :]) for head in heads if head in here)
    elif isinstance(here, list):
        step, dot, rest = dotted.partition(".")
        if not step.isdecimal() or int(step) >= len(here):
            return ()
        if not dot:
            return (step,)
        ways = iter([(here[int(step)], step, rest)])
    else:
        return ()
    return next(((step, *further) for inner, step, rest in ways if (further := _find(inner, rest))), ())
