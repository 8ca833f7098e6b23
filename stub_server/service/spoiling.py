"""Defects that come five seconds after an event was stored: its row is deleted, or changed.

A function of the schema does it, with the rights of the tables' owner. The first serving process calls it again and
again. Not for anything that a real service should do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from stub_server.service.config import Config
from stub_server.service.switches import ServiceDefect

FUNCTION = "spoil_rows"
_NOBODY: LiteralString = "'00000000-0000-4000-8000-000000000000'"
_STATEMENTS: Mapping[ServiceDefect, LiteralString] = {
    ServiceDefect.ROWS_DELETED_LATER: "DELETE FROM {table} WHERE {is_old}",
    ServiceDefect.PAYLOAD_OVERWRITTEN_LATER: (
        "UPDATE {table} SET {payload} = jsonb_build_object() WHERE {is_old} AND {payload} <> jsonb_build_object()"
    ),
    ServiceDefect.TENANT_CHANGED_LATER: (
        f"UPDATE {{table}} SET {{tenant_id}} = {_NOBODY} WHERE {{is_old}} AND {{tenant_id}} <> {_NOBODY}"
    ),
}
SPOILING = frozenset(_STATEMENTS)


def make_spoiler(connection: psycopg.Connection, config: Config, defects: Collection[ServiceDefect]) -> None:
    """Make the function of these defects."""
    names, schema = config.tables.canonical.model_dump(), config.database.schema_name
    table = sql.Identifier(schema, names.pop("name"))
    columns = {place: sql.Identifier(name) for place, name in names.items()}
    is_old = sql.SQL("{} < now() - interval '5 seconds'").format(columns["received_at"])
    for defect in sorted(SPOILING & set(defects)):
        body = sql.SQL(_STATEMENTS[defect]).format(table=table, is_old=is_old, **columns)
        connection.execute(
            sql.SQL("CREATE OR REPLACE FUNCTION {} () RETURNS void LANGUAGE sql SECURITY DEFINER AS {}").format(
                sql.Identifier(schema, FUNCTION), sql.Literal(body.as_string(connection))
            )
        )
