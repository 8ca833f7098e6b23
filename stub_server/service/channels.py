"""Which marketing channel an event belongs to: many spellings of ``utm_source``, one channel. Pure.

Flow: ``Taxonomy(aliases, unknown, absent).channel_of(source)``. Case, blanks, ``_`` and ``-`` make no
difference: ``FB ADS`` and ``fb_ads`` are one alias.
"""

from __future__ import annotations

from collections.abc import Mapping


def normalise_alias(source: str) -> str:
    """The form in which aliases are kept and looked up."""
    return " ".join(source.casefold().replace("_", " ").replace("-", " ").split())


class Taxonomy:
    """Normalised alias → channel, with a channel for unknown sources and one for none."""

    def __init__(self, aliases: Mapping[str, str], *, unknown: str, absent: str) -> None:
        self._channels = {normalise_alias(alias): channel for alias, channel in aliases.items()}
        self._unknown = unknown
        self._absent = absent

    def channel_of(self, source: str | None) -> str:
        """The channel of a source as the vendor sent it."""
        alias = normalise_alias(source) if source else ""
        if not alias:
            return self._absent
        return self._channels.get(alias, self._unknown)
