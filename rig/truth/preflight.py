"""Checks before anything is sent that the database can be trusted as truth afterwards.

Flow: ``preflight`` checks the catalog, the roles and the tables, raises at the first thing that is wrong, and returns
the ``Baseline``. Errors name the profile key or environment variable, and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import psycopg
from psycopg import Connection, sql

from rig.errors import ConfigError, EvidenceError, Unavailable
from rig.model import Scenario, Tenant
from rig.profile import Truth
from rig.requests.content import ContentPlan
from rig.requests.targeter import Targeter
from rig.truth.canaries import Search
from rig.truth.catalog import event_tables, text_tables
from rig.truth.content import require_columns
from rig.truth.expected import RequestIndex, identities
from rig.truth.reconcile import Baseline
from rig.truth.row_security import find_secured, open_tables, tables_behind
from rig.truth.session import in_words, open_plainly
from rig.truth.tables import EventTables, Table, now_in_transactions

_KEYS_PER_QUESTION = 50_000
_KEYS_LOOKED_AT = 1_000
_CLOCK = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8"
_OWN_SPELLING = (
    "give it as that column prints it: tenants.fixed.id, or the tenant_id that tenants.provision_sql returns"
)


def preflight(
    connection: Connection[Any],
    truth: Truth,
    targeter: Targeter,
    scenarios: Sequence[Scenario],
    tenants: Sequence[Tenant],
    runtime_dsn: str | None,
    personal_keys: Sequence[str] = (),
    allowed: frozenset[tuple[int, str]] = frozenset(),
    *,
    keys_must_fit: bool = True,
) -> Baseline:
    """Raise ConfigError, Unavailable or EvidenceError where the truth could not be trusted; else count existing rows.

    ``runtime_dsn`` None: it is not known how the target connects, so its role is not checked. No event row may hold
    one of the ``personal_keys``, but in the columns of ``allowed`` (oid, column).
    """
    since, ((clock_s,),) = now_in_transactions(connection), connection.execute(_CLOCK).fetchall()
    tables, notes = require_sound_tables(connection, truth, runtime_dsn)
    require_columns(connection, tables, ContentPlan(targeter.profile, tenants))
    _require_spelling(connection, tables.canonical, truth.canonical.tenant, tenants)
    if tables.dead is not None and truth.dead is not None:
        _require_spelling(connection, tables.dead, truth.dead.tenant, tenants)
    _require_readable_keys(connection, tables)
    if keys_must_fit:
        _require_fitting_columns(connection, tables, targeter, scenarios)
    _require_unused_keys(connection, tables, targeter, scenarios)
    rows = _count_rows(connection, tables, tenants)
    kept = [tenant for tenant in tenants if tables.is_shared or not rows.fresh(tenant)]
    duplicated = {} if tables.is_shared else _count_duplicate_keys(connection, tables, kept)
    if duplicated:
        count = sum(duplicated.values())
        notes = (*notes, f"{count} keys had more than one canonical row before the run; they do not count for this run")
    personal: dict[str, dict[str, int]] = {}
    if kept:
        search = Search(tables, personal_keys, RequestIndex(targeter, ()), kept, rows, allowed)
        personal = search.count_older(connection)
    return replace(rows, notes=notes, duplicated=duplicated, personal=personal, since=since, clock_s=clock_s)


def require_sound_tables(
    connection: Connection[Any], truth: Truth, runtime_dsn: str | None
) -> tuple[EventTables, tuple[str, ...]]:
    """The event tables, which exist and are seen whole, and notes about row-level security; raises as ``preflight``."""
    tables = event_tables(connection, truth)
    require_full_view(connection, tables)
    notes = open_tables(connection, tables)
    if runtime_dsn is not None:
        notes += require_bound_runtime(connection, tables, runtime_dsn)
    return tables, notes


def _count_rows(connection: Connection[Any], tables: EventTables, tenants: Sequence[Tenant]) -> Baseline:
    """The rows of the tenants. In tables that others write to, only those that nothing tells from the run's."""
    empty = {tenant.id: 0 for tenant in tenants}
    if not tables.is_shared:
        canonical = _count(connection, tables.canonical.source, tables.canonical_tenant, tenants)
        dead = _count(connection, tables.dead_source, tables.dead_tenant, tenants) if tables.dead else empty
        return Baseline(canonical, dead)
    if not tables.may_be_nameless:
        return Baseline(empty, empty)
    query = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(tables.dead_source, tables.dead_identity)
    ((nameless,),) = connection.execute(query).fetchall()
    return Baseline(empty, dict.fromkeys(empty, nameless))


