"""The report of a storm as a frozen value. No I/O.

Flow: a storm over a fleet ends in a ``StormReport``; the pack keeps it as ``storms/<label>.json``; pure checkers turn
its figures into gates, plots draw its events. The rows of the storm's ledger lie in ``ledger/<label>.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN_KID = "unknown-kid"
REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class StormEvent:
    """One thing on the timeline of a storm, monotonic ns; ``until_ns`` None: an instant. ``who`` did it."""

    kind: str
    who: str
    at_ns: int
    until_ns: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormReport:
    """A race test as the rig saw it. ``case`` is its name once more: a race test has one case.

    ``subject`` is what was tested, ``without`` the protections that were switched off in it. ``missing`` has a sentence
    for every member of the fleet without a report: what it would have counted is unknown. ``not_run`` says why the test
    was not run, and ``asked`` whether it was asked for by name; then there are no figures. The figures of each test
    have a type of their own in ``rig.checks.race_tests``. A ``display_only`` report is shown and not judged.
    """

    storm: str
    case: str
    subject: str = REFERENCE
    without: tuple[str, ...] = ()
    processes: int = 0
    skew_ns: int | None = None
    missing: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[StormEvent, ...] = ()
    not_run: str = ""
    asked: bool = False
    display_only: bool = False

    @property
    def label(self) -> str:
        """Name of the report within a pack, fit for a file name."""
        return self.case if self.subject == REFERENCE else f"{self.case}-{self.subject.replace(':', '-')}"


def missing_section(storm: str, *, asked: bool = False) -> StormReport:
    """The report of a storm without a section in the profile, which may have been ``asked`` for by name."""
    return StormReport(storm=storm, case=storm, not_run=f"the profile has no section [storms.{storm}]", asked=asked)
