"""Which tables and columns a database has, as its catalog says.

``event_tables`` resolves the two tables of a profile, ``text_tables`` everything that can hold a canary; both give
``rig.truth.tables.Table``. ``read_catalog`` gives the mere names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.pq import DiagnosticField, ExecStatus

from rig.errors import ConfigError
from rig.profile import CanonicalTable, DeadTable, Truth
from rig.requests.canary import Canary
from rig.truth.session import in_words
from rig.truth.tables import Column, EventTables, Table

_, _DIGITS, _ = Canary(0).tokens

Catalog = Mapping[tuple[str, str], list[str]]
"""The columns of each table or view by its schema and name."""

_COLUMNS = """
SELECT n.nspname::text, c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
GROUP BY 1, 2 ORDER BY 1, 2
"""

_VIEWS = """
SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v'
AND (n.nspname || '.' || c.relname = ANY(%s) OR c.relname = ANY(%s) AND n.nspname = ANY(%s)) LIMIT 1
"""


def read_catalog(connection: Connection[Any]) -> Catalog:
    """All of them but the server's own."""
    return {(schema, table): columns for schema, table, columns in connection.execute(_COLUMNS).fetchall()}


def find_table(catalog: Catalog, name: str, schemas: list[str]) -> list[str] | None:
    """The columns of a table, which is named as in a profile; None where there is none."""
    return next((catalog[each] for each in _readings(name, schemas) if each in catalog), None)


def _readings(name: str, schemas: Sequence[str]) -> list[tuple[str, str]]:
    """Schema and table that a name may mean: first the whole name in each schema, because a dot may be part of it."""
    names = [(schema, name) for schema in schemas]
    return names + [(name[:at], name[at + 1 :]) for at, letter in enumerate(name) if letter == "."]


def event_tables(connection: Connection[Any], truth: Truth) -> EventTables:
    """The tables of a profile; ConfigError names the profile key, the table or column, and what to do."""
    missing = _missing_schemas(connection, truth.schemas)
    if missing:
        raise ConfigError(
            f"profile key truth.schemas: the truth database has no schema {missing[0]!r}; "
            "correct the name, or point the truth DSN at the right database"
        )
    use_schemas(connection, truth)
    canonical = _source(connection, truth, truth.canonical, "truth.canonical")
    for key in ("tenant", "key", "correlation", "channel"):
        _require_column(canonical, getattr(truth.canonical, key), f"truth.canonical.{key}")
    if truth.dead is None:
        return _with_archives(connection, EventTables(canonical, None, truth))
    dead = _source(connection, truth, truth.dead, "truth.dead")
    if dead.oid and dead.oid == canonical.oid:
        raise ConfigError(
            f"profile key truth.dead.table: {dead} is the table of truth.canonical, too, and each row would be both; "
            "tell them apart by truth.canonical.sql and truth.dead.sql, each with its WHERE, or take [truth.dead] out"
        )
    for key in ("tenant", "column"):
        _require_column(dead, getattr(truth.dead, key), f"truth.dead.{key}")
    if truth.dead.match.startswith("payload") and truth.dead.column is not None:
        _require_json(connection, dead, dead.columns[truth.dead.column])
    return _with_archives(connection, EventTables(canonical, dead, truth))


def _with_archives(connection: Connection[Any], tables: EventTables) -> EventTables:
    """The same with the tables of ``truth.moves_to``: each belongs to the event table whose named columns it has."""
    truth = tables.truth
    for name in truth.volatile:
        if not any(name in (column, f"{table.name}.{column}") for table in tables.all for column in table.columns):
            known = "; ".join(f"{table}: {', '.join(table.columns)}" for table in tables.all)
            raise ConfigError(f"profile key truth.volatile: no event table has a column {name!r}; they have: {known}")
    for name in truth.moves_to:
        archive = _event_table(connection, name, truth.schemas, "truth.moves_to")
        if truth.canonical.names <= archive.columns.keys():
            tables = replace(tables, canonical=_add_archive(tables.canonical, archive))
        elif tables.dead is not None and truth.dead is not None and truth.dead.names <= archive.columns.keys():
            tables = replace(tables, dead=_add_archive(tables.dead, archive))
        else:
            missing = ", ".join(sorted(truth.canonical.names - archive.columns.keys()))
            raise ConfigError(
                f"profile key truth.moves_to: {archive} lacks columns that the profile names of {tables.canonical}: "
                f"{missing}; make a view that has them, under the same names, and name it"
            )
    return tables