def _require_readable_keys(connection: Connection[Any], tables: EventTables) -> None:
    """ConfigError where the keys are bytes that are no text, so that no key would be found."""
    named = [(tables.canonical, "truth.canonical.key", tables.truth.canonical.key)]
    if tables.dead is not None and tables.truth.dead is not None and tables.truth.dead.match in ("key", "correlation"):
        named.append((tables.dead, "truth.dead.column", tables.truth.dead.column or ""))
    for table, profile_key, name in named:
        column = table.columns[name]
        if column.type != "bytea":
            continue
        query = sql.SQL("SELECT FROM (SELECT {text} AS key FROM {table} LIMIT {most}) few WHERE strpos(key, '\\') > 0")
        query_text = query.format(text=column.text, table=table.sql, most=sql.Literal(_KEYS_LOOKED_AT))
        if connection.execute(query_text).fetchone() is not None:
            raise ConfigError(
                f"profile key {profile_key}: {table}.{name} is of type bytea and holds bytes that are no text, so no "
                f"key can be found in it; name a column with the key as text, or write truth SQL that decodes it "
                "(truth.canonical.sql)"
            )


def _require_fitting_columns(
    connection: Connection[Any], tables: EventTables, targeter: Targeter, scenarios: Sequence[Scenario]
) -> None:
    for key, correlation in islice(identities(targeter, scenarios), 1):
        if unfit := next(find_unfit_columns(connection, tables, key, correlation), ""):
            raise ConfigError(
                f"profile key {unfit}; widen the column, name another one, or give the value as it was sent by a "
                "statement (truth.canonical.sql, truth.dead.sql)"
            )


def find_unfit_columns(connection: Connection[Any], tables: EventTables, key: str, correlation: str) -> Iterator[str]:
    """The columns of the profile that cannot hold a key, or a correlation id, as it is sent: no row would be found."""
    own, dead = tables.truth.canonical, tables.truth.dead
    named = [(tables.canonical, "truth.canonical.key", own.key, "key", key)]
    if own.correlation is not None:
        named.append((tables.canonical, "truth.canonical.correlation", own.correlation, "correlation id", correlation))
    if (
        tables.dead is not None
        and dead is not None
        and dead.column is not None
        and dead.match in ("key", "correlation")
    ):
        what, value = ("key", key) if dead.match == "key" else ("correlation id", correlation)
        named.append((tables.dead, "truth.dead.column", dead.column, what, value))
    for table, profile_key, name, what, value in named:
        column = table.columns[name]
        cast = sql.SQL("CAST({} AS {})").format(sql.Literal(value), sql.SQL(column.declared))
        try:
            ((held,),) = connection.execute(sql.SQL("SELECT {}").format(column.as_text(cast))).fetchall()
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            held = error.diag.message_primary or in_words(error)
        except psycopg.ProgrammingError:  # a type that this role may not use: the rows will show it
            continue
        if held != value:
            yield (
                f"{profile_key}: {table}.{name}, of type {column.declared}, cannot hold a {what} of the run, like "
                f"{value} ({len(value)} characters): {held!r}"
            )


