"""tenant-leak: tenants take turns over a small pool; nobody may see another's rows, and a worker may change none.

The ledger is the owner's view of the same query: it says how many rows each tenant has. A request of a tenant must see
all of them and no other; a request of no tenant, which comes between them on the same connections, must see none. Then
the worker: statements that change ingested rows run in its context and must leave the table as it was, and jobs that
fail must be found among its dead letters, with tenant and correlation id.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from rig.errors import ConfigError
from rig.evidence.storm import TENANT_LEAK, Event, StormReport
from rig.profile.storms import TenantLeak
from rig.storms.command import prepare
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.fleet import Barrier, Fleet
from rig.storms.statements import execute, first_line, mistaken
from rig.target.postgres import Database

PROCESSES = 4
_ROUNDS = 60
"""Least requests of each process: of the tenants and of nobody in turn, at least one of each."""
_POOL = 2
_THREADS = 4
_FAILING_JOBS = 5
_DEADLINE_S = 60.0
_KEY = "storms.tenant-leak"
_NAMED = 5
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    runtime_dsn: str = field(repr=False)
    set_tenant_sql: str
    read_sql: str
    expected: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one process saw: requests, the tenants that could read, and who saw another's rows or too few of his own."""

    requests: int
    anonymous: int
    readers: frozenset[str]
    leaks: tuple[str, ...]
    short: tuple[str, ...]
    errors: tuple[str, ...]


def tenant_leak(environment: StormEnvironment, order: StormOptions, subject: TenantLeak) -> StormReport:
    """Let the storm loose.

    ConfigError where the database has rows of fewer than two tenants, or a statement of the profile cannot be run.
    """
    processes = order.processes or PROCESSES
    with environment.database("tenancy") as database:
        environ = environment.environment(subject.env, f"{_KEY}.env", database)
        if subject.prepare is not None:
            prepare(environment.command(subject.prepare, f"{_KEY}.prepare", order.without), environ, f"{_KEY}.prepare")
        expected = _expected(database, subject)
        _try_to_read(database, subject, next(iter(expected)))
        plan = _Plan(database.runtime_dsn, subject.set_tenant_sql, subject.read_sql, expected)
        with Fleet(processes, _be_service, plan) as fleet:
            fleet.start()
            began_ns = fleet.release()
            members = fleet.collect(_DEADLINE_S)
            skew_ns = fleet.skew_ns
        worker = _tamper(database, subject, tuple(expected)) if subject.worker_context_sql else None
        jobs = (
            _failing_jobs(environment, order, subject, database, environ, tuple(expected)) if subject.worker else None
        )
    seen = [member.result for member in members if isinstance(member.result, _Seen)]
    environment.keep(TENANT_LEAK, [{"leak": leak} for one in seen for leak in one.leaks])
    return StormReport(
        storm=TENANT_LEAK,
        case=TENANT_LEAK,
        without=order.without,
        processes=processes,
        skew_ns=skew_ns,
        missing=tuple(f"process {member.number} {member.error}" for member in members if member.error),
        figures={
            "tenants": len(expected),
            "connections": _POOL * processes,
            "requests": sum(one.requests for one in seen),
            "requests_of_nobody": sum(one.anonymous for one in seen),
            "tenants_that_read": len(frozenset().union(*(one.readers for one in seen))),
            "leaks": sum(len(one.leaks) for one in seen),
            "first_leaks": [leak for one in seen for leak in one.leaks][:_NAMED],
            "short_answers": sum(len(one.short) for one in seen),
            "errors": sorted({error for one in seen for error in one.errors})[:_NAMED],
            "worker": worker,
            "failed_jobs": jobs,
        },
        events=(Event("release", "fleet", began_ns),),
    )


def _expected(database: Database, subject: TenantLeak) -> dict[str, int]:
    """How many rows each tenant has, as the owner sees it."""
    with psycopg.connect(database.admin_dsn, application_name="rig-storm") as connection:
        rows = execute(connection, f"{_KEY}.read_sql", subject.read_sql)
    counts = Counter(str(row[0]) for row in rows)
    if len(counts) < 2:
        raise ConfigError(
            f"{_KEY}: read_sql finds rows of {len(counts)} tenants; prepare must make those of two at least"
        )
    return dict(counts)


def _try_to_read(database: Database, subject: TenantLeak, tenant: str) -> None:
    """One request of a tenant; ConfigError where it fails. Nothing of it stays."""
    with psycopg.connect(database.runtime_dsn, application_name="rig-service") as connection:
        execute(connection, f"{_KEY}.set_tenant_sql", subject.set_tenant_sql, {"tenant": tenant})
        execute(connection, f"{_KEY}.read_sql", subject.read_sql)
        connection.rollback()


# --- the fleet's part -------------------------------------------------------------------------------------------


