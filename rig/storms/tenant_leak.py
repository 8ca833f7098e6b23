"""tenant-leak: tenants take turns over a small pool; nobody may see another's rows, and a worker may change none.

The owner's view of the same query shows how many rows each tenant has. A request of a tenant must see all of them and
no other. Between them, on the same connections, come requests of no tenant, which must see none. Then the worker:
statements that change ingested rows run in its context and must leave the table as it was, and jobs that fail must lie
among its dead letters, with tenant and correlation id.
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
from psycopg_pool import ConnectionPool

from rig.checks.race_tests.tenant_leak import FailedJobFigures, TamperFigures, TenantFigures
from rig.errors import ConfigError
from rig.evidence.storm import StormReport
from rig.profile.storms import TenantLeak
from rig.storms.command import prepare
from rig.storms.fleet import Barrier
from rig.storms.race_test import PreparedDatabase, RaceTest
from rig.storms.statements import error_text, execute, first_line, is_mistake, table_digest
from rig.target.postgres.connection import find_relation

PROCESSES = 4
_ROUNDS = 60
"""Least requests of each process: of the tenants and of nobody in turn, at least one of each."""
_POOL = 2
_THREADS = 4
_FAILING_JOBS = 5
_DEADLINE_S = 60.0
_SHOWN = 5
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class _Service:
    """What the members of the fleet do: ``expected`` is how many rows each tenant has."""

    runtime_dsn: str = field(repr=False)
    set_tenant_sql: str
    read_sql: str
    expected: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one process saw: requests, the tenants that could read, and who saw another's rows or too few of his own."""

    requests: int
    anonymous: int
    readers: frozenset[str]
    leaks: tuple[str, ...]
    short: tuple[str, ...]
    errors: tuple[str, ...]


def tenant_leak(race: RaceTest[TenantLeak]) -> StormReport:
    """Run the test.

    ConfigError where the database has rows of fewer than two tenants, or a statement of the profile cannot be run.
    """
    section = race.section
    with race.database("tenancy") as prepared:
        expected = _count_rows(race, prepared)
        tenants = tuple(expected)
        _try_to_read(race, prepared, tenants[0])
        service = _Service(prepared.runtime_dsn, section.set_tenant_sql, section.read_sql, expected)
        run = race.run_fleet(race.options.processes or PROCESSES, _serve, service, _DEADLINE_S)
        worker = _tamper(race, prepared, tenants) if section.worker_context_sql else None
        failed_jobs = _run_failing_jobs(race, prepared, tenants) if section.worker else None
    sights = run.results(_Sight)
    leaks = [leak for one in sights for leak in one.leaks]
    figures = TenantFigures(
        tenants=len(expected),
        connections=_POOL * len(run.members),
        requests=sum(one.requests for one in sights),
        requests_of_nobody=sum(one.anonymous for one in sights),
        tenants_that_read=len(frozenset().union(*(one.readers for one in sights))),
        leaks=len(leaks),
        first_leaks=leaks[:_SHOWN],
        short_answers=sum(len(one.short) for one in sights),
        errors=sorted({error for one in sights for error in one.errors})[:_SHOWN],
        worker=worker,
        failed_jobs=failed_jobs,
    )
    return race.report(run, figures, [{"leak": leak} for leak in leaks])


def _count_rows(race: RaceTest[TenantLeak], prepared: PreparedDatabase) -> dict[str, int]:
    """How many rows each tenant has, as the owner sees it."""
    with prepared.connect() as connection:
        counts = Counter(str(row[0]) for row in race.execute(connection, "read_sql"))
    if len(counts) < 2:
        raise ConfigError(
            f"profile key {race.key('read_sql')} finds rows of {len(counts)} tenants; "
            f"let {race.key('prepare')} make rows of two tenants at least"
        )
    return dict(counts)


def _try_to_read(race: RaceTest[TenantLeak], prepared: PreparedDatabase, tenant: str) -> None:
    """One request of a tenant; ConfigError where it fails. Nothing of it stays."""
    with psycopg.connect(prepared.runtime_dsn, application_name="rig-service") as connection:
        race.execute(connection, "set_tenant_sql", {"tenant": tenant})
        race.execute(connection, "read_sql")
        connection.rollback()


# --- the fleet's part -------------------------------------------------------------------------------------------


def _serve(number: int, service: _Service, barrier: Barrier) -> _Sight:
    """A fleet's work: a small pool, more threads than connections, tenants and nobody in turn."""
    callers = [*service.expected, _NOBODY]
    leaks: list[str] = []
    short: list[str] = []
    errors: list[str] = []
    readers: set[str] = set()
    turns = [callers[(number + turn) % len(callers)] for turn in range(max(_ROUNDS, len(callers)))]
    with ConnectionPool(
        service.runtime_dsn, min_size=_POOL, max_size=_POOL, open=True, kwargs={"application_name": "rig-service"}
    ) as pool:
        pool.wait()
        lock = threading.Lock()

        def request(caller: str) -> None:
            try:
                visible = _read_as(pool, service, caller)
            except psycopg.Error as error:
                with lock:
                    errors.append(error_text(error))
                return
            strangers = {tenant: count for tenant, count in visible.items() if tenant != caller}
            with lock:
                readers.add(caller)
                if strangers:
                    leaks.append(f"{caller or 'nobody'} saw {strangers}")
                if caller != _NOBODY and visible[caller] < service.expected[caller]:
                    short.append(f"{caller} saw {visible[caller]} of its {service.expected[caller]} rows")

        barrier()
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(request, turns))
    tenants = frozenset(readers) - {_NOBODY}
    return _Sight(len(turns), turns.count(_NOBODY), tenants, tuple(leaks), tuple(short), tuple(errors))


