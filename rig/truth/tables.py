"""The target's tables as its catalog describes them, found by the profile's names, with any characters in them.

Flow: ``event_tables`` resolves the two tables of a profile, ``text_tables`` everything that can hold a canary; both
give ``Table`` values, whose names reach SQL only as quoted identifiers. Not for reading rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.pq import DiagnosticField, ExecStatus

from rig.errors import ConfigError
from rig.profile import CanonicalTable, DeadTable, Truth
from rig.requests.canary import Canary
from rig.truth.session import in_words

_, _DIGITS, _ = Canary(0).tokens
_NO_TENANT = sql.SQL("(''::text COLLATE \"C\")")
SOUND_JSON = (
    r"{column}::text !~ '(?<!\\)(\\\\)*(\\u0000|\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F])'"
)
"""JSON without an escape that PostgreSQL takes for no character: NUL, or half of a surrogate pair."""


_AS_TEXT: dict[str, LiteralString] = {
    "bytea": "pg_catalog.encode({}, 'escape')",
    "_bytea": "(SELECT string_agg(encode(part, 'escape'), ' ') FROM unnest({}) AS part)",
}


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
    declared: str = "text"
    """The type as PostgreSQL spells it in a cast."""
    may_be_personal: bool = True
    """False for truth values, times and enums, which can hold no personal data whatever their name."""

    @property
    def text(self) -> sql.Composable:
        """SQL that gives the value as text; of bytea, the readable bytes."""
        return self.as_text(sql.Identifier(self.name))

    def as_text(self, value: sql.Composable) -> sql.Composable:
        """The same of another name of the column."""
        return sql.SQL(_AS_TEXT.get(self.type, "{}::text")).format(value)

    @property
    def is_bytes(self) -> bool:
        """Whether its values come as bytes."""
        return self.type == "bytea"

    @property
    def value(self) -> sql.Composable:
        """SQL that gives what the column holds: bytes as they are, everything else as text."""
        return sql.Identifier(self.name) if self.is_bytes else self.text

    @property
    def word(self) -> sql.Composable:
        """SQL that gives the value as text which compares byte by byte, in any collation of the target."""
        return sql.SQL('(({}) COLLATE "C")').format(self.text)


@dataclass(frozen=True, slots=True)
class Table:
    """A table, a view, or the statement of a profile, which has no oid.

    ``readable``: this role may select from it; ``filtered``: row-level security hides rows.
    """

    oid: int
    schema: str
    name: str
    columns: Mapping[str, Column]
    readable: bool
    filtered: bool
    statement: str | None = None
    has_xmin: bool = False
    """Whether each row tells the transaction that wrote it; a view, a foreign table or a statement does not."""
    ancestors: frozenset[int] = frozenset()
    """The tables that it is a partition of, by oid."""
    archives: tuple[Table, ...] = ()
    """The tables to which its rows may move (``truth.moves_to``)."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def source(self) -> sql.Composable:
        """What stands after FROM for its rows wherever they lie: here, or in a table to which they may move."""
        if not self.archives:
            return self.sql
        select, places = sql.SQL("SELECT {} FROM {}"), (self, *self.archives)
        parts = [select.format(self._all_columns(place), place.sql) for place in places]
        return sql.SQL("({}) AS rig_source").format(sql.SQL(" UNION ALL ").join(parts))

    def _all_columns(self, place: Table) -> sql.Composable:
        """Its columns as another table has them; NULL where that lacks one."""
        columns = [
            sql.SQL("{} AS {}").format(
                sql.SQL("{}::{}" if name in place.columns else "NULL::{1}").format(
                    sql.Identifier(name), sql.SQL(column.declared)
                ),
                sql.Identifier(name),
            )
            for name, column in self.columns.items()
        ]
        return sql.SQL(", ").join([*columns, sql.SQL("xmin")] if self.has_xmin else columns)

    @property
    def sql(self) -> sql.Composable:
        """What stands after FROM: the qualified name, quoted, or a sub-select."""
        if self.statement is None:
            return sql.Identifier(self.schema, self.name)
        # The line end closes a comment at the end of the statement.
        return sql.SQL("({}\n) AS rig_source").format(_as_written(self.statement))

    @property
    def text_columns(self) -> list[Column]:
        """The columns whose text can hold a canary."""
        return [column for column in self.columns.values() if column.searched]