def _be_service(number: int, plan: _Plan, barrier: Barrier) -> _Seen:
    """A fleet's work: a small pool, more threads than connections, tenants and nobody in turn."""
    callers = [*plan.expected, _NOBODY]
    leaks: list[str] = []
    short: list[str] = []
    errors: list[str] = []
    readers: set[str] = set()
    turns = [callers[(number + turn) % len(callers)] for turn in range(max(_ROUNDS, len(callers)))]
    with ConnectionPool(
        plan.runtime_dsn, min_size=_POOL, max_size=_POOL, open=True, kwargs={"application_name": "rig-service"}
    ) as pool:
        pool.wait()
        lock = threading.Lock()

        def request(caller: str) -> None:
            try:
                visible = _visible(pool, plan, caller)
            except psycopg.Error as error:
                with lock:
                    errors.append(f"{type(error).__name__}: {error}".splitlines()[0])
                return
            strangers = {tenant: count for tenant, count in visible.items() if tenant != caller}
            with lock:
                readers.add(caller)
                if strangers:
                    leaks.append(f"{caller or 'nobody'} saw {strangers}")
                if caller != _NOBODY and visible[caller] < plan.expected[caller]:
                    short.append(f"{caller} saw {visible[caller]} of its {plan.expected[caller]} rows")

        barrier()
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(request, turns))
    tenants = frozenset(readers) - {_NOBODY}
    return _Seen(len(turns), turns.count(_NOBODY), tenants, tuple(leaks), tuple(short), tuple(errors))


def _visible(pool: ConnectionPool, plan: _Plan, caller: str) -> Counter[str]:
    """One request: a transaction, entered as a tenant or as nobody; the rows that it sees, by tenant.

    Whom the server refuses the read sees nothing, which is all that is asked of nobody: a policy on
    ``current_setting('…')::uuid`` raises where no tenant is set. That the server was not there is an error of anybody.
    """
    try:
        with pool.connection() as connection:
            if caller != _NOBODY:
                connection.execute(plan.set_tenant_sql.encode(), {"tenant": caller})
            return Counter(str(row[0]) for row in connection.execute(plan.read_sql.encode()))
    except psycopg.Error as error:
        if caller != _NOBODY or isinstance(error, psycopg.OperationalError):
            raise
        return Counter()


# --- the worker's part ------------------------------------------------------------------------------------------


def _tamper(database: Database, subject: TenantLeak, tenants: Sequence[str]) -> dict[str, Any]:
    """Try every way to change ingested rows in the worker's context; what the table says to it.

    Whatever the server raises is its way to refuse. ConfigError for a statement that could never change anything.
    """
    before = _digest(database, subject)
    refused = 0
    with psycopg.connect(database.runtime_dsn, application_name="rig-worker") as connection:
        for tenant in tenants:
            for statement in subject.tamper_sql:
                execute(connection, f"{_KEY}.worker_context_sql", subject.worker_context_sql or "", {"tenant": tenant})
                try:
                    connection.execute(statement.encode())
                    connection.commit()
                except psycopg.Error as error:
                    if mistaken(error):  # taken for a refusal it would prove a guard that is not there
                        raise ConfigError(f"profile key {_KEY}.tamper_sql failed: {first_line(error)}") from None
                    connection.rollback()
                    refused += 1
    tries = len(tenants) * len(subject.tamper_sql)
    return {"tries": tries, "refused": refused, "changed": _digest(database, subject) != before}


def _digest(database: Database, subject: TenantLeak) -> Any:
    statement = sql.SQL("SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {} t")
    table = sql.Identifier(*subject.ingested_table.split("."))
    with psycopg.connect(database.admin_dsn, application_name="rig-storm") as connection:
        return execute(connection, f"{_KEY}.ingested_table", statement.format(table).as_string(connection))


def _failing_jobs(
    environment: StormEnvironment,
    order: StormOptions,
    subject: TenantLeak,
    database: Database,
    environ: dict[str, str],
    tenants: Sequence[str],
) -> dict[str, Any]:
    """Give the worker jobs that fail; how many of them are found among its dead letters, whole."""
    if subject.enqueue_sql is None or subject.dead_letters_sql is None:
        raise ConfigError(f"{_KEY}.worker needs enqueue_sql and dead_letters_sql beside it")
    made = Counter((tenants[n % len(tenants)], str(uuid.uuid4())) for n in range(_FAILING_JOBS))
    with psycopg.connect(database.admin_dsn, application_name="rig-storm") as connection:
        for tenant, correlation in made:
            job = {"tenant": tenant, "correlation": correlation}
            execute(connection, f"{_KEY}.enqueue_sql", subject.enqueue_sql, job)
    prepare(environment.command(subject.worker or (), f"{_KEY}.worker", order.without), environ, f"{_KEY}.worker")
    with psycopg.connect(database.admin_dsn, application_name="rig-storm") as connection:
        rows = execute(connection, f"{_KEY}.dead_letters_sql", subject.dead_letters_sql, columns=2)
    found = Counter((str(tenant), str(correlation)) for tenant, correlation in rows)
    return {"made": made.total(), "found": (made & found).total(), "others": (found - made).total()}