def _read_as(pool: ConnectionPool, service: _Service, caller: str) -> Counter[str]:
    """One request: a transaction of a tenant or of nobody; the rows that it sees, by tenant.

    A request of nobody that the server refuses sees nothing, as it must: a policy on ``current_setting('…')::uuid``
    raises where no tenant is set. That the server was not there is an error, whoever asks.
    """
    try:
        with pool.connection() as connection:
            if caller != _NOBODY:
                connection.execute(service.set_tenant_sql.encode(), {"tenant": caller})
            return Counter(str(row[0]) for row in connection.execute(service.read_sql.encode()))
    except psycopg.Error as error:
        if caller != _NOBODY or isinstance(error, psycopg.OperationalError):
            raise
        return Counter()


# --- the worker's part ------------------------------------------------------------------------------------------


def _tamper(race: RaceTest[TenantLeak], prepared: PreparedDatabase, tenants: Sequence[str]) -> TamperFigures:
    """Try every way to change ingested rows in the worker's context.

    Whatever error the server raises is its way to refuse. ConfigError for a statement that could never change anything.
    """
    refused = 0
    with prepared.connect() as owner:
        before = _digest(race, owner)
        effective = _count_effective(race, owner, tenants, before)
    with psycopg.connect(prepared.runtime_dsn, application_name="rig-worker") as connection:
        for tenant in tenants:
            for statement in race.section.tamper_sql:
                race.execute(connection, "worker_context_sql", {"tenant": tenant})
                try:
                    connection.execute(statement.encode())
                    connection.commit()
                except psycopg.Error as error:
                    if is_mistake(error):  # taken for a refusal it would prove a guard that is not there
                        message = f"profile key {race.key('tamper_sql')} failed: {first_line(error)}"
                        raise ConfigError(message) from None
                    connection.rollback()
                    refused += 1
    tries = len(tenants) * len(race.section.tamper_sql)
    with prepared.connect() as owner:
        return TamperFigures(tries, refused, _digest(race, owner) != before, effective)


def _count_effective(
    race: RaceTest[TenantLeak], owner: psycopg.Connection[Any], tenants: Sequence[str], before: Any
) -> int:
    """How many of the statements change rows as the owner, within the worker's context or without. Nothing stays.

    One that changes nothing even then shows nothing about the guard.
    """

    def changes(statement: str, tenant: str | None) -> bool:
        try:
            with owner.transaction(force_rollback=True):
                if tenant is not None:
                    race.execute(owner, "worker_context_sql", {"tenant": tenant})
                owner.execute(statement.encode())
                return bool(_digest(race, owner) != before)
        except (psycopg.Error, ConfigError):  # a guard that holds for the owner, too, or a context that is not for him
            return False

    contexts = (None, *tenants)
    return sum(any(changes(each, tenant) for tenant in contexts) for each in race.section.tamper_sql)


def _digest(race: RaceTest[TenantLeak], connection: psycopg.Connection[Any]) -> Any:
    table = find_relation(connection, race.section.ingested_table)
    return execute(connection, race.key("ingested_table"), table_digest(table).as_string(connection))


def _run_failing_jobs(
    race: RaceTest[TenantLeak], prepared: PreparedDatabase, tenants: Sequence[str]
) -> FailedJobFigures:
    """Give the worker jobs that fail, and look for them among its dead letters."""
    if race.section.enqueue_sql is None or race.section.dead_letters_sql is None:
        raise ConfigError(f"profile key {race.key('worker')} needs enqueue_sql and dead_letters_sql in its section")
    made = Counter((tenants[n % len(tenants)], str(uuid.uuid4())) for n in range(_FAILING_JOBS))
    with prepared.connect() as connection:
        before = _count_letters(race, connection)
        for tenant, correlation in made:
            race.execute(connection, "enqueue_sql", {"tenant": tenant, "correlation": correlation})
        prepare(race.command("worker"), prepared.environ, race.key("worker"))
        found = _count_letters(race, connection) - before
    return FailedJobFigures(made.total(), (made & found).total(), (found - made).total())


def _count_letters(race: RaceTest[TenantLeak], connection: psycopg.Connection[Any]) -> Counter[tuple[str, str]]:
    """The worker's dead letters, by tenant and correlation id."""
    rows = race.execute(connection, "dead_letters_sql", columns=2)
    return Counter((str(tenant), str(correlation)) for tenant, correlation in rows)
