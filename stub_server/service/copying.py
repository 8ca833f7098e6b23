"""Defects of the schema that store an event once more, where nobody looks: triggers of the two event tables.

One row in ten is copied, with a key that nobody sent. Of 200 rows, as few as a proof has, some are then for certain
(but for one proof in a billion). The functions run with the rights of the tables' owner, which row-level security does
not bind. Not for anything that a real service should do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from stub_server.service.config import Config
from stub_server.service.switches import ServiceDefect

_ONE_IN = 10
_OWN: LiteralString = "NEW.{tenant_id}"
_UNKNOWN: LiteralString = "'00000000-0000-4000-8000-000000000000'"
_ANOTHER: LiteralString = (
    "(SELECT known.{own_id} FROM {tenants} known WHERE known.{own_id} <> NEW.{tenant_id} ORDER BY 1 LIMIT 1)"
)
_NEW_KEY: LiteralString = "md5(NEW.{idempotency_key})"
_OF_CANONICAL: Mapping[ServiceDefect, tuple[LiteralString, LiteralString]] = {
    ServiceDefect.COPY_OTHER_TENANT: (_ANOTHER, _NEW_KEY),
    ServiceDefect.COPY_UNKNOWN_TENANT: (_UNKNOWN, _NEW_KEY),
    ServiceDefect.COPY_NO_TENANT: ("NULL", _NEW_KEY),
    ServiceDefect.COPY_OTHER_KEY: (_OWN, "NEW.{idempotency_key} || '-copy'"),
}
"""(tenant, key) of the copy of a canonical row."""
_OF_DEAD = {ServiceDefect.DEAD_COPY_OTHER_TENANT: (_UNKNOWN, "NULL")}


def copy_rows(connection: psycopg.Connection, config: Config, defects: Collection[ServiceDefect]) -> None:
    """Make the triggers of these defects, and the columns nullable where a copy has no tenant."""
    tables = config.tables
    for kinds, names in ((_OF_CANONICAL, tables.canonical.model_dump()), (_OF_DEAD, tables.dead.model_dump())):
        for defect in sorted(kinds.keys() & set(defects)):
            _copy_each(connection, config, dict(names), *kinds[defect])


def _copy_each(
    connection: psycopg.Connection, config: Config, names: dict[str, str], tenant: LiteralString, key: LiteralString
) -> None:
    schema = config.database.schema_name
    table = sql.Identifier(schema, names.pop("name"))
    own = {"tenant_id": tenant, "idempotency_key": key}
    copied = [name for name in names if name not in ("event_id", "dead_id", "received_at", *own)]
    parts = {
        **{place: sql.Identifier(name) for place, name in names.items()},
        "own_id": sql.Identifier(config.tables.tenants.tenant_id),
        "tenants": sql.Identifier(schema, config.tables.tenants.name),
    }
    body = sql.SQL(
        """BEGIN
            INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING;
            RETURN NULL;
        END"""
    ).format(
        table=table,
        columns=sql.SQL(", ").join(parts[name] for name in (*own, *copied)),
        values=sql.SQL(", ").join(
            [
                *(sql.SQL(value).format(**parts) for value in own.values()),
                *(sql.SQL("NEW.{}").format(parts[name]) for name in copied),
            ]
        ),
    )
    function = sql.Identifier(schema, "copy_row")
    statements: list[sql.Composed] = [
        sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(table, parts["tenant_id"]),
        sql.SQL("CREATE OR REPLACE FUNCTION {} () RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}").format(
            function, sql.Literal(body.as_string(connection))
        ),
        sql.SQL(
            """CREATE OR REPLACE TRIGGER copy_row AFTER INSERT ON {table} FOR EACH ROW
            WHEN (pg_trigger_depth() = 0 AND hashtext(NEW.{correlation}) % {one_in} = 0)
            EXECUTE FUNCTION {function} ()"""
        ).format(table=table, correlation=parts["correlation_id"], one_in=sql.Literal(_ONE_IN), function=function),
    ]
    for statement in statements:
        connection.execute(statement)