def _add_archive(table: Table, archive: Table) -> Table:
    has_xmin = table.has_xmin and archive.has_xmin
    return replace(table, archives=(*table.archives, archive), has_xmin=has_xmin)


def use_schemas(connection: Connection[Any], truth: Truth) -> None:
    """Let statements of a profile, and functions that its views call, name tables without their schema.

    It holds for as long as the connection lasts.
    """
    sections = (truth.canonical, truth.dead) if truth.dead is not None else (truth.canonical,)
    names = [*truth.moves_to, *(section.table for section in sections if section.table)]
    schemas = list(truth.schemas)
    if any(section.sql for section in sections) or connection.execute(_VIEWS, [names, names, schemas]).fetchone():
        connection.execute(
            "SELECT pg_catalog.set_config('search_path', pg_catalog.string_agg(pg_catalog.quote_ident(name), ', '),"
            " false) FROM unnest(%s::text[]) AS name",
            [schemas],
        )


def find_columns(connection: Connection[Any], names: Sequence[str], truth: Truth) -> frozenset[tuple[int, str]]:
    """Each ``table.column`` of ``personal_data.columns`` as (oid, column), also of the partitions of its table."""
    found = set()
    for table, column in named_columns(connection, names, truth, "personal_data.columns"):
        tree = connection.execute("SELECT relid::oid FROM pg_catalog.pg_partition_tree(%s::oid)", [table.oid])
        found |= {(oid, column) for oid in (table.oid, *(oid for (oid,) in tree))}
    return frozenset(found)


def named_columns(
    connection: Connection[Any], names: Sequence[str], truth: Truth, profile_key: str
) -> list[tuple[Table, str]]:
    """The table and the column of each ``table.column``; ConfigError names the ``profile_key`` of a wrong one."""
    found = []
    for name in names:
        table_name, _, column = name.rpartition(".")
        table = _event_table(connection, table_name, truth.schemas, profile_key)
        _require_column(table, column, profile_key)
        found.append((table, column))
    return found


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


def plain_tables(connection: Connection[Any]) -> list[Table]:
    """Every table of the database that this role may read; of a partitioned table or of heirs, the parent alone."""
    oids = connection.execute(
        """
        SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = c.oid)
        ORDER BY n.nspname, c.relname
        """
    ).fetchall()
    return [table for (oid,) in oids if (table := _table(connection, oid)).readable and table.columns]


def comment_tables(connection: Connection[Any]) -> list[Table]:
    """The catalogs of comments on the objects of this database and of the server."""
    rows = connection.execute(
        "SELECT oid FROM pg_catalog.pg_class WHERE relname IN ('pg_description', 'pg_shdescription')"
        " AND relnamespace = 'pg_catalog'::regnamespace ORDER BY oid"
    )
    return [_table(connection, oid) for (oid,) in rows.fetchall()]


def _source(connection: Connection[Any], truth: Truth, section: CanonicalTable | DeadTable, profile_key: str) -> Table:
    if section.sql is not None:
        return _result_of(connection, section.sql, profile_key)
    return _event_table(connection, section.table or "", truth.schemas, f"{profile_key}.table")


def _result_of(connection: Connection[Any], statement: str, profile_key: str) -> Table:
    """The result of a profile's statement; ConfigError where it is not one SELECT that only reads."""
    statement = statement.strip().removesuffix(";")
    where = f"profile key {profile_key}.sql"
    # Prepared alone, because only then the server refuses a second statement.
    prepared = connection.pgconn.prepare(b"", statement.encode())
    if prepared.status != ExecStatus.COMMAND_OK:
        said = (prepared.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace")
        raise ConfigError(f"{where} failed: {said}; give one SELECT, without parameters")
    described = connection.pgconn.describe_prepared(b"")
    if described.nparams:
        raise ConfigError(f"{where} has a parameter (like $1): write the value itself")
    names = [(described.fname(at) or b"").decode(errors="replace") for at in range(described.nfields)]
    if len(set(names)) != len(names):
        raise ConfigError(f"{where} gives two columns of one name ({', '.join(names)}): name each with AS")
    schema, _, name = f"{profile_key}.sql".rpartition(".")
    table = Table(0, schema, name, {}, readable=True, filtered=False, statement=statement)
    try:
        connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(table.sql))
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise ConfigError(f"{where} failed as a sub-select: {in_words(error)}; give one SELECT that reads") from None
    types = [described.ftype(at) for at in range(described.nfields)]
    modifiers = [described.fmod(at) for at in range(described.nfields)]
    return replace(table, columns=_describe(connection, names, types, modifiers))


