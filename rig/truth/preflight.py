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
from rig.profile import Profile, Truth
from rig.requests.targeter import Targeter
from rig.truth.canaries import Search
from rig.truth.expected import RequestIndex
from rig.truth.reconcile import Baseline
from rig.truth.session import in_words, open_plainly
from rig.truth.tables import EventTables, Table, event_tables, text_tables

_KEYS_PER_QUESTION = 50_000
_OWN_SPELLING = (
    "give it as that column prints it: tenants.fixed.id, or the tenant_id that tenants.provision_sql returns"
)


def preflight(
    connection: Connection[Any],
    profile: Profile,
    targeter: Targeter,
    scenarios: Sequence[Scenario],
    tenants: Sequence[Tenant],
    runtime_dsn: str | None,
) -> Baseline:
    """Raise ConfigError, Unavailable or EvidenceError where the truth could not be trusted; else count existing rows.

    ``runtime_dsn`` None: it is not known how the target connects, so its role is not checked.
    """
    require_primary(connection, profile.truth)
    tables = event_tables(connection, profile.truth)
    require_full_view(connection, tables)
    notes = open_tables(connection, tables)
    if runtime_dsn is not None:
        require_bound_runtime(connection, tables, runtime_dsn)
    truth = profile.truth
    _require_spelling(connection, tables.canonical, truth.canonical.tenant, tenants)
    _require_spelling(connection, tables.dead, truth.dead.tenant if truth.dead else None, tenants)
    _require_unused_keys(connection, tables, targeter, scenarios)
    canonical = _count(connection, tables.canonical, tables.canonical_tenant, tenants)
    dead = _count(connection, tables.dead, tables.dead_tenant, tenants)
    rows = Baseline(canonical, dead)
    kept = [tenant for tenant in tenants if not rows.fresh(tenant)]
    duplicated = _count_duplicate_keys(connection, tables, kept)
    if duplicated:
        count = sum(duplicated.values())
        notes = (*notes, f"{count} keys had more than one canonical row before the run; they do not count for this run")
    personal: dict[str, dict[str, int]] = {}
    if kept:
        spared = profile.personal_data.columns
        search = Search(tables, profile.personal_keys, RequestIndex(targeter, ()), kept, rows, spared)
        personal = search.count_older(connection)
    return replace(rows, notes=notes, duplicated=duplicated, personal=personal)


def require_primary(connection: Connection[Any], truth: Truth) -> None:
    """ConfigError where the truth DSN names a standby: what it has not replayed yet would be called lost."""
    row = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if row and row[0]:
        raise ConfigError(f"${truth.dsn_env} names a standby in recovery, whose rows come late; name the primary")


def require_full_view(connection: Connection[Any], tables: EventTables) -> None:
    """ConfigError unless this role sees every row of every table that holds text."""
    role = _role(connection)[0]
    for table in (tables.canonical, tables.dead, *text_tables(connection, tables.truth.schemas)):
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


def open_tables(connection: Connection[Any], tables: EventTables) -> tuple[str, ...]:
    """Notes about event tables without row-level security."""
    rows = connection.execute(
        "SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY(%s) AND NOT relrowsecurity",
        [[tables.canonical.oid, tables.dead.oid]],
    )
    open_oids = {oid for (oid,) in rows}
    return tuple(
        f"row-level security is not enabled on {table}"
        for table in (tables.canonical, tables.dead)
        if table.oid and table.oid in open_oids
    )


def require_bound_runtime(connection: Connection[Any], tables: EventTables, runtime_dsn: str) -> None:
    """ConfigError unless row-level security binds the target's role.

    Where no event table has row-level security there is nothing to bypass, and the two roles may be one.
    """
    variable = tables.truth.runtime_dsn_env
    try:
        with open_plainly(runtime_dsn) as runtime:
            role, all_seeing = _role(runtime)
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"${variable} is not a PostgreSQL connection string: {in_words(error)}") from None
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database of ${variable} cannot be reached: {in_words(error)}") from None
    if not _secured(connection, tables):
        return
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
        [[tables.canonical.oid, tables.dead.oid], role],
    ).fetchone()
    if owned is not None:
        raise ConfigError(
            f"the target's role {role!r} (${variable}) owns {owned[0]}, which row-level security does not bind; "
            f"run ALTER TABLE {owned[0]} FORCE ROW LEVEL SECURITY, or let another role own it"
        )


def _secured(connection: Connection[Any], tables: EventTables) -> bool:
    """Whether an event table has row-level security."""
    rows = connection.execute(
        "SELECT FROM pg_catalog.pg_class WHERE oid = ANY(%s) AND relrowsecurity",
        [[tables.canonical.oid, tables.dead.oid]],
    )
    return bool(rows.fetchall())


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
    if column is None or not table.oid:
        return
    ((kind,),) = connection.execute(
        "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
        " WHERE attrelid = %s AND attname = %s",
        [table.oid, column],
    ).fetchall()
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
    canonical_key = tables.canonical.columns[tables.truth.canonical.key].word
    identities = _identities(targeter, scenarios)
    while batch := list(islice(identities, _KEYS_PER_QUESTION)):
        keys = [key for key, _ in batch]
        tokens = [correlation for _, correlation in batch] if tables.by_correlation else keys
        for table, column, values in (
            (tables.canonical, canonical_key, keys),
            (tables.dead, tables.dead_identity, tokens),
        ):
            query = sql.SQL("SELECT {column} FROM {table} WHERE {column} = ANY({values}::text[]) LIMIT 1")
            found = connection.execute(
                query.format(column=column, table=table.sql, values=sql.Literal(values))
            ).fetchone()
            if found is not None:
                raise EvidenceError(
                    f"{table} already holds {found[0]}, which this run has yet to send: run id "
                    f"{targeter.run.run_id!r} was used before; start a new run, which makes a new id"
                )


def _identities(targeter: Targeter, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str]]:
    for scenario in scenarios:
        targets = targeter.bind(scenario)
        for seq in range(scenario.count):
            for expected in targets.expect_all(seq):
                yield expected.key, expected.correlation


def _count(
    connection: Connection[Any], table: Table, tenant: sql.Composable, tenants: Sequence[Tenant]
) -> dict[str, int]:
    query = sql.SQL("SELECT {column}, count(*) FROM {table} WHERE {column} = ANY({ids}::text[]) GROUP BY {column}")
    rows = connection.execute(
        query.format(column=tenant, table=table.sql, ids=sql.Literal([tenant.id for tenant in tenants]))
    )
    return dict.fromkeys((tenant.id for tenant in tenants), 0) | dict(rows.fetchall())


def _count_duplicate_keys(
    connection: Connection[Any], tables: EventTables, tenants: Sequence[Tenant]
) -> dict[str, int]:
    """Keys with several canonical rows, by tenant id."""
    if not tenants:
        return {}
    truth, columns = tables.truth.canonical, tables.canonical.columns
    query = sql.SQL(
        """
        SELECT tenant_id, count(*) FROM (
            SELECT {tenant} AS tenant_id FROM {table} WHERE {tenant} = ANY({ids}::text[]) AND {key} IS NOT NULL
            GROUP BY {tenant}, {key} HAVING count(*) > 1
        ) duplicated GROUP BY tenant_id
        """
    ).format(
        tenant=tables.canonical_tenant,
        key=columns[truth.key].word,
        table=tables.canonical.sql,
        ids=sql.Literal([tenant.id for tenant in tenants]),
    )
    return dict(connection.execute(query).fetchall())
