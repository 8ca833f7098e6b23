"""What each race test counted: one frozen value a test. A pack holds it as the ``figures`` of a ``StormReport``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rig.errors import EvidenceError
from rig.evidence.storm import (
    MATVIEW_REFRESH,
    MIGRATION_RACE,
    RATE_LIMIT,
    SCHEDULER_CLAIM,
    TENANT_LEAK,
    StormReport,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationFigures:
    """``racing`` is the most replicas that ran at one time; in exit codes ``none`` is a replica without a report.

    ``commands`` and ``rows`` are what the fleet's first run left, ``…_expected`` what a lone replica left.
    """

    replicas: int
    racing: int
    exit_codes: Mapping[str, int]
    second_exit_codes: Mapping[str, int]
    said: list[str]
    commands_expected: int
    commands: int
    rows_expected: int
    rows: int
    differences: list[str]
    second_changes: list[str]
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFigures:
    """``repeats`` counts the effects beyond the first of each job.

    ``held`` are jobs that the killed replica held. It and what follows from it (``repeats_unexplained``,
    ``unexplained``) are None where the profile has no ``held_sql``.
    """

    replicas: int
    jobs: int
    effects: int
    jobs_without_effect: int
    jobs_repeated: int
    repeats: int
    repeated: Mapping[str, int]
    held: list[str] | None = None
    repeats_unexplained: int | None = None
    unexplained: Mapping[str, int] | None = None
    unfinished: int
    killed: bool
    exit_codes: Mapping[str, int]
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitFigures:
    """``cap`` is how many requests a window were granted, ``scope_factor`` that number over the limit."""

    replicas: int
    limit: int
    window_s: float
    promised: str
    windows: int
    granted: int
    cap: float
    scope_factor: float
    asked: int
    limited: int
    replicas_that_limited: int
    other_statuses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScheduledRefresh:
    """Whether the target's own scheduler refreshed, and when; where it did not, how long the rig waited."""

    fired: bool
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFigures:
    """``skipped`` callers were answered without a refresh, ``skipped_late`` of them only after another's had ended.

    ``refreshed_in_turn`` callers refreshed although another was at it when they asked. ``scheduled`` is None where the
    profile names no scheduler.
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


@dataclass(frozen=True, slots=True)
class TamperFigures:
    """Statements that tried to change ingested rows, how many the server refused, and whether a row was changed."""

    tries: int
    refused: int
    changed: bool


@dataclass(frozen=True, slots=True)
class FailedJobFigures:
    """Failing jobs that the rig made, how many lie among the dead letters, and how many other letters lie there."""

    made: int
    found: int
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFigures:
    """``worker`` and ``failed_jobs`` are None where the profile names no worker.

    ``tenants_that_read`` is None in packs that were made before it was counted.
    """

    tenants: int
    connections: int
    requests: int
    requests_of_nobody: int
    tenants_that_read: int | None = None
    leaks: int
    first_leaks: list[str]
    short_answers: int
    errors: list[str]
    worker: TamperFigures | None
    failed_jobs: FailedJobFigures | None


RaceFigures = MigrationFigures | ClaimFigures | RateLimitFigures | RefreshFigures | TenantFigures
_KINDS: Mapping[str, TypeAdapter[Any]] = {
    MIGRATION_RACE: TypeAdapter(MigrationFigures),
    SCHEDULER_CLAIM: TypeAdapter(ClaimFigures),
    RATE_LIMIT: TypeAdapter(RateLimitFigures),
    MATVIEW_REFRESH: TypeAdapter(RefreshFigures),
    TENANT_LEAK: TypeAdapter(TenantFigures),
}


def race_figures(report: StormReport) -> RaceFigures:
    """The figures of a race test's report as its own type; EvidenceError names what is missing or wrong."""
    try:
        figures: RaceFigures = _KINDS[report.storm].validate_python(report.figures)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise EvidenceError(f"the figures of the storm {report.storm} are damaged: {wrong}") from None
    return figures
