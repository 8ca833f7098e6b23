"""Defects of the schema that weaken isolation, durability or privacy and change no answer: row-level security, its
policies, the service's role, how a table is stored, and a column that should not be.

The service works as before, so nothing but the catalog and a look with the service's own role shows them. Not for
anything that a real service should do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from stub_server.service.config import Config
from stub_server.service.switches import ServiceDefect

_STATEMENTS: Mapping[ServiceDefect, LiteralString] = {
    ServiceDefect.ROW_SECURITY_OFF: "ALTER TABLE {dead} DISABLE ROW LEVEL SECURITY",
    ServiceDefect.ROW_SECURITY_NOT_FORCED: "ALTER TABLE {dead} NO FORCE ROW LEVEL SECURITY",
    ServiceDefect.OPEN_POLICY: "CREATE POLICY everybody ON {canonical} USING (true)",
    ServiceDefect.ROLE_OWNS_TABLE: "ALTER TABLE {dead} OWNER TO {role}",
    ServiceDefect.ROLE_BYPASSES: "ALTER ROLE {role} BYPASSRLS",
    ServiceDefect.UNLOGGED_TABLE: "ALTER TABLE {canonical} SET UNLOGGED",
    ServiceDefect.PERSONAL_COLUMN_FILLED: "ALTER TABLE {dead} ADD COLUMN IF NOT EXISTS email text DEFAULT 'somebody'",
}
UNSECURED = frozenset(_STATEMENTS) - {ServiceDefect.UNLOGGED_TABLE, ServiceDefect.PERSONAL_COLUMN_FILLED}
"""With these the service is ready although its rows are not protected."""


def unsecure(
    connection: psycopg.Connection, config: Config, runtime_role: str, defects: Collection[ServiceDefect]
) -> None:
    """Weaken the finished schema as these defects say."""
    schema, tables = config.database.schema_name, config.tables
    for defect in sorted(_STATEMENTS.keys() & set(defects)):
        connection.execute(
            sql.SQL(_STATEMENTS[defect]).format(
                canonical=sql.Identifier(schema, tables.canonical.name),
                dead=sql.Identifier(schema, tables.dead.name),
                role=sql.Identifier(runtime_role),
            )
        )
