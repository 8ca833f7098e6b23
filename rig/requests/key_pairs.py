"""Pairs of keys that differ, though not to a service that looks at a part of them, or at letters in any case. Pure.

A key is what ``rig.requests.targeter`` makes, a UUID, or a longer text that begins with one. So no two runs share any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rig.profile import Profile, WebhookRoute
from rig.profile.placeholders import names_in
from rig.requests.sender import request_headers


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Two keys that are made of a UUID: each is that up to ``kept``, and an ending. ``name`` says in what they differ.

    ``needs`` is what a key must allow: nothing, any text (``text``), or any letter (``letters``). ``shares``: the
    placeholders that the second event has of the first; then both keys are as usual, and have no endings.
    """

    name: str
    first: str
    second: str
    needs: Literal["", "text", "letters"] = "text"
    kept: int | None = None
    shares: tuple[str, ...] = ()
    is_judged: bool = True
    """False where a service may have its reasons to take them for one. Then it is told, and fails nothing."""

    @property
    def words(self) -> str:
        """In what two events differ."""
        endings = f" (…{self.first[-8:]!a} and …{self.second[-8:]!a})" if self.first else ""
        return f"keys that differ {self.name}{endings}"

    def keys(self, own: str) -> tuple[str, str]:
        return f"{own[: self.kept]}{self.first}", f"{own[: self.kept]}{self.second}"


_UUID_CHARACTERS = 36
_CONTENT = ("amount", "unix")
"""The decimal and the other forms of the time follow from these."""
KEY_PAIRS = (
    KeyPair("while amount and time are the same", "", "", "", shares=_CONTENT),
    KeyPair("while all the rest is the same", "", "", "", shares=(*_CONTENT, "event"), is_judged=False),
    KeyPair("only in their last character", "0", "1", "", -1),
    KeyPair("only in the case of a letter", "-a", "-A"),
    KeyPair("only in a wildcard of SQL", "-axb", "-a_b"),
    *(
        KeyPair(f"only in the last of {length} characters", f"{common}a", f"{common}b")
        for length in (64, 200)
        for common in ("-".ljust(length - _UUID_CHARACTERS - 1, "x"),)
    ),
    KeyPair("only in a space at the end", "-s", "-s ", "letters"),
    KeyPair("only in the form of an accent", "-\u00e9", "-e\u0301", "letters"),
)


def is_key_free(profile: Profile, route: WebhookRoute) -> bool:
    """Whether a key stands in JSON alone. A header loses spaces at its end, and an address has few letters."""
    return route.format == "json" and not any("key" in names_in(text) for text in _outside(profile, route))


def is_key_sent(profile: Profile, route: WebhookRoute) -> bool:
    """Whether a request has the key as it is. Where it has ``<event>`` alone, that does not follow another key."""
    return any("key" in names_in(text) for text in (*_outside(profile, route), route.event or route.body))


def _outside(profile: Profile, route: WebhookRoute) -> tuple[str, ...]:
    return (route.path, route.signed, *request_headers(profile, route).values())
