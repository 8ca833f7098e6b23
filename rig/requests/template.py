"""Texts with holes, compiled so that they are filled quickly. Pure.

``SLOTS`` fixes the order of all values of a request; a template picks its own from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from urllib.parse import quote_plus

from rig.profile.placeholders import EVENT, PLACEHOLDER, SENDING, SIGNATURES

_CANARY_PREFIX = "canary-"
CANARIES = tuple(_CANARY_PREFIX + kind for kind in ("email", "phone", "name", "address", "ip", "ssn"))
REQUEST = ("path", "url", "body", "body_sha256", "body_md5", "fields")
SLOTS = (*EVENT, *SENDING, *CANARIES, *SIGNATURES, *REQUEST, "events", "length")
PLACE: Mapping[str, int] = {slot: place for place, slot in enumerate(SLOTS)}
"""Where the value of each slot stands."""
NUMBERS = frozenset({"number", "amount", "unix", "unix_ms", "now", "now_ms", "length"})
_PLAIN = NUMBERS | {"event", "decimal", "correlation", "key", "events"}
"""What needs no escaping in a form."""
# Eighteen digits: valid as a JSON number and inside a JSON string, and in no body by chance.
SENTINEL = 918_273_645_000_000_000
SENTINEL_PATTERN = re.compile(r"918273645000000(\d{3})")


class Template:
    """A text with holes, named by ``slots``: a %-format of bytes, which is the fastest to fill."""

    def __init__(self, constants: Sequence[str], slots: Sequence[str]) -> None:
        """The ``slots`` lie between the ``constants``, so there is one fewer."""
        self.slots = frozenset(slots)
        text = constants[0].replace("%", "%%")
        for slot, constant in zip(slots, constants[1:], strict=True):
            text += ("%d" if slot in NUMBERS else "%b") + constant.replace("%", "%%")
        self._text = text.encode(errors="backslashreplace")  # half of a surrogate pair, as JSON writes it
        places = [PLACE[slot] for slot in slots]
        self._pick: Callable[[Sequence[object]], object] = itemgetter(*places) if places else lambda _: ()

    @classmethod
    def of(cls, text: str, known: Mapping[str, str], renamed: Mapping[str, str]) -> Template:
        """From a profile's text: ``known`` placeholders are filled in for good, ``renamed`` ones mean another slot."""
        pieces = PLACEHOLDER.split(text)
        constants, slots = [pieces[0]], []
        for name, constant in zip(pieces[1::2], pieces[2::2], strict=True):
            if name in known:
                constants[-1] += known[name] + constant
            else:
                slots.append(renamed.get(name, name))
                constants.append(constant)
        return cls(constants, slots)

    @classmethod
    def at_sentinels(cls, text: str) -> Template:
        """From a text in which a sentinel number stands for each hole."""
        pieces = SENTINEL_PATTERN.split(text)
        return cls(pieces[::2], [SLOTS[int(number)] for number in pieces[1::2]])

    def render(self, values: Sequence[object]) -> bytes:
        """Fill the holes from values in the order of ``SLOTS``: numbers as such, all others as bytes.

        IndexError or TypeError for one that is missing.
        """
        text: bytes = self._text % self._pick(values)
        return text


class FormTemplate(Template):
    """A template whose values are escaped as form fields are (``application/x-www-form-urlencoded``)."""

    def render(self, values: Sequence[object]) -> bytes:
        escaped = list(values)
        for slot in self.slots - _PLAIN:
            escaped[PLACE[slot]] = quote_plus(bytes(values[PLACE[slot]])).encode()  # type: ignore[call-overload]
        return super().render(escaped)
