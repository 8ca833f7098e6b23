"""The race tests: one ``RaceKind`` each, and a frozen value of what it counts (``figures`` of its ``StormReport``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rig.errors import EvidenceError


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationFigures:
    """``racing`` is the most replicas that ran at one time; in exit codes ``none`` is a replica without a report.

    ``met`` is, for each race, how many replicas were there when the first DDL ran; None in packs that were made before
    it was counted. ``exit_codes`` are of all races, ``refused`` of them are refusals by design,
    and ``nobody_migrated`` counts the races in which no replica ended with 0. ``commands`` and
    ``rows`` are what the last race left, ``…_expected`` what a lone replica left. ``not_compared`` are columns.
    """

    replicas: int
    racing: int
    met: list[int] | None = None
    refused: int = 0
    nobody_migrated: int = 0
    exit_codes: Mapping[str, int]
    second_exit_codes: Mapping[str, int]
    said: list[str]
    commands_expected: int
    commands: int
    rows_expected: int
    rows: int
    differences: list[str]
    not_compared: list[str] = field(default_factory=list)
    second_changes: list[str]
    second_refused: int = 0
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFigures:
    """``repeats`` counts the effects beyond the first of each job.

    ``held`` are jobs that the killed replicas held. It and what follows from it (``repeats_unexplained``,
    ``unexplained``) are None where the profile has no ``held_sql``. ``recovered_after_s`` is from the last kill to the
    end of the last job, None where the profile has no ``lease_s`` or not all were done. ``killed``: a replica at least
    in each race; ``kills`` says which and when, None in packs of a time when each race had one. In
    ``races_cut_short`` jobs were still being done when the time was up.
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
    lease_s: float | None = None
    recovered_after_s: float | None = None
    killed: bool
    kills: list[str] | None = None
    races_cut_short: int = 0
    exit_codes: Mapping[str, int]
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitFigures:
    """``cap`` is how many requests a window were granted, ``scope_factor`` that number over the limit.

    ``processes`` share the port of each replica; packs of earlier releases do not have it. ``answered``: by process,
    how many of the answers that were looked at were its own. ``scope_factor_of_each`` is what the fleet would have let
    through if each process had a limit of its own. Both are None where each replica is one process and does not name
    it, and ``answered`` is empty where nobody could see.
    """

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
    processes: int = 1
    answered: Mapping[str, int] | None = None
    scope_factor_of_each: float | None = None


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


@dataclass(frozen=True, slots=True)
class RaceKind:
    """One race test: its name, what can be switched off in the reference, the figures it counts, the rule of each gate.

    ``rig.storms`` has a module and a function of its name, ``rig.checks.race_tests`` the verdicts of its gates.
    """

    name: str
    protections: tuple[str, ...]
    figures: type
    rules: Mapping[str, str]

    def read(self, figures: Mapping[str, Any]) -> Any:
        """The figures of a report as their own type; EvidenceError names what is missing or wrong."""
        from pydantic import TypeAdapter, ValidationError  # the command line names the tests without its cost

        try:
            return TypeAdapter(self.figures).validate_python(figures)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise EvidenceError(f"the figures of the storm {self.name} are damaged: {wrong}") from None


_ALL = (
    RaceKind(
        "migration-race",
        ("lock", "ledger"),
        MigrationFigures,
        {
            "once": "schema and rows are what a lone replica makes of the database: each version applied exactly once",
            "exit": "every replica ends with exit code 0, or refuses by design while another migrates",
            "second-run": "a second run of all replicas changes nothing and ends with exit code 0",
        },
    ),
    RaceKind(
        "scheduler-claim",
        ("claim", "lease"),
        ClaimFigures,
        {
            "once": "each job's effect happens exactly once; a job that a killed replica held may be repeated once "
            "(where the profile has no held_sql, each kill allows one repeat of any job)",
            "all": "every job has its effect and is done, also those that a killed replica had taken",
        },
    ),
    RaceKind(
        "rate-limit",
        ("shared",),
        RateLimitFigures,
        {
            "scope": "the fleet lets through what is promised (L for scope fleet, N times L for process), "
            "and answers all",
        },
    ),
    RaceKind(
        "matview-refresh",
        ("lock", "skip", "concurrently", "tenant-scope", "scheduler"),
        RefreshFigures,
        {
            "single": "at most one refresh of a view runs at a time; waiting for its lock counts as running",
            "skip": "a caller that does not refresh is answered at once, and nobody refreshes in turn after the first",
            "happens": "a refresh really happens, of every tenant's view where any are declared; "
            "no caller gets an error",
            "readers": "readers never wait for a refresh",
            "scheduled": "the target's own scheduler refreshes when nobody asks",
        },
    ),
    RaceKind(
        "tenant-leak",
        ("transaction-scope", "row-security", "own-rows", "worker-guard", "dead-letters"),
        TenantFigures,
        {
            "visible": "no request sees a row of another tenant, and a request of nobody sees none",
            "own": "every request of a tenant sees all its own rows",
            "worker": "in the worker's context nothing can change ingested rows",
            "dead-letters": "a job that fails lies among the worker's dead letters, once, "
            "with tenant and correlation id",
        },
    ),
)
RACE_KINDS: Mapping[str, RaceKind] = {race.name: race for race in _ALL}
"""All race tests, in the order in which they are named to the user."""
