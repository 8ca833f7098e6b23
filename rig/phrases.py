"""Names in a sentence: the first few, and how many more there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMED = 6


def some(names: Iterable[str], most: int = MOST_NAMED) -> str:
    """The first ``most`` names, and the number of those left out where there are any: ``a, b and 27 more``."""
    every = list(names)
    named = ", ".join(every[:most])
    return named if len(every) <= most else f"{named} and {len(every) - most:,} more"


def by_word(words: Iterable[tuple[str, str]], most: int = 3) -> list[str]:
    """``(name, word)`` pairs as one phrase a word, ``a, b and 27 more: word``, in the order they first come."""
    names: dict[str, list[str]] = {}
    for name, word in words:
        names.setdefault(word, []).append(name)
    return [f"{some(dict.fromkeys(given), most)}: {word}" for word, given in names.items()]
