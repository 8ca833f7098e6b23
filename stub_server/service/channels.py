"""Which marketing channel an event belongs to: many spellings of ``utm_source``, one channel. Pure.

Flow: ``Taxonomy(aliases, unknown, absent).channel_of(source)``. Case, surrounding and repeated blanks, ``_`` and
``-`` do not tell two spellings apart: ``FB ADS`` and ``fb_ads`` are one alias.
"""

from __future__ import annotations

from collections.abc import Mapping


def folded(source: str) -> str:
    """The form in which aliases are kept and looked up."""
    return " ".join(source.casefold().replace("_", " ").replace("-", " ").split())


class Taxonomy:
    """Folded alias → channel, with an answer for what is unknown and for what is absent."""

    def __init__(self, aliases: Mapping[str, str], *, unknown: str, absent: str) -> None:
        self._channels = {folded(alias): channel for alias, channel in aliases.items()}
        self._unknown = unknown
        self._absent = absent

    def channel_of(self, source: str | None) -> str:
        """The channel of a source as the vendor sent it."""
        alias = folded(source) if source else ""
        if not alias:
            return self._absent
        return self._channels.get(alias, self._unknown)