def require_full_view(connection: Connection[Any], tables: EventTables) -> None:
    """ConfigError unless this role sees every row of every table that holds text, and the event tables when written."""
    role = _role(connection)[0]
    for table in (*tables.all, *text_tables(connection, tables.truth.schemas)):
        if not table.readable:
            raise ConfigError(
                f"the role {role!r} of ${tables.truth.dsn_env} may not read {table}; "
                f"grant it SELECT there and USAGE on the schema, or leave the schema out of truth.schemas"
            )
        if table.filtered:
            raise ConfigError(
                f"row-level security hides rows of {table} from the role {role!r} of ${tables.truth.dsn_env}; "
                "truth needs a superuser, a role with BYPASSRLS, or the owner of tables without FORCE"
            )
    for table in tables.all:
        _require_written_here(connection, tables.truth, table)


def _require_written_here(connection: Connection[Any], truth: Truth, table: Table) -> None:
    """ConfigError where this database does not see when the last row was written: the rest would be called lost."""
    rows = connection.execute(
        "SELECT c.relkind::text, n.nspname || '.' || c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY(%s) AND c.relkind IN ('f', 'm')",
        [[oid for each in (table, *table.archives) for oid in tables_behind(connection, each)]],
    )
    for kind, name in rows.fetchall():
        what = str(table) if name == str(table) else f"{table} reads {name}, which"
        if kind == "m":
            raise ConfigError(
                f"{what} is a materialised view: rows are in it only after a REFRESH; name the table that it is made "
                "from, or write truth SQL (truth.canonical.sql)"
            )
        if truth.arrival is None:
            raise ConfigError(
                f"{what} is a foreign table: the database of ${truth.dsn_env} does not see who writes to it; give the "
                "DSN of the database where its rows lie, or say in truth.arrival.within_s how long a row may take"
            )


def require_bound_runtime(connection: Connection[Any], tables: EventTables, runtime_dsn: str) -> tuple[str, ...]:
    """ConfigError unless the target's role is another one and row-level security binds it.

    Where no event table has row-level security, there is nothing to bypass: then a note. Where the profile promises it
    ([truth.isolation]), the gate ``isolation`` judges the role.
    """
    variable = tables.truth.runtime_dsn_env
    protected = find_secured(connection, [oid for table in tables.all for oid in tables_behind(connection, table)])
    try:
        with open_plainly(runtime_dsn) as runtime:
            role, all_seeing = _role(runtime)
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"${variable} is not a PostgreSQL connection string: {in_words(error)}") from None
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database of ${variable} cannot be reached: {in_words(error)}") from None
    if tables.truth.isolation is not None:
        return ()
    if not protected:
        free = "no event table has row-level security, so there is nothing to bypass"
        if role == _role(connection)[0]:
            return (f"both DSNs are of the role {role!r}: {free}",)
        return (f"the target's role {role!r} is a superuser or has BYPASSRLS: {free}",) if all_seeing else ()
    if role == _role(connection)[0]:
        raise ConfigError(
            f"${variable} and ${tables.truth.dsn_env} are the same role {role!r}; the target must connect as a role "
            "that row-level security binds, and the rig as another one that sees every row"
        )
    if all_seeing:
        raise ConfigError(
            f"the target's role {role!r} (${variable}) is a superuser or has BYPASSRLS, so that row-level security "
            "has no effect; give the target a role with NOSUPERUSER NOBYPASSRLS"
        )
    # Queried as the truth role, because the target's may not see the catalog of its own tables.
    owned = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c WHERE c.oid = ANY(%s) AND c.relrowsecurity"
        " AND NOT c.relforcerowsecurity AND pg_catalog.pg_has_role(%s, c.relowner, 'USAGE')",
        [protected, role],
    ).fetchone()
    if owned is not None:
        raise ConfigError(
            f"the target's role {role!r} (${variable}) owns {owned[0]}, which row-level security does not bind; "
            f"run ALTER TABLE {owned[0]} FORCE ROW LEVEL SECURITY, or let another role own it"
        )
    return ()


