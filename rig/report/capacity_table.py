"""The table of a search for the capacity: a row for each step, as texts, for terminal and report."""

from __future__ import annotations

from collections.abc import Iterator

from rig.checks.capacity import find_capacity
from rig.diagnose.measured import measure
from rig.diagnose.numbers import Measured
from rig.evidence.capacity import CAPACITY
from rig.evidence.case import Case
from rig.evidence.scenario_runs import ScenarioRun
from rig.text import number, shorten

STEP_COLUMNS = (
    "#",
    "rate/s",
    "answered/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "client",
    "server",
    "database",
    "result",
    "why",
)
"""Shares of their time: the busiest load process and the busiest process of the target; the sessions in use."""
_WHY_MOST = 160


def step_rows(case: Case) -> Iterator[tuple[str, ...]]:
    """A row for each step, by rate."""
    if not case.scenario_runs_of(CAPACITY):
        return
    for place, step in sorted(enumerate(find_capacity(case).steps, 1), key=lambda each: each[1].rate_per_s):
        times_ms = (number(step.latencies_ms[f"response_{word}_ms"]) for word in ("p50", "p95", "p99"))
        shares = (f"{share:.0%}" if share is not None else "–" for share in utilisation(case, step.run).values())
        rates = f"{step.rate_per_s:,.4g}", f"{step.answered_per_s:,.4g}"
        yield (str(place), *rates, *times_ms, *shares, str(step.result), shorten(step.why, _WHY_MOST))


def utilisation(case: Case, run: ScenarioRun) -> dict[str, float | None]:
    """How busy each role was during a step, 0 to 1; None where nobody saw it."""
    seen = measure(case, [run])
    server = max((process.occupied_share for process in seen.server.processes), default=None) if seen.server else None
    return {"client": seen.client.utilisation if seen.client else None, "server": server, "database": _database(seen)}


def _database(seen: Measured) -> float | None:
    if seen.database is None or not seen.database.connections:
        return None
    return min(1.0, seen.database.in_use / seen.database.connections)
