"""The database of the service: tables, forced row-level security, functions and grants, with the configured names.

Flow: ``migrate(config, owner_dsn, runtime_dsn, defects)`` is one transaction under an advisory lock. Any number of
migrators may run at once, and a second run changes nothing.

Each request is one call of one of these functions: a single round trip and a whole transaction, in which the tenant
setting has transaction scope. The functions run with the caller's rights, so row-level security holds inside them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from stub_server.service import failing
from stub_server.service.altering import alter_rows
from stub_server.service.bottlenecks import set_tally
from stub_server.service.config import Config, DatabaseNames
from stub_server.service.copying import copy_rows
from stub_server.service.directory import normalise_alias
from stub_server.service.errors import ServiceConfigError, ServiceUnavailable
from stub_server.service.spoiling import make_spoiler
from stub_server.service.switches import ServiceDefect
from stub_server.service.unsecuring import unsecure

_LOCK_KEY = 0x5EED_5CEA  # any number that all migrators share
CONNECT_TIMEOUT_S = 10
_INGEST_PARAMETERS: LiteralString = "text, text, text, text, text, bigint, text, timestamptz, text, jsonb"
_DEAD_LETTER_PARAMETERS: LiteralString = "text, text, text, text, text, text, jsonb"


def migrate(config: Config, owner_dsn: str, runtime_dsn: str, defects: Collection[ServiceDefect] = ()) -> None:
    """Bring the database to the configured schema.

    ServiceConfigError for unfit roles, ServiceUnavailable without a database.
    """
    runtime_role = _runtime_role(runtime_dsn)
    try:
        with psycopg.connect(owner_dsn, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            _create_tables(connection, config)
            _deduplicate(connection, config, defects)
            _force_row_security(connection, config)
            _create_functions(connection, config, defects)
            copy_rows(connection, config, defects)
            alter_rows(connection, config, defects)
            make_spoiler(connection, config, defects)
            set_tally(connection, config, wanted=ServiceDefect.ROW_LOCK_CONVOY in defects)
            _grant(connection, config, runtime_role)
            _seed_taxonomy(connection, config)
            unsecure(connection, config, runtime_role, defects)
    except psycopg.OperationalError as error:
        raise ServiceUnavailable(f"database of MIGRATION_DATABASE_URL cannot be used: {_first_line(error)}") from None
    except psycopg.Error as error:
        raise ServiceConfigError(f"migration failed ({error.sqlstate}): {_first_line(error)}") from None


def _runtime_role(runtime_dsn: str) -> str:
    try:
        with psycopg.connect(runtime_dsn, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            row = connection.execute(
                "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        raise ServiceUnavailable(f"database of DATABASE_URL cannot be used: {_first_line(error)}") from None
    assert row is not None  # a session's own role always exists
    role, bypasses = row
    if bypasses:
        raise ServiceConfigError(
            f"role {role!r} of DATABASE_URL can bypass row-level security; "
            "give the service a role with NOSUPERUSER NOBYPASSRLS"
        )
    return str(role)


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def qualify(database: DatabaseNames, name: str) -> sql.Identifier:
    """A name in the configured schema, quoted."""
    return sql.Identifier(database.schema_name, name)


def _columns(**names: str) -> dict[str, sql.Composable]:
    return {place: sql.Identifier(name) for place, name in names.items()}


def _create_tables(connection: psycopg.Connection, config: Config) -> None:
    database, tables = config.database, config.tables
    statements: list[tuple[LiteralString, dict[str, str]]] = [
        (
            """CREATE TABLE IF NOT EXISTS {table} (
                {tenant_id} uuid PRIMARY KEY,
                {label} text NOT NULL,
                {api_key_sha256} text NOT NULL UNIQUE,
                {webhook_secrets} jsonb NOT NULL)""",
            tables.tenants.model_dump(),
        ),
        (
            """CREATE TABLE IF NOT EXISTS {table} (
                {event_id} uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                {tenant_id} uuid NOT NULL,
                {idempotency_key} text NOT NULL,
                {correlation_id} text NOT NULL,
                {route} text NOT NULL,
                {external_id} text NOT NULL,
                {amount_minor} bigint NOT NULL,
                {currency} text NOT NULL,
                {occurred_at} timestamptz NOT NULL,
                {channel} text NOT NULL,
                {payload} jsonb NOT NULL,
                {received_at} timestamptz NOT NULL DEFAULT now())""",
            tables.canonical.model_dump(),
        ),
        (
            """CREATE TABLE IF NOT EXISTS {table} (
                {dead_id} uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                {tenant_id} uuid NOT NULL,
                {idempotency_key} text,
                {correlation_id} text NOT NULL,
                {route} text NOT NULL,
                {reason} text NOT NULL,
                {detail} text,
                {payload} jsonb,
                {received_at} timestamptz NOT NULL DEFAULT now())""",
            tables.dead.model_dump(),
        ),
        (
            "CREATE TABLE IF NOT EXISTS {table} ({alias} text PRIMARY KEY, {channel} text NOT NULL)",
            tables.taxonomy.model_dump(),
        ),
    ]
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(database.schema_name)))
    for text, names in statements:
        table = qualify(database, names.pop("name"))
        connection.execute(sql.SQL(text).format(table=table, **_columns(**names)))


_SCOPES: Mapping[ServiceDefect | None, tuple[str, LiteralString]] = {
    None: ("once_per_tenant", "{tenant_id}, {idempotency_key}"),
    ServiceDefect.GLOBAL_DEDUPLICATION: ("once_for_all", "{idempotency_key}"),
    ServiceDefect.PREFIX_DEDUPLICATION: ("once_per_prefix", "{tenant_id}, left({idempotency_key}, 32)"),
    ServiceDefect.CASE_DEDUPLICATION: ("once_per_spelling", "{tenant_id}, lower({idempotency_key})"),
    ServiceDefect.CONTENT_DEDUPLICATION: ("once_per_content", "{tenant_id}, {amount_minor}, {occurred_at}"),
}
"""What is unique, with the ending of the index's name. All but the first are defects."""
_UNINDEXED = frozenset({ServiceDefect.NO_DEDUPLICATION, *failing.UNINDEXED})
_LOOK: LiteralString = """
            IF $3 NOT LIKE {own_retry}
                AND EXISTS (SELECT FROM {table} WHERE {tenant_id} = $1::uuid AND {idempotency_key} = $2) THEN
                RETURN false;
            END IF;
            PERFORM pg_sleep({dwell_s});"""