def _missing_schemas(connection: Connection[Any], schemas: Sequence[str]) -> list[str]:
    rows = connection.execute(
        "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = ANY(%s)", [list(schemas)]
    )
    there = {name for (name,) in rows}
    return [schema for schema in schemas if schema not in there]


def _event_table(connection: Connection[Any], name: str, schemas: Sequence[str], profile_key: str) -> Table:
    wanted = _readings(name, schemas)
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
            pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
            c.relkind IN ('r', 'm', 'p') AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_class part LEFT JOIN pg_catalog.pg_am am ON am.oid = part.relam
                WHERE part.relkind <> 'p' AND am.amname IS DISTINCT FROM 'heap' AND part.oid IN (
                    SELECT c.oid UNION ALL SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)
                    UNION ALL SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = c.oid
                )
            ),
            ARRAY(SELECT relid::oid FROM pg_catalog.pg_partition_ancestors(c.oid))
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
        """,
        [oid],
    ).fetchone()
    if row is None:
        raise ConfigError("a table of the target vanished while the catalog was read; is a migration running?")
    schema, name, filtered, readable, has_xmin, ancestors = row
    columns = connection.execute(
        "SELECT attname::text, atttypid::oid, atttypmod FROM pg_catalog.pg_attribute"
        " WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    ).fetchall()
    described = _describe(connection, *zip(*columns, strict=True)) if columns else {}
    return Table(oid, schema, name, described, readable, filtered, None, has_xmin, frozenset(ancestors))


def _describe(
    connection: Connection[Any], names: Sequence[str], types: Sequence[int], modifiers: Sequence[int]
) -> dict[str, Column]:
    # Text is everything but numbers, times, enums and the like; an array counts as its elements do. The precision of a
    # numeric is in its modifier, which is -1 for a domain, as for a numeric without precision.
    columns = connection.execute(
        """
        WITH RECURSIVE step AS (
            SELECT oid AS domain, oid, typtype, typbasetype FROM pg_catalog.pg_type
            UNION ALL
            SELECT step.domain, t.oid, t.typtype, t.typbasetype
            FROM step JOIN pg_catalog.pg_type t ON t.oid = step.typbasetype WHERE step.typtype = 'd'
        ), bottom AS (SELECT domain, oid FROM step WHERE typtype <> 'd')
        SELECT a.name, base.typname::text,
            element.typcategory IN ('S', 'U', 'C') AND element.typname NOT IN ('uuid', 'pg_lsn', 'txid_snapshot'),
            element.typcategory = 'I' OR element.typname = 'numeric'
                AND (a.modifier = -1 OR (a.modifier - 4) >> 16 >= %(digits)s)
                OR element.typcategory = 'R' AND element.typname !~ '^(int[48]|date|tsz?|tstz)(multi)?range$',
            pg_catalog.format_type(a.type, a.modifier),
            element.typcategory NOT IN ('B', 'D', 'T', 'E')
        FROM unnest(%(names)s::text[], %(types)s::oid[], %(modifiers)s::int[])
            WITH ORDINALITY AS a (name, type, modifier, place)
        JOIN pg_catalog.pg_type t ON t.oid = a.type
        JOIN bottom ON bottom.domain = t.oid
        JOIN pg_catalog.pg_type base ON base.oid = bottom.oid
        JOIN bottom below
            ON below.domain = CASE WHEN base.typcategory = 'A' AND base.typelem <> 0 THEN base.typelem ELSE base.oid END
        JOIN pg_catalog.pg_type element ON element.oid = below.oid
        ORDER BY a.place
        """,
        {"names": list(names), "types": list(types), "modifiers": list(modifiers), "digits": len(_DIGITS)},
    )
    return {
        name: Column(name, kind, text, text or besides, declared, personal)
        for name, kind, text, besides, declared, personal in columns
    }


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
