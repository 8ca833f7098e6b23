"""What a verifier asks its fleet. ``refresh`` has the one over PostgreSQL; another store needs these methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class KeySetRow:
    """What the fleet knows. ``document`` is None where it is no newer than what the reader knew, or there is none."""

    document: Mapping[str, Any] | None
    version: int
    failures: int
    fresh_for_s: float
    allowed_in_s: float
    now: Any
    """The store's time when it was read; a fetch that follows is written down as started then."""


class KeyFleet(Protocol):
    """One process's part in a fleet. A verifier lets one thread in at a time."""

    fetches: int
    """Fetches that this process made, to compare with the origin's count."""

    def refresh(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        """The row, if it is newer than version ``known`` or nobody may fetch yet; else fetch, and the row after that.

        None when another process fetches and has not ended within ``wait_timeout_s`` (0: do not wait; None: no bound).
        Raises FleetUnavailable when the store does not answer.
        """

    def close(self) -> None:
        """Give up what connects this process with the store; the next refresh connects anew."""
