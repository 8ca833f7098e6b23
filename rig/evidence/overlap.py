"""How many of several spans of time overlap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def most_at_once(spans: Iterable[tuple[Any, Any]]) -> int:
    """The largest number of spans (begin, end) that overlap. A span that begins as another ends does not."""
    changes = sorted([change for begin, end in spans for change in ((begin, 1), (end, -1))])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
