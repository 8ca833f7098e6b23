"""The target's tables and columns as values, and the SQL that reads from them: names are quoted, whatever is in them.

``rig.truth.catalog`` finds them. Not for reading rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection, sql

from rig.profile import Truth

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


def _as_written(statement: str) -> sql.SQL:
    # A statement of the profile, which belongs to whoever owns the target.
    return sql.SQL(statement)


def _tenant(table: Table, column: str | None) -> sql.Composable:
    return _NO_TENANT if column is None else table.columns[column].word
