"""Filling in what a profile leaves open: words in braces, in commands and environments."""

from __future__ import annotations

from collections.abc import Mapping

from rig.errors import ConfigError


def fill_in(text: str, words: Mapping[str, str], key: str) -> str:
    """The text with its ``{words}`` filled in; ConfigError names the ``key`` and what is known, never a value."""
    try:
        return text.format(**words)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        known = ", ".join(f"{{{word}}}" for word in words)
        what = f"has the unknown word {error}" if isinstance(error, KeyError) else f"cannot be filled in ({error})"
        raise ConfigError(
            f"profile key {key}: {text!r} {what}; known are {known}, and a brace of its own is written twice"
        ) from None
