"""Tries, as the target's own role, whether row-level security keeps the tenants apart; reads how the tables are stored.

Flow: ``read_isolation`` reads the catalog (``rig.truth.row_security``), and tries what must not be possible for each
event table: in one transaction that is rolled back, with short limits on locks and statements. Tables with triggers or
rules of their own are only read: what those do may reach beyond the transaction. To be called after the load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import Connection, sql

from rig.evidence.isolation import Durability, IsolationReport, IsolationTrial
from rig.model import Tenant
from rig.truth.catalog import use_schemas
from rig.truth.row_security import find_bypasses, read_security, tables_behind
from rig.truth.session import in_words, open_plainly
from rig.truth.tables import EventTables, Table

_LIMITS = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s'"
_MOST = 1000
"""So many rows are counted at most; one is too many."""
_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes")


def read_isolation(
    connection: Connection[Any], tables: EventTables, runtime_dsn: str, setting: str, tenants: Sequence[Tenant]
) -> IsolationReport:
    """What the catalog says of table and role, and what the role can do. Without ``tenants`` nothing is tried."""
    try:
        with open_plainly(runtime_dsn) as runtime:
            ((role,),) = runtime.execute("SELECT current_user::text").fetchall()
            trials = [
                trial
                for table, column in _with_tenant_columns(tables)
                for trial in _try_table(connection, runtime, tables, table, column, setting, tenants)
            ]
    except psycopg.Error as error:
        return IsolationReport(setting, untried=f"it could not be tried as the target's role: {in_words(error)}")
    blind = [trial.untried for trial in trials if trial.untried.startswith(_BLIND)]
    return IsolationReport(
        setting,
        role,
        find_bypasses(connection, role),
        tuple(read_security(connection, tables, role, setting)),
        tuple(trials),
        "; ".join(blind),
    )


def read_durability(connection: Connection[Any], tables: EventTables, runtime_dsn: str | None) -> Durability:
    """How the event tables and their partitions are stored, and with which settings the target commits."""
    behind = [oid for table in tables.all for oid in tables_behind(connection, table)]
    rows = connection.execute(
        """
        WITH RECURSIVE below AS (
            SELECT unnest(%s::oid[]) AS oid
            UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below ON i.inhparent = below.oid
        )
        SELECT oid::regclass::text, relpersistence <> 'p' FROM pg_catalog.pg_class
        WHERE oid IN (SELECT oid FROM below) AND relkind = 'r' ORDER BY 1
        """,
        [behind],
    ).fetchall()
    unlogged = tuple(name for name, is_unlogged in rows if is_unlogged)
    return Durability(len(rows), unlogged, _settings(connection, runtime_dsn))


def _settings(connection: Connection[Any], runtime_dsn: str | None) -> dict[str, str]:
    """As the target's sessions have them, where it is known how it connects: a role may have settings of its own."""
    query = f"SELECT {', '.join(f'current_setting({name!r})' for name in _SETTINGS)}".encode()
    try:
        if runtime_dsn is None:
            (row,) = connection.execute(query).fetchall()
        else:
            with open_plainly(runtime_dsn) as runtime:
                (row,) = runtime.execute(query).fetchall()
    except psycopg.OperationalError:
        return {}
    return dict(zip(_SETTINGS, row, strict=True))


def _with_tenant_columns(tables: EventTables) -> Iterator[tuple[Table, str]]:
    truth = tables.truth
    if truth.canonical.tenant is not None:
        yield tables.canonical, truth.canonical.tenant
    if tables.dead is not None and truth.dead is not None and truth.dead.tenant is not None:
        yield tables.dead, truth.dead.tenant


_BLIND = "with the setting of a tenant not even its own rows are visible"


def _try_table(
    connection: Connection[Any],
    runtime: Connection[Any],
    tables: EventTables,
    table: Table,
    column: str,
    setting: str,
    tenants: Sequence[Tenant],
) -> list[IsolationTrial]:
    """Try it with the tenant that has most rows there as the other one."""
    if not tenants:
        return []
    other = _find_tenant_with_most_rows(connection, table, column, tenants)
    if other is None:
        return [IsolationTrial(str(table), "rows of another tenant", untried="no tenant of the run has a row there")]
    own = next((tenant.id for tenant in tenants if tenant.id != other), None)
    attempt = _Attempt(runtime, table, column, setting)
    with runtime.transaction(force_rollback=True):
        runtime.execute(_LIMITS.encode())
        if table.statement is not None:
            use_schemas(runtime, tables.truth)
        unset = attempt.look("rows are visible without a setting", None)
        sees_own = attempt.look("its own rows", other, [other])
        if not sees_own.rows and not sees_own.refused:
            return [IsolationTrial(str(table), "rows of another tenant", untried=f"{_BLIND} ({setting})")]
        if own is None:
            return [IsolationTrial(str(table), "rows of another tenant", untried="the run has one tenant")]
        others = [tenant.id for tenant in tenants if tenant.id != own]
        trials = [unset, attempt.look("rows of another tenant are visible", own, others)]
        if why := _why_not_written(connection, table):
            trials.append(IsolationTrial(str(table), "rows of another tenant are written", untried=why))
        else:
            trials += attempt.write(own, other)
        return [*trials, attempt.look("rows are visible after the setting was reset", "")]


