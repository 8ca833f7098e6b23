"""The target's tables as its catalog describes them, found by the profile's names, with any characters in them.

Flow: ``event_tables`` resolves the two tables of a profile, ``text_tables`` everything that can hold a canary; both
give ``Table`` values, whose names reach SQL only as quoted identifiers. Not for reading rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, sql

from rig.errors import ConfigError
from rig.profile import CanonicalTable, DeadTable, Truth
from rig.requests.canary import Canary
from rig.truth.session import in_words

_, _DIGITS, _ = Canary(0).tokens


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``type`` is the name of its type, or of the base type where it is a domain.

    ``searched``: it can hold a canary, because it holds text, network addresses, or numbers with as many digits as a
    canary. Shorter numbers (bigint, money, numeric(12,2)) cannot be one, and floating point keeps too few digits to
    recognise one, so these are not searched.
    """

    name: str
    type: str
    holds_text: bool
    searched: bool

    @property
    def text(self) -> sql.Composable:
        """SQL that gives the value as text; of bytea, the readable bytes."""
        identifier = sql.Identifier(self.name)
        template = "pg_catalog.encode({}, 'escape')" if self.type == "bytea" else "{}::text"
        return sql.SQL(template).format(identifier)

    @property
    def word(self) -> sql.Composable:
        """SQL that gives the value as text which compares byte by byte, in any collation of the target."""
        return sql.SQL('({} COLLATE "C")').format(self.text)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. ``readable``: this role may select from it; ``filtered``: row-level security hides rows."""

    oid: int
    schema: str
    name: str
    columns: Mapping[str, Column]
    readable: bool
    filtered: bool
    relation: sql.Composable | None = None
    """What is read from in place of a table; its ``oid`` is 0 then."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @property
    def sql(self) -> sql.Composable:
        """The qualified name, quoted, or the statement that stands for the table."""
        return self.relation or sql.Identifier(self.schema, self.name)

    @property
    def text_columns(self) -> list[Column]:
        """The columns whose text can hold a canary."""
        return [column for column in self.columns.values() if column.searched]


NO_TABLE = Table(0, "", "no table", {}, True, False, sql.SQL("(SELECT WHERE false) AS rig_nothing"))
"""Stands for a table that a profile leaves out: it has no row."""


@dataclass(frozen=True, slots=True)
class EventTables:
    """The two tables that hold the truth, and SQL to read from them."""

    canonical: Table
    dead: Table
    truth: Truth

    @property
    def canonical_tenant(self) -> sql.Composable:
        """SQL for the tenant's id in the canonical table; empty where there are no tenants."""
        return _word(self.canonical, self.truth.canonical.tenant)

    @property
    def dead_tenant(self) -> sql.Composable:
        """SQL for the tenant's id in the table of dead letters; empty where there are no tenants."""
        return _word(self.dead, self.truth.dead.tenant if self.truth.dead else None)

    @property
    def by_correlation(self) -> bool:
        """Whether a dead letter names its request by the correlation id; else by the key, or not at all."""
        return self.truth.dead is not None and self.truth.dead.match in ("correlation", "payload-correlation")

    @property
    def may_be_nameless(self) -> bool:
        """Whether a dead letter may name no request."""
        return self.truth.dead is not None and self.truth.dead.match not in ("key", "correlation")

    @property
    def dead_identity(self) -> sql.Composable:
        """SQL for what identifies the request in a dead letter; NULL where nothing does."""
        dead = self.truth.dead
        if dead is None or dead.match == "count" or dead.column is None:
            return sql.SQL("NULL::text")
        column = self.dead.columns[dead.column]
        if dead.path is None or not dead.match.startswith("payload"):
            return column.word
        at = "{column} #>> {path}::text[]"
        if column.type not in ("json", "jsonb"):
            # A text column may hold text that is not JSON (a truncated body), which must give NULL and no error.
            at = "CASE WHEN {column} IS JSON THEN {column}::json #>> {path}::text[] END"
        path = sql.Literal(dead.path.split("."))
        return sql.SQL(f'(({at}) COLLATE "C")').format(column=sql.Identifier(column.name), path=path)


def event_tables(connection: Connection[Any], truth: Truth) -> EventTables:
    """The tables of a profile; ConfigError names the profile key, the table or column, and what to do."""
    missing = _missing_schemas(connection, truth.schemas)
    if missing:
        raise ConfigError(
            f"profile key truth.schemas: the truth database has no schema {missing[0]!r}; "
            "correct the name, or point the truth DSN at the right database"
        )
    canonical = _rows_of(connection, truth.canonical, truth.schemas, "truth.canonical")
    for key in ("tenant", "key", "correlation", "channel"):
        _require_column(canonical, getattr(truth.canonical, key), f"truth.canonical.{key}")
    if truth.dead is None:
        return EventTables(canonical, NO_TABLE, truth)
    dead = _rows_of(connection, truth.dead, truth.schemas, "truth.dead")
    for key in ("tenant", "column"):
        _require_column(dead, getattr(truth.dead, key), f"truth.dead.{key}")
    if truth.dead.match.startswith("payload") and truth.dead.column is not None:
        _require_json(connection, dead, dead.columns[truth.dead.column])
    return EventTables(canonical, dead, truth)


def _rows_of(
    connection: Connection[Any], rows: CanonicalTable | DeadTable, schemas: Sequence[str], profile_key: str
) -> Table:
    if rows.sql is not None:
        return _result_of(connection, rows.sql, f"{profile_key}.sql")
    return _event_table(connection, rows.table or "", schemas, f"{profile_key}.table")