"""What the function does instead of an index under two of the defects: it looks, and dwells before it inserts."""
_DWELL_S = {ServiceDefect.LOOKS_BEFORE_INSERT: 0.03, ServiceDefect.STORES_AGAIN_AT_RETRY: 0.0}


def _deduplicate(connection: psycopg.Connection, config: Config, defects: Collection[ServiceDefect]) -> None:
    """Leave exactly one unique index, or none under that defect."""
    table, stem = config.tables.canonical, config.tables.canonical.name[:40]
    wanted = next((defect for defect in defects if defect in _SCOPES), None)
    for defect, (ending, columns) in _SCOPES.items():
        if defect is not wanted or not _UNINDEXED.isdisjoint(defects):
            name = qualify(config.database, f"{stem}_{ending}")
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(name))
            continue
        text = sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({})").format(
            sql.Identifier(f"{stem}_{ending}"),
            qualify(config.database, table.name),
            sql.SQL(columns).format(**_columns(**table.model_dump())),
        )
        connection.execute(text)


def _force_row_security(connection: psycopg.Connection, config: Config) -> None:
    for names in (config.tables.canonical, config.tables.dead):
        table = qualify(config.database, names.name)
        policy = sql.Identifier(f"{names.name[:50]}_tenant")
        # After its transaction a local setting is '', not NULL. Neither may be cast or match.
        own_rows = sql.SQL("{} = NULLIF(current_setting({}, true), '')::uuid").format(
            sql.Identifier(names.tenant_id), sql.Literal(config.database.tenant_setting)
        )
        connection.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(table))
        connection.execute(sql.SQL("ALTER TABLE {} FORCE ROW LEVEL SECURITY").format(table))
        connection.execute(sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, table))
        connection.execute(
            sql.SQL("CREATE POLICY {} ON {} USING ({rows}) WITH CHECK ({rows})").format(policy, table, rows=own_rows)
        )


