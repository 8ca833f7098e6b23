"""What a target's metrics say of its pool of database connections: a few series, summed, out of Prometheus text. Pure.

The profile says what they are called (``[probes.pool]``); ``POOL_COLUMNS`` is how a pack keeps them. Not a scraper, nor
for any other series: those four decide whether requests waited for a connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

POOL_COLUMNS = ("at_ns", "what", "value")
"""One row per question and series: monotonic ns, one of the names below, the sum over all label sets."""

CONNECTIONS_MAX = "connections_max"
ACQUIRE_WAIT_S = "acquire_wait_s"
ACQUIRED = "acquired"
TIMEOUTS = "timeouts"


def sums(text: str, names: Mapping[str, str | None]) -> dict[str, float]:
    """The series of ``names`` (what it means: what it is called, or None) in Prometheus text, those that are there.

    All samples of a name are added up, whatever their labels: a service of several processes has one for each.
    """
    found: dict[str, float] = {}
    for what, name in names.items():
        if name is None:
            continue
        sample = re.compile(rf"^{re.escape(name)}(?:\{{.*\}})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*$", re.MULTILINE)
        values = [value for match in sample.finditer(text) if (value := _number(match[1])) is not None]
        if values:
            found[what] = sum(values)
    return found


def _number(text: str) -> float | None:
    """A finite value; NaN and infinities are those of a gauge that nobody set."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