def _result_of(connection: Connection[Any], statement: str, profile_key: str) -> Table:
    """The result of a statement as a table; ConfigError where it is no single SELECT that runs."""
    # The statement comes from the profile, which belongs to whoever owns the target.
    text = sql.SQL(statement.strip().rstrip(";"))
    relation = sql.Composed([sql.SQL("("), text, sql.SQL("\n) AS rig_result")])
    query = sql.Composed([sql.SQL("SELECT * FROM "), relation, sql.SQL(" LIMIT 0")])
    try:
        described = connection.execute(query).description or ()
    except psycopg.Error as error:
        raise ConfigError(
            f"profile key {profile_key}: {in_words(error)}; give one SELECT, with the schema before each table "
            "(public.events)"
        ) from None
    names = [(column.name, column.type_code) for column in described]
    if len({name for name, _ in names}) != len(names):
        raise ConfigError(f"profile key {profile_key}: two of its columns have the same name; name each by AS")
    types = dict(
        connection.execute(
            "SELECT oid, typname::text FROM pg_catalog.pg_type WHERE oid = ANY(%s)", [[kind for _, kind in names]]
        ).fetchall()
    )
    columns = {name: Column(name, types.get(kind, ""), holds_text=True, searched=True) for name, kind in names}
    return Table(0, "", profile_key, columns, readable=True, filtered=False, relation=relation)


def _word(table: Table, column: str | None) -> sql.Composable:
    return sql.SQL("(''::text COLLATE \"C\")") if column is None else table.columns[column].word


def text_tables(connection: Connection[Any], schemas: Sequence[str]) -> list[Table]:
    """Every table of the schemas that has a column to be searched; partitions instead of their parents."""
    oids = connection.execute(
        """
        SELECT c.oid FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_class root ON root.oid = coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)
        JOIN pg_catalog.pg_namespace own ON own.oid = c.relnamespace
        JOIN pg_catalog.pg_namespace parent ON parent.oid = root.relnamespace
        WHERE c.relkind IN ('r', 'm') AND (own.nspname = ANY(%(schemas)s) OR parent.nspname = ANY(%(schemas)s))
        ORDER BY c.oid
        """,
        {"schemas": list(schemas)},
    ).fetchall()
    tables = [_table(connection, oid) for (oid,) in oids]
    return [table for table in tables if table.text_columns]


def _missing_schemas(connection: Connection[Any], schemas: Sequence[str]) -> list[str]:
    rows = connection.execute(
        "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = ANY(%s)", [list(schemas)]
    )
    there = {name for (name,) in rows}
    return [schema for schema in schemas if schema not in there]


def _event_table(connection: Connection[Any], name: str, schemas: Sequence[str], profile_key: str) -> Table:
    # First the whole name in each schema, because a dot may be part of it.
    wanted = [(schema, name) for schema in schemas]
    wanted += [(name[:at], name[at + 1 :]) for at, letter in enumerate(name) if letter == "."]
    row = connection.execute(
        """
        SELECT c.oid FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (schema, name, place)
        JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY place LIMIT 1
        """,
        [[schema for schema, _ in wanted], [table for _, table in wanted]],
    ).fetchone()
    if row is None:
        raise ConfigError(
            f"profile key {profile_key}: the truth database has no table {name!r} in {', '.join(schemas)}; "
            "correct the name (schema.table where it lies elsewhere), or run the target's migrations first"
        )
    return _table(connection, row[0])


def _table(connection: Connection[Any], oid: int) -> Table:
    row = connection.execute(
        """
        SELECT n.nspname::text, c.relname::text, pg_catalog.row_security_active(c.oid),
            pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
        """,
        [oid],
    ).fetchone()
    if row is None:
        raise ConfigError("a table of the target vanished while the catalog was read; is a migration running?")
    schema, name, filtered, readable = row
    # Text is everything but numbers, times, enums and the like; an array counts as its elements do. The precision of a
    # numeric is in its modifier, which is -1 for a domain, as for a numeric without precision.
    columns = connection.execute(
        """
        SELECT a.attname::text, base.typname::text,
            element.typcategory IN ('S', 'U', 'C') AND element.typname NOT IN ('uuid', 'pg_lsn', 'txid_snapshot'),
            element.typcategory = 'I' OR element.typname = 'numeric'
                AND (a.atttypmod = -1 OR (a.atttypmod - 4) >> 16 >= %(digits)s)
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_type base ON base.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
        JOIN pg_catalog.pg_type element
            ON element.oid = CASE WHEN base.typcategory = 'A' THEN base.typelem ELSE base.oid END
        WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        """,
        {"oid": oid, "digits": len(_DIGITS)},
    )
    described = {column: Column(column, kind, text, text or besides) for column, kind, text, besides in columns}
    return Table(oid, schema, name, described, readable, filtered)


def _require_column(table: Table, column: str | None, profile_key: str) -> None:
    if column is not None and column not in table.columns:
        known = ", ".join(table.columns)
        raise ConfigError(f"profile key {profile_key}: table {table} has no column {column!r}; it has: {known}")


def _require_json(connection: Connection[Any], table: Table, column: Column) -> None:
    if column.type in ("json", "jsonb"):
        return
    if not column.holds_text or column.type == "bytea":
        remedy = "name a json, jsonb or text column, or choose another truth.dead.match"
    elif connection.info.server_version < 160000:
        remedy = "a path into a text column needs PostgreSQL 16; choose another truth.dead.match"
    else:
        return
    raise ConfigError(
        f"profile key truth.dead.column: {table}.{column.name} is of type {column.type}, where truth.dead.path "
        f"cannot be followed; {remedy}"
    )