def _create_functions(connection: psycopg.Connection, config: Config, defects: Collection[ServiceDefect]) -> None:
    database, tables = config.database, config.tables
    canonical = tables.canonical.model_dump()
    dead = tables.dead.model_dump()
    look: sql.Composable = sql.SQL("")
    if dwell_s := [_DWELL_S[defect] for defect in defects if defect in _DWELL_S]:
        look = sql.SQL(_LOOK).format(
            table=qualify(database, tables.canonical.name),
            tenant_id=sql.Identifier(tables.canonical.tenant_id),
            idempotency_key=sql.Identifier(tables.canonical.idempotency_key),
            own_retry=sql.Literal(f"{failing.OWN_RETRY}%"),
            dwell_s=sql.Literal(dwell_s[0]),
        )
    # No conflict target: event ids are random, so it is the unique index of the key that decides.
    ingest = sql.SQL(
        """BEGIN
            PERFORM set_config({setting}, $1, true);{look}
            INSERT INTO {table} ({tenant_id}, {idempotency_key}, {correlation_id}, {route}, {external_id},
                                 {amount_minor}, {currency}, {occurred_at}, {channel}, {payload})
            VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT DO NOTHING;
            RETURN FOUND;
        END"""
    ).format(
        look=look,
        setting=sql.Literal(database.tenant_setting),
        table=qualify(database, canonical.pop("name")),
        **_columns(**canonical),
    )
    record = sql.SQL(
        """BEGIN
            PERFORM set_config({setting}, $1, true);
            INSERT INTO {table} ({tenant_id}, {idempotency_key}, {correlation_id}, {route},
                                 {reason}, {detail}, {payload})
            VALUES ($1::uuid, $2, $3, $4, $5, $6, $7);
        END"""
    ).format(
        setting=sql.Literal(database.tenant_setting), table=qualify(database, dead.pop("name")), **_columns(**dead)
    )
    for name, signature, result, body in (
        (database.ingest_function, _INGEST_PARAMETERS, "boolean", ingest),
        (database.dead_letter_function, _DEAD_LETTER_PARAMETERS, "void", record),
    ):
        connection.execute(
            sql.SQL("CREATE OR REPLACE FUNCTION {} ({}) RETURNS {} LANGUAGE plpgsql AS {}").format(
                qualify(database, name), sql.SQL(signature), sql.SQL(result), sql.Literal(body.as_string(connection))
            )
        )


def _grant(connection: psycopg.Connection, config: Config, runtime_role: str) -> None:
    """Only what serving needs: look up, insert, see its own rows; no update, no delete."""
    database, tables = config.database, config.tables
    role = sql.Identifier(runtime_role)
    grants: list[tuple[LiteralString, sql.Composable]] = [
        ("GRANT USAGE ON SCHEMA {} TO {}", sql.Identifier(database.schema_name)),
        ("GRANT SELECT ON {} TO {}", qualify(database, tables.tenants.name)),
        ("GRANT SELECT ON {} TO {}", qualify(database, tables.taxonomy.name)),
        ("GRANT SELECT, INSERT ON {} TO {}", qualify(database, tables.canonical.name)),
        ("GRANT SELECT, INSERT ON {} TO {}", qualify(database, tables.dead.name)),
        ("GRANT EXECUTE ON FUNCTION {} TO {}", qualify(database, database.ingest_function)),
        ("GRANT EXECUTE ON FUNCTION {} TO {}", qualify(database, database.dead_letter_function)),
    ]
    for text, thing in grants:
        connection.execute(sql.SQL(text).format(thing, role))


def _seed_taxonomy(connection: psycopg.Connection, config: Config) -> None:
    names = config.tables.taxonomy
    insert = sql.SQL(
        """INSERT INTO {table} ({alias}, {channel}) VALUES (%s, %s)
           ON CONFLICT ({alias}) DO UPDATE SET {channel} = EXCLUDED.{channel}"""
    ).format(table=qualify(config.database, names.name), **_columns(alias=names.alias, channel=names.channel))
    pairs = sorted(
        {
            normalise_alias(alias): channel for channel, aliases in config.channels.aliases.items() for alias in aliases
        }.items()
    )
    with connection.cursor() as cursor:
        cursor.executemany(insert, pairs)
