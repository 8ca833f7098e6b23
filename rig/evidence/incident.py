"""Tokens that a verifier did not deal with as it must. Frozen values; members of a fleet import this module."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mishap(StrEnum):
    """What a verifier did with a token that it must not do."""

    ACCEPTED = "accepted"
    """It accepted a bad token."""
    ERROR = "error"
    """It raised an exception that is no refusal."""
    NO_ANSWER = "no answer"
    """It did not come back: its process died, or the call hung."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One token that a verifier did not deal with, as evidence. ``error`` is the exception, or how the process ended.

    ``token`` is cut off after a few hundred characters, and empty for a token that is valid.
    """

    mishap: Mishap
    member: int
    kind: str
    error: str
    token: str
