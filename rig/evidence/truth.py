"""What the target's database held after a run, against what was sent. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rig.evidence.isolation import Durability, IsolationReport
from rig.model import Row


@dataclass(frozen=True, slots=True)
class Group:
    """One scenario run and one tenant: rows expected, as an interval [min, max], and rows observed.

    ``discrepancies`` counts them by kind; ``TruthReport.discrepancies`` names each.
    """

    scenario_run: str
    scenario: str
    tenant: str
    canonical_min: int
    canonical_max: int
    canonical: int
    dead_min: int
    dead_max: int
    dead: int
    discrepancies: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Total:
    """All rows of one tenant in one table, against what the whole run must leave."""

    tenant: str
    row: Row
    expected_min: int
    expected_max: int
    observed: int


class DiscrepancyKind(StrEnum):
    """What can be wrong with a key."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    UNEXPECTED = "unexpected"
    MISROUTED = "misrouted"
    WRONG_TENANT = "wrong_tenant"
    WRONG_CHANNEL = "wrong_channel"
    WRONG_CORRELATION = "wrong_correlation"
    COPY = "copy"
    """A row that belongs to no request of the run and carries an event of it. Not a fault of ``*.rows``."""
    FORGED = "forged"
    """A row of a forged request. Not a fault of ``*.rows``, and in no count."""
    ALTERED = "altered"
    """The row holds other content than was sent. Not a fault of ``*.rows``."""
    VANISHED = "vanished"
    """The row was there after the load, and is gone some seconds later. Not a fault of ``*.rows``."""
    CHANGED = "changed"
    """The row was changed some seconds after the load. Not a fault of ``*.rows``."""
    RECOVERED = "recovered"
    """Not a fault: an indeterminate request whose row exists."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One key whose rows are not what they must be."""

    kind: DiscrepancyKind
    scenario_run: str
    scenario: str
    tenant: str
    key: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CanaryHit:
    """Personal data found where none may be. ``place`` is ``schema.table.column`` or ``file:line``."""

    place: str
    in_log: bool
    what: str
    request: str
    json_path: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When the rows of one scenario run arrived, by a sample of ``watched`` acknowledged keys.

    The lag (ms) is the time from an answer to the first snapshot with its row, and 0 where the first snapshot after the
    answer had it. ``late`` keys were missing from a snapshot that began after their answer; ``missing`` ones never came
    while they were watched. ``resolution_ms``: the median time between two snapshots. ``unwatched``: why nothing could
    be watched.
    """

    scenario_run: str
    scenario: str
    watched: int
    late: int
    missing: int
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    resolution_ms: float
    late_keys: tuple[str, ...] = ()
    unwatched: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What the rows of one scenario held, against what was sent: ``compared`` rows, of them ``altered``.

    ``dead`` of those that were compared are dead letters. ``reasons`` say what the altered values have in common.
    """

    scenario: str
    compared: int
    altered: int
    dead: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lasting:
    """What became of ``rows`` that were there after the load, so many ``seconds`` later.

    ``vanished`` rows are gone; the rows of ``changed`` keys hold something else, by column in ``changed_columns``.
    ``columns`` (``table.column``) were compared. ``untried``: why nobody looked again; ``unread``: why that failed.
    """

    rows: int = 0
    vanished: int = 0
    changed: int = 0
    changed_columns: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    columns: tuple[str, ...] = ()
    untried: str = ""
    unread: str = ""


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A session in a transaction: since when (s since 1970, by the database's clock), and how long it has been idle.

    ``state`` is that of ``pg_stat_activity``; empty where the role that asked may not see it.
    """

    pid: int
    application: str
    role: str
    state: str
    begun_s: float
    idle_s: float

    def __str__(self) -> str:
        state = f", {self.state} for {self.idle_s:.0f} s" if self.state.startswith("idle") else ""
        return f"pid {self.pid} ({self.application or 'no application name'}, role {self.role}{state})"


@dataclass(frozen=True, slots=True)
class TruthReport:
    """What was read from the database once the target was quiet."""

    groups: tuple[Group, ...]
    totals: tuple[Total, ...]
    discrepancies: tuple[Discrepancy, ...]
    canary_hits: tuple[CanaryHit, ...]
    columns_scanned: int
    log_files_scanned: tuple[str, ...]
    duplicated_keys: int
    keys_reconciled: int
    read_s: float
    notes: tuple[str, ...] = ()
    log_files_unread: tuple[str, ...] = ()
    keys_unattributed: int = 0
    """Values with a personal key that may be older than the run, because they were not counted before it."""
    copies: int | None = None
    """Rows that belong to no request of the run and carry an event of it; None where nobody looked."""
    copy_examples: tuple[str, ...] = ()
    strangers_examined: int = 0
    """New rows of the event tables that belong to no request of the run, all of which were looked at."""
    content: tuple[Content, ...] | None = None
    """What the rows held, by scenario; None where it was not compared."""
    arrivals: tuple[Arrival, ...] = ()
    """When rows arrived; empty where nobody watched."""
    isolation: IsolationReport | None = None
    """None where the profile does not promise row-level security, or the target's role is not known."""
    durability: Durability | None = None
    """None in packs of a rig that did not look, which have no isolation either."""
    lasting: Lasting | None = None
    """What became of the rows; None in packs of a rig that read them once."""
    left_open: tuple[OpenTransaction, ...] | None = None
    """The transactions of the load that nobody ended; None where nobody looked."""
    hides_sessions: bool = False
    """Whether nobody looked because the role may not see them, and not because the rig was older."""