class _Attempt:
    """Statements of the runtime role in one table, each in a savepoint that is rolled back."""

    def __init__(self, runtime: Connection[Any], table: Table, column: str, setting: str) -> None:
        self._runtime, self._table, self._setting = runtime, table, setting
        self._names = {"table": table.sql, "tenant": sql.Identifier(column)}

    def look(self, what: str, tenant: str | None, of: Sequence[str] | None = None) -> IsolationTrial:
        """Count the rows of these tenants (None: all) that are visible to one (None: the setting is not touched)."""
        where: sql.Composable = sql.SQL("")
        if of is not None:
            where = sql.SQL("WHERE {tenant}::text = ANY({of}::text[])").format(of=sql.Literal(list(of)), **self._names)
        query = sql.SQL("SELECT count(*) FROM (SELECT FROM {table} {where} LIMIT {most}) few")
        return self._try(what, tenant, query.format(where=where, most=sql.Literal(_MOST), **self._names))

    def write(self, own: str, other: str) -> list[IsolationTrial]:
        """Try to write rows of another tenant, one at most with each statement."""
        parts = {**self._names, "own": sql.Literal(own), "other": sql.Literal(other)}
        one = sql.SQL("ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {tenant} = {whose} LIMIT 1))")
        own_row, others_row = (one.format(whose=parts[whose], **self._names) for whose in ("own", "other"))
        return [
            self._try(what, own, sql.SQL(text).format(own_row=own_row, others_row=others_row, **parts))
            for what, text in (
                ("a row can be inserted for another tenant", "INSERT INTO {table} ({tenant}) VALUES ({other})"),
                ("a row can be moved to another tenant", "UPDATE {table} SET {tenant} = {other} WHERE {own_row}"),
                ("a row of another tenant can be changed", "UPDATE {table} SET {tenant} = {own} WHERE {others_row}"),
                ("a row of another tenant can be deleted", "DELETE FROM {table} WHERE {others_row}"),
            )
        ]

    def _try(self, what: str, tenant: str | None, statement: sql.Composed) -> IsolationTrial:
        name = str(self._table)
        try:
            with self._runtime.transaction(force_rollback=True):
                if tenant is not None:
                    self._runtime.execute("SELECT pg_catalog.set_config(%s, %s, true)", [self._setting, tenant])
                cursor = self._runtime.execute(statement)
                return IsolationTrial(name, what, cursor.fetchall()[0][0] if cursor.description else cursor.rowcount)
        except psycopg.errors.InsufficientPrivilege as error:
            return IsolationTrial(name, what, refused=in_words(error))
        except psycopg.IntegrityError as error:
            # Policies come before constraints: row-level security let this row pass.
            diagnosis = error.diag
            if diagnosis.table_name and (diagnosis.column_name or diagnosis.constraint_name):
                return IsolationTrial(name, what, 1)
            return IsolationTrial(name, what, untried=in_words(error))
        except psycopg.DatabaseError as error:
            if self._runtime.closed:
                raise
            if tenant or isinstance(error, psycopg.OperationalError):
                return IsolationTrial(name, what, untried=in_words(error))
            # A policy that casts a setting which is not there ends in an error, and shows no row.
            return IsolationTrial(name, what, refused=in_words(error))


def _find_tenant_with_most_rows(
    connection: Connection[Any], table: Table, column: str, tenants: Sequence[Tenant]
) -> str | None:
    word = table.columns[column].word
    query = sql.SQL(
        "SELECT {word}, count(*) FROM {table} WHERE {word} = ANY({ids}::text[]) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
    ).format(word=word, table=table.sql, ids=sql.Literal([tenant.id for tenant in tenants]))
    row = connection.execute(query).fetchone()
    return row[0] if row is not None else None


def _why_not_written(connection: Connection[Any], table: Table) -> str:
    """Why no row is written there on trial; empty where one is."""
    row = connection.execute(
        """
        SELECT c.relkind IN ('r', 'p'), EXISTS (
            SELECT FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid IN (
                SELECT c.oid UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))
            OR EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid)
        FROM pg_catalog.pg_class c WHERE c.oid = %s
        """,
        [table.oid],
    ).fetchone()
    if row is None or not row[0]:
        return "it is no table"
    return "it has triggers or rules, which may act beyond the transaction" if row[1] else ""
