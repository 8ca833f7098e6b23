"""The table of the faults of S11: a row for each, as texts, for terminal and report."""

from __future__ import annotations

from collections.abc import Iterator

from rig.checks.aftermath import Aftermath, aftermaths
from rig.evidence.case import Case
from rig.evidence.chaos import FaultRecord
from rig.text import number

COLUMNS = (
    "#",
    "fault",
    "lasted s",
    "first failure s",
    "last failure s",
    "good again s",
    "at rate again s",
    "attempts",
    "failed",
    "lost",
    "doubled",
)
"""``good again`` and ``at rate again`` count from the healing, failures from the strike."""


def fault_rows(case: Case) -> Iterator[tuple[str, ...]]:
    """A row for each fault, in their order; one that did not strike has its reason in place of figures."""
    if case.chaos is None:
        return
    found = {each.record.number: each for each in aftermaths(case)}
    for record in case.chaos.records:
        yield _row(record, found.get(record.number))


def _row(record: FaultRecord, found: Aftermath | None) -> tuple[str, ...]:
    name = f"{record.fault} ({record.skipped or record.note})" if record.skipped or record.note else record.fault
    if found is None:
        return (str(record.number), name, *("–",) * (len(COLUMNS) - 2))
    times = (found.first_failure_s, found.last_failure_s, found.first_good_s, found.back_s)
    counts = (found.attempts, found.failed, found.lost, found.doubled)
    lasted_s = (record.healed_ns - record.strike_begun_ns) / 1e9
    return (str(record.number), name, f"{lasted_s:.1f}", *map(_seconds, times), *map(number, counts))


def _seconds(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"