@dataclass(frozen=True, slots=True)
class EventTables:
    """The tables that hold the truth, and SQL to read from them. ``dead`` None: there are no dead letters."""

    canonical: Table
    dead: Table | None
    truth: Truth

    @property
    def all(self) -> tuple[Table, ...]:
        """The tables that there are."""
        return (self.canonical,) if self.dead is None else (self.canonical, self.dead)

    @property
    def is_shared(self) -> bool:
        """Whether no column tells the rows of the run's tenant from those of others who write to the table."""
        return self.truth.canonical.tenant is None

    @property
    def is_dead_within_canonical(self) -> bool:
        """Whether the dead letters are a partition of the canonical table, so that a look at that sees them too."""
        return self.dead is not None and self.canonical.oid in self.dead.ancestors

    @property
    def canonical_tenant(self) -> sql.Composable:
        """SQL for the tenant's id in the canonical table; '' where there are no tenants."""
        return _tenant(self.canonical, self.truth.canonical.tenant)

    @property
    def canonical_key(self) -> sql.Composable:
        """SQL for the idempotency key."""
        return self.canonical.columns[self.truth.canonical.key].word

    @property
    def dead_source(self) -> sql.Composable:
        """What stands after FROM; without dead letters no row."""
        return self.dead.source if self.dead is not None else sql.SQL("(SELECT WHERE false) AS rig_source")

    @property
    def dead_tenant(self) -> sql.Composable:
        """SQL for the tenant's id in a dead letter; '' where there are no tenants."""
        if self.dead is None or self.truth.dead is None:
            return _NO_TENANT
        return _tenant(self.dead, self.truth.dead.tenant)

    @property
    def is_matched_by_correlation(self) -> bool:
        """Whether a dead letter names its request by its correlation id."""
        return self.truth.dead is not None and self.truth.dead.match in ("correlation", "payload-correlation")

    @property
    def may_be_nameless(self) -> bool:
        """Whether a dead letter of the run may name no request."""
        return self.truth.dead is not None and self.truth.dead.match not in ("key", "correlation")

    @property
    def dead_names_request(self) -> bool:
        """Whether anything in a dead letter may name its request."""
        return self.truth.dead is not None and self.truth.dead.match != "count"

    @property
    def dead_identity(self) -> sql.Composable:
        """SQL for what identifies the request in a dead letter; NULL where nothing does."""
        dead = self.truth.dead
        if self.dead is None or dead is None or dead.match == "count" or dead.column is None:
            return sql.SQL("NULL::text")
        column = self.dead.columns[dead.column]
        if dead.path is None or not dead.match.startswith("payload"):
            return column.word
        at = "{column} #>> {path}::text[]"
        if column.type != "jsonb":
            # A text column may hold text that is not JSON (a truncated body), and json an escape that is no character
            # (NUL). Either must give NULL and no error.
            is_json = "true" if column.type == "json" else "{column} IS JSON"
            at = f"CASE WHEN {is_json} AND {SOUND_JSON} THEN {{column}}::json #>> {{path}}::text[] END"
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
    use_schemas(connection, truth)
    canonical = _source(connection, truth, truth.canonical, "truth.canonical")
    for key in ("tenant", "key", "correlation", "channel"):
        _require_column(canonical, getattr(truth.canonical, key), f"truth.canonical.{key}")
    if truth.dead is None:
        return _with_archives(connection, EventTables(canonical, None, truth))
    dead = _source(connection, truth, truth.dead, "truth.dead")
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
    """Let the statements of a profile name tables without their schema, for as long as the connection lasts."""
    if truth.canonical.sql is not None or (truth.dead is not None and truth.dead.sql is not None):
        connection.execute(
            "SELECT pg_catalog.set_config('search_path', pg_catalog.string_agg(pg_catalog.quote_ident(name), ', '),"
            " false) FROM unnest(%s::text[]) AS name",
            [list(truth.schemas)],
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


def now_in_transactions(connection: Connection[Any]) -> int:
    """The number of the oldest transaction that goes on, or else of the next: whatever is written from now on has this
    number or a later one."""
    ((number,),) = connection.execute("SELECT txid_snapshot_xmin(txid_current_snapshot())").fetchall()
    return int(number)


def is_new(table: Table, since: int | None) -> sql.Composable:
    """SQL that is true for the rows that were written since ``now_in_transactions`` said this number.

    True for all rows where nobody asked then (None), and where rows do not tell. An older row that was changed since is
    new, too.
    """
    if since is None or not table.has_xmin:
        return sql.SQL("true")
    # The sub-select is evaluated once. A row shows the lower 32 bits, and age() knows how these come round.
    age = "pg_catalog.age(xmin) <= (SELECT pg_catalog.age({}::xid))"
    return sql.SQL(age).format(sql.Literal(str(since % 2**32)))


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


def _as_written(statement: str) -> sql.SQL:
    # A statement of the profile, which belongs to whoever owns the target.
    return sql.SQL(statement)


def _tenant(table: Table, column: str | None) -> sql.Composable:
    return _NO_TENANT if column is None else table.columns[column].word


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