def _role(connection: Connection[Any]) -> tuple[str, bool]:
    """Name of the connection's role, and whether row-level security never binds it."""
    row = connection.execute(
        "SELECT rolname::text, rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user"
    ).fetchone()
    if row is None:
        raise ConfigError("the catalog does not know the connection's own role; is this PostgreSQL?")
    return row[0], row[1]


def _require_spelling(connection: Connection[Any], table: Table, column: str | None, tenants: Sequence[Tenant]) -> None:
    """ConfigError for an id that the column prints in another way: the tenant's rows would not be found by it."""
    if column is None:
        return
    kind = table.columns[column].declared
    for tenant in tenants:
        # PostgreSQL gives the name of the type, quoted where necessary.
        query = sql.SQL("SELECT CAST({} AS {})::text").format(sql.Literal(tenant.id), sql.SQL(kind))
        whose = f"tenant {tenant.name} has the id {tenant.id!r}"
        try:
            ((spelt,),) = connection.execute(query).fetchall()
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            said = error.diag.message_primary or in_words(error)
            raise ConfigError(
                f"{whose}, which is no value of {table}.{column}, of type {kind}: {said}; {_OWN_SPELLING}"
            ) from None
        if spelt != tenant.id:
            raise ConfigError(f"{whose}, which {table}.{column}, of type {kind}, spells {spelt!r}; {_OWN_SPELLING}")


def _require_unused_keys(
    connection: Connection[Any], tables: EventTables, targeter: Targeter, scenarios: Sequence[Scenario]
) -> None:
    """EvidenceError where rows with keys of this run exist already."""
    sources = [(tables.canonical, tables.canonical_key, False)]
    if tables.dead is not None:
        sources.append((tables.dead, tables.dead_identity, tables.is_matched_by_correlation))
    pending = identities(targeter, scenarios)
    while batch := list(islice(pending, _KEYS_PER_QUESTION)):
        for table, column, by_correlation in sources:
            values = [correlation if by_correlation else key for key, correlation in batch]
            query = sql.SQL("SELECT {column} FROM {table} WHERE {column} = ANY({values}::text[]) LIMIT 1")
            found = connection.execute(
                query.format(column=column, table=table.source, values=sql.Literal(values))
            ).fetchone()
            if found is not None:
                raise EvidenceError(
                    f"{table} already holds {found[0]}, which this run has yet to send: run id "
                    f"{targeter.run.run_id!r} was used before; start a new run, which makes a new id"
                )


def _count(
    connection: Connection[Any], source: sql.Composable, column: sql.Composable, tenants: Sequence[Tenant]
) -> dict[str, int]:
    query = sql.SQL("SELECT {column}, count(*) FROM {table} WHERE {column} = ANY({ids}::text[]) GROUP BY {column}")
    rows = connection.execute(
        query.format(column=column, table=source, ids=sql.Literal([tenant.id for tenant in tenants]))
    )
    return dict.fromkeys((tenant.id for tenant in tenants), 0) | dict(rows.fetchall())


def _count_duplicate_keys(
    connection: Connection[Any], tables: EventTables, tenants: Sequence[Tenant]
) -> dict[str, int]:
    """Keys with several canonical rows, by tenant id."""
    if not tenants:
        return {}
    query = sql.SQL(
        """
        SELECT tenant_id, count(*) FROM (
            SELECT {tenant} AS tenant_id FROM {table} WHERE {tenant} = ANY({ids}::text[]) AND {key} IS NOT NULL
            GROUP BY {tenant}, {key} HAVING count(*) > 1
        ) duplicated GROUP BY tenant_id
        """
    ).format(
        tenant=tables.canonical_tenant,
        key=tables.canonical_key,
        table=tables.canonical.source,
        ids=sql.Literal([tenant.id for tenant in tenants]),
    )
    return dict(connection.execute(query).fetchall())
