"""Four series of a target's metrics about its pool of database connections, read from Prometheus text. Pure.

They decide whether requests waited for a connection. The profile has their names (``[probes.pool]``), and a pack keeps
them in the columns ``POOL_COLUMNS``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

POOL_COLUMNS = ("at_ns", "what", "value")
"""One row per question and series: monotonic ns, one of the names below, the sum over all label sets."""

CONNECTIONS_MAX = "connections_max"
ACQUIRE_WAIT_S = "acquire_wait_s"
ACQUIRED = "acquired"
TIMEOUTS = "timeouts"


_PAIRS = r"(?:[^\"{}\n]|\"(?:[^\"\\\n]|\\.)*+\")*+"
_LABELS = rf"\{{{_PAIRS}\}}"
_SAMPLE = re.compile(
    rf"""[ \t]*+
    (?:(?P<name>[A-Za-z_:][\w:]*+)[ \t]*+(?:{_LABELS})?              # pool_total{{pod="a"}}
    |\{{[ \t]*+"(?P<quoted>[^"\\\n]*+)"[ \t]*+(?:,{_PAIRS})?\}})       # {{"pool_total",pod="a"}}
    [ \t]*+(?P<value>[+-]?[0-9.]++(?:[eE][+-]?[0-9]++)?)
    (?:[ \t]++-?[0-9.]++)?                                         # when it was measured
    (?:[ \t]*+\#[ \t]*+{_LABELS}.*)?                              # an exemplar of OpenMetrics
    [ \t]*+""",
    re.ASCII | re.VERBOSE,
)
"""A line with a finite value, in the format of Prometheus or OpenMetrics. NaN is a gauge that was never set."""


def sums(text: str, names: Mapping[str, str | None]) -> dict[str, float]:
    """Those series of ``names`` (meaning: name in the metrics, or None) that a text of metrics holds.

    Samples of one name are added up whatever their labels, because each process of a service has its own.
    """
    meanings = {name: what for what, name in names.items() if name is not None}
    found: dict[str, float] = {}
    for line in re.split(r"\r?\n", text):
        if (sample := _SAMPLE.fullmatch(line)) and (what := meanings.get(sample["name"] or sample["quoted"])):
            value = _number(sample["value"])
            if math.isfinite(value):
                found[what] = found.get(what, 0.0) + value
    return found


def _number(text: str) -> float:
    """NaN for what only looks like a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
