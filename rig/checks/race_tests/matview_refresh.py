"""matview-refresh: many callers ask for one refresh while others read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.checks.race_tests.race_kind import RaceFigures, RaceGates, RaceKind, when
from rig.evidence.gate import Gate
from rig.text import counted


@dataclass(frozen=True, slots=True)
class ScheduledRefresh:
    """Whether the target's own scheduler refreshed, and when; where it did not, how long the rig waited."""

    fired: bool
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFigures(RaceFigures):
    """``skipped`` callers were answered without a refresh, ``skipped_late`` of them only after another's had ended.

    ``refreshed_in_turn`` callers refreshed although another was at it when they asked. Both are counted for the tenants
    whose refresh took longer than a reader waits. ``scheduled`` is None where the profile names no scheduler.
    """

    askers: int
    tenants: list[str]
    refreshes: int
    refreshes_by_view: Mapping[str, int]
    concurrent_max: int
    refresh_longest_ms: float
    refreshed_in_turn: int
    skipped: int
    skipped_late: int
    skip_longest_ms: float
    ask_errors: list[str]
    reads: int
    reads_blocked: int
    read_longest_ms: float
    read_errors: list[str]
    reader_wait_timeout_ms: int
    scheduled: ScheduledRefresh | None

    @property
    def is_short(self) -> bool:
        """Whether no refresh lasted longer than a reader waits: then nobody can be seen to wait for one."""
        return self.refresh_longest_ms <= self.reader_wait_timeout_ms


def _judge(gates: RaceGates[RefreshFigures]) -> list[Gate]:
    it = gates.it
    views = len(it.tenants) or 1
    nothing = when(not it.refreshes, "no refresh happened")
    short = when(it.is_short, "the refresh is shorter than a reader waits, so nobody could be seen to wait for it")
    is_one_missing = gates.is_whole and it.askers > 0 and len(it.refreshes_by_view) < views
    is_queue = (it.skipped_late or it.refreshed_in_turn) and not it.is_short
    skip = ("askers", "refreshes", "refreshed_in_turn", "skipped", "skipped_late", "skip_longest_ms")
    readers = ("reads", "reads_blocked", "read_longest_ms", "reader_wait_timeout_ms", "read_errors")
    return [
        gates.gate(
            "single",
            *("askers", "refreshes", "concurrent_max", "refreshes_by_view", "refresh_longest_ms"),
            wrong=when(it.concurrent_max > 1, f"{it.concurrent_max} refreshes of one view at a time"),
            weak=nothing
            or when(it.askers < 2 * views, "one caller has no rival")
            or when(it.is_short, "the refresh is so short that the callers may have come one after the other"),
        ),
        gates.gate(
            "skip",
            *(*skip, "refresh_longest_ms"),
            wrong=when(
                is_queue, f"{counted(it.refreshed_in_turn, 'caller')} refreshed in turn, {it.skipped_late} waited"
            ),
            # The callers' own start is spread over as long: who came late would look like one who waited.
            weak=nothing or short,
        ),
        gates.gate(
            "happens",
            *("refreshes", "refreshes_by_view", "tenants", "ask_errors"),
            wrong="; ".join(it.ask_errors[:2])
            or when(is_one_missing, f"{len(it.refreshes_by_view)} of {views} views were refreshed"),
            weak=when(not it.askers, "nobody asked"),
        ),
        gates.gate(
            "readers",
            *(*readers, "refresh_longest_ms"),
            wrong=when(it.reads_blocked, f"{it.reads_blocked} of {it.reads} reads were blocked")
            or "; ".join(it.read_errors[:2]),
            weak=when(not it.reads, "no read was made") or short,
        ),
        _own_scheduler(gates),
    ]


def _own_scheduler(gates: RaceGates[RefreshFigures]) -> Gate:
    if (it := gates.it.scheduled) is None:
        return gates.not_run("scheduled", "the profile names no scheduler")
    return gates.gate("scheduled", "scheduled", wrong=when(not it.fired, f"none within {it.after_s} s"))


MATVIEW_REFRESH = RaceKind(
    "matview-refresh",
    {
        "lock": ("single", "skip"),
        "skip": ("skip",),
        "concurrently": ("readers",),
        "tenant-scope": ("happens",),
        "scheduler": ("scheduled",),
    },
    RefreshFigures,
    {
        "single": "at most one refresh of a view runs at a time; waiting for its lock counts as running",
        "skip": "a caller that does not refresh is answered at once, and nobody refreshes in turn after the first",
        "happens": "a refresh really happens, of every tenant's view where any are declared; no caller gets an error",
        "readers": "readers never wait for a refresh",
        "scheduled": "the target's own scheduler refreshes when nobody asks",
    },
    _judge,
)
