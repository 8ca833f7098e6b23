"""tenant-leak: tenants take turns over a small pool, and a worker may change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from rig.checks.race_tests.race_kind import RaceFigures, RaceGates, RaceKind, when
from rig.evidence.gate import Gate
from rig.text import counted


@dataclass(frozen=True, slots=True)
class TamperFigures:
    """Statements that tried to change ingested rows, how many the server refused, and whether a row was changed.

    ``effective`` of the statements change rows where nothing guards these; None where nobody tried.
    """

    tries: int
    refused: int
    changed: bool
    effective: int | None = None


@dataclass(frozen=True, slots=True)
class FailedJobFigures:
    """Failing jobs that the rig made, how many lie among the dead letters, and how many other letters came there."""

    made: int
    found: int
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFigures(RaceFigures):
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


def _judge(gates: RaceGates[TenantFigures]) -> list[Gate]:
    it = gates.it
    nothing = when(not it.requests, "nothing was asked")
    read = it.tenants if it.tenants_that_read is None else it.tenants_that_read
    unread = when(
        read < it.tenants, f"{it.tenants - read} of {it.tenants} tenants never read anything: who could leak?"
    )
    return [
        gates.gate(
            "visible",
            *("tenants", "connections", "requests", "requests_of_nobody", "leaks", "first_leaks", "tenants_that_read"),
            wrong=when(it.leaks, f"{counted(it.leaks, 'request')} saw rows of others: {'; '.join(it.first_leaks[:2])}"),
            weak=nothing or unread,
        ),
        gates.gate(
            "own",
            *("requests", "short_answers", "errors"),
            wrong=when(it.short_answers, counted(it.short_answers, "answer was short", "answers were short"))
            or "; ".join(it.errors[:2]),
            weak=nothing,
        ),
        _worker(gates),
        _dead_letters(gates),
    ]


def _worker(gates: RaceGates[TenantFigures]) -> Gate:
    if (it := gates.it.worker) is None:
        return gates.not_run("worker", "the profile names no worker_context_sql")
    is_vain = it.effective == 0 and not it.refused
    return gates.gate(
        "worker",
        "worker",
        wrong=when(it.changed, "the ingested rows are not what they were"),
        weak=when(not it.tries, "no tamper_sql was given")
        or when(is_vain, "no tamper_sql changes a row, not even for the owner: let them change what prepare made"),
    )


def _dead_letters(gates: RaceGates[TenantFigures]) -> Gate:
    if (it := gates.it.failed_jobs) is None:
        return gates.not_run("dead-letters", "the profile names no worker")
    is_amiss = it.found != it.made or it.others > 0
    wrong = when(is_amiss, f"{it.found} of {it.made} failed jobs were found, and {it.others} other letters")
    return gates.gate("dead-letters", "failed_jobs", wrong=wrong, weak=when(not it.made, "no job failed"))


TENANT_LEAK = RaceKind(
    "tenant-leak",
    {
        "transaction-scope": ("visible",),
        "row-security": ("visible",),
        "own-rows": ("own",),
        "worker-guard": ("worker",),
        "dead-letters": ("dead-letters",),
    },
    TenantFigures,
    {
        "visible": "no request sees a row of another tenant, and a request of nobody sees none",
        "own": "every request of a tenant sees all its own rows",
        "worker": "in the worker's context nothing can change ingested rows",
        "dead-letters": "a job that fails lies among the worker's dead letters, once, with tenant and correlation id",
    },
    _judge,
)
