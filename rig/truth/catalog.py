"""Which tables and columns a database has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import Connection

Catalog = Mapping[tuple[str, str], list[str]]
"""The columns of each table or view by its schema and name."""

_COLUMNS = """
SELECT n.nspname::text, c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
GROUP BY 1, 2 ORDER BY 1, 2
"""


def read_catalog(connection: Connection[Any]) -> Catalog:
    """All of them but the server's own."""
    return {(schema, table): columns for schema, table, columns in connection.execute(_COLUMNS).fetchall()}


def find_table(catalog: Catalog, name: str, schemas: list[str]) -> list[str] | None:
    """The columns of a table, which is named as in a profile; None where there is none."""
    names = [(schema, name) for schema in schemas]
    names += [(name[:at], name[at + 1 :]) for at, letter in enumerate(name) if letter == "."]
    return next((catalog[each] for each in names if each in catalog), None)
