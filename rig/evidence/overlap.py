"""How many of several stretches of time run side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def most_at_once(stretches: Iterable[tuple[Any, Any]]) -> int:
    """The largest number of (begin, end) that overlap, all of one comparable kind. One may begin as another ends."""
    changes = sorted([change for begin, end in stretches for change in ((begin, 1), (end, -1))])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
