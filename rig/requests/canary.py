"""Personal-data canaries: values that nobody else could have written. To find one proves that personal data leaked.

One 64-bit number for each request gives all its shapes. Pure. ``rig.truth`` searches for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

CANARY_PATTERN = r"cnry[0-9a-f]{16}|9997[0-9]{20}|2001:db8::[1-9a-f][0-9a-f]{3}(?::[1-9a-f][0-9a-f]{3}){3}"
"""Matches every shape of a canary, in Python and in PostgreSQL alike."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The canary of one request; ``number`` is 64 bits."""

    number: int

    @classmethod
    def of(cls, identity: str) -> Canary:
        """The canary of whatever ``identity`` names."""
        return cls(int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "big"))

    @property
    def tokens(self) -> tuple[str, str, str]:
        """The shapes that ``CANARY_PATTERN`` finds: a word, digits, an address."""
        # No group begins with a zero, so that a database which has a type for addresses writes it the same way.
        groups = ":".join(f"{0x1000 + (self.number >> shift & 0xFFFF) % 0xF000:x}" for shift in (48, 32, 16, 0))
        return f"cnry{self.number:016x}", f"9997{self.number:020d}", f"2001:db8::{groups}"

    def values(self) -> dict[str, str]:
        """A value for each kind of personal field, by the slot names of ``rig.requests.body``."""
        word, digits, address = self.tokens
        return {
            "canary-email": f"{word}@example.test",
            "canary-name": f"Jo {word}",
            "canary-address": f"1 {word} Street",
            "canary-phone": f"+{digits}",
            "canary-ssn": digits,
            "canary-ip": address,
        }
