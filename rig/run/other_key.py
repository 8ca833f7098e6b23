"""Whether a service stores another key than it was sent: lost keys and rows that nobody sent may be one fact. Pure."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Set

_NAMESPACES = {
    "DNS": uuid.NAMESPACE_DNS,
    "URL": uuid.NAMESPACE_URL,
    "OID": uuid.NAMESPACE_OID,
    "X500": uuid.NAMESPACE_X500,
    "nil": uuid.UUID(int=0),
}
_CHANGES: Mapping[str, Callable[[str], str]] = {
    "{}": str,
    "lower-case {}": str.lower,
    "upper-case {}": str.upper,
    "md5 of {}": lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
    "sha1 of {}": lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
    "sha256 of {}": lambda text: hashlib.sha256(text.encode()).hexdigest(),
}
_LEAST = 8
"""Characters that two keys must share to be called alike."""


def guess_other_key(sent: Mapping[str, str], unexpected: Set[str]) -> str:
    """How a key that nobody sent may have been made of what a lost event held; empty where nothing fits.

    ``sent`` are values of the event by their name, its key among them.
    """
    plain = {_bare(key): key for key in unexpected}
    return next(_matches(sent, plain), "")


def _matches(sent: Mapping[str, str], plain: Mapping[str, str]) -> Iterator[str]:
    for name, value in sent.items():
        made_of = {words.format(name): change(value) for words, change in _CHANGES.items()}
        made_of |= {
            f"uuid5 of {name} (namespace {space})": str(uuid.uuid5(namespace, value))
            for space, namespace in _NAMESPACES.items()
        }
        for words, text in made_of.items():
            made = _bare(text)
            if len(made) < _LEAST:
                continue
            if made in plain:
                yield words
            elif any(made in key or (len(key) >= _LEAST and key in made) for key in plain):
                yield f"a part of {words}, or more than it"


def _bare(key: str) -> str:
    """Hyphens do not tell two spellings of a UUID apart. Letter case does in most keys."""
    return key.replace("-", "")
