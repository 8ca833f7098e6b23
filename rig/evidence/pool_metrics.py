"""Four series of a target's metrics about its pool of database connections, read from Prometheus text. Pure.

They decide whether requests waited for a connection. The profile has their names (``[probes.pool]``), and a pack keeps
them in the columns ``POOL_COLUMNS``.
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
    """Those series of ``names`` (meaning: name in the metrics, or None) that Prometheus text holds.

    Samples of one name are added up whatever their labels, because each process of a service has its own.
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
    """A finite value. NaN and infinity come from a gauge that was never set."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
