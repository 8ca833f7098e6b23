"""The rows that came into a database since a moment, found by what only they can hold, and their removal.

Flow: ``watch`` before anything is sent → ``find_marked`` and ``count_unmarked`` as often as wanted → ``remove``.
Rows of others are never returned: a row belongs to a probe because a mark of the probe stands in it, or because it
refers to such a row (``find_referring``), as a line of an order does. A row is only
removed if its primary key was not there before, and if nothing else in the database changes with it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql

from rig.target.postgres.connection import require_primary, require_unpooled
from rig.truth.catalog import plain_tables
from rig.truth.session import connect, in_words
from rig.truth.tables import Table, is_new, now_in_transactions

_SCAN_TIMEOUT_MS = 10_000
_ROWS_MAX = 1_000
_FACTS = """
SELECT a.attname::text, a.attgenerated <> '', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
    EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
        AND a.attnum = ANY(i.indkey::int2[]) AND i.indnkeyatts <= 3),
    EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
        AND a.attnum = ANY(i.indkey::int2[]))
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
"""
_REFERENCES = """
SELECT c.conrelid::bigint, array_agg(own.attname::text ORDER BY k.at), array_agg(other.attname::text ORDER BY k.at)
FROM pg_catalog.pg_constraint c
CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (own, other, at)
JOIN pg_catalog.pg_attribute own ON own.attrelid = c.conrelid AND own.attnum = k.own
JOIN pg_catalog.pg_attribute other ON other.attrelid = c.confrelid AND other.attnum = k.other
WHERE c.contype = 'f' AND c.confrelid = %s GROUP BY c.oid, c.conrelid
"""
_WRITTEN = """
SELECT sum(n_tup_ins + n_tup_upd)::bigint, sum(n_tup_del)::bigint FROM pg_catalog.pg_stat_xact_all_tables
WHERE schemaname !~ '^pg_'
"""
"""How many rows this session wrote and deleted, also by triggers and foreign keys."""


@dataclass(frozen=True, slots=True)
class WatchedTable:
    """A table, with what tells a column that is filled by the service from one that the database fills."""

    table: Table
    unique: frozenset[str]
    """Columns of unique indexes."""
    primary: tuple[str, ...]
    """The columns of the primary key; none where there is none."""
    generated: frozenset[str]
    defaults: Mapping[str, str]
    """Columns with a constant default, which they may have without anybody's doing."""

    def __str__(self) -> str:
        return str(self.table)


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row as JSON gives it; ``place`` finds the same version of it again."""

    table: WatchedTable
    values: Mapping[str, Any]
    place: tuple[int, str, str]
    text: str = field(repr=False)


@contextmanager
def watch(dsn: str, variable: str) -> Iterator[NewRows]:
    """Watch a database from now on. ConfigError behind a pooler or on a standby; ``variable`` names the DSN then."""
    with connect(dsn) as connection, connect(dsn) as before, before.transaction():
        require_unpooled(connection, variable)
        require_primary(connection, variable)
        before.execute("SELECT 1")  # its snapshot shows the rows of this moment from now on
        yield NewRows(connection, before)


class NewRows:
    """Looks at all tables. A table that takes too long to read is in ``unread``."""

    def __init__(self, connection: Connection[Any], before: Connection[Any]) -> None:
        self._connection, self._before = connection, before
        connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(_SCAN_TIMEOUT_MS)))
        self._tables = [_watch(connection, table) for table in plain_tables(connection)]
        self._since = now_in_transactions(connection)
        self.unread: list[str] = []

    def find_marked(self, marks: Collection[str]) -> list[NewRow]:
        """The new rows that hold one of these texts."""
        return [row for table in self._tables for row in self._read(table, _match_any("~*", marks))]

    def find_referring(self, rows: Iterable[NewRow]) -> list[NewRow]:
        """The new rows that refer to these by a foreign key, and those that refer to them in turn."""
        found: dict[tuple[int, str, str], NewRow] = {}
        pending = list(rows)
        while pending:
            parent = pending.pop()
            if parent.table.primary and not self._was_there(parent):
                own = [row for row in self._children(parent) if row.place not in found]
                found |= {row.place: row for row in own}
                pending += own
        return list(found.values())

    def _children(self, parent: NewRow) -> Iterator[NewRow]:
        for oid, own, others in self._connection.execute(_REFERENCES, [parent.table.table.oid]).fetchall():
            same = [
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(str(parent.values[other])))
                for name, other in zip(own, others, strict=True)
                if parent.values[other] is not None
            ]
            for table in self._tables:
                if table.table.oid == oid and len(same) == len(own):
                    yield from self._read(table, sql.SQL(" AND ").join(same))

    def count_unmarked(self, marks: Collection[str]) -> dict[str, int]:
        """How many new rows of each table hold none of these texts: somebody else's, or such as name no probe."""
        query: LiteralString = "SELECT count(*) FROM {table} AS rig_row WHERE {new} AND {which}"
        counts = {str(table): self._select(query, table, _match_any("!~*", marks)) for table in self._tables}
        return {name: rows[0][0] for name, rows in counts.items() if rows}

    def remove(self, marks: Collection[str]) -> Counter[str]:
        """Delete the new rows that hold one of these texts or refer to one that does.

        How many rows stay, by table and reason in words.
        """
        marked = self.find_marked(marks)
        places = {row.place for row in marked}
        pending = [*marked, *(row for row in self.find_referring(marked) if row.place not in places)]
        while pending:
            kept = [(row, why) for row in pending if (why := self._delete(row))]
            if len(kept) == len(pending):  # else those that the gone ones referred to may go now
                return Counter(f"{row.table}: {why}" for row, why in kept)
            pending = [row for row, _ in kept]
        return Counter()

    def _delete(self, row: NewRow) -> str:
        """Delete a row; why it stays where it does."""
        if not row.table.primary:
            return "without a primary key they cannot be told from older rows that the service changed"
        query = sql.SQL("DELETE FROM {} WHERE tableoid = {}::bigint::oid AND ctid = {}::tid AND xmin = {}::xid").format(
            row.table.table.sql, *map(sql.Literal, row.place)
        )
        try:
            if self._was_there(row):
                return "they were there before, and the service changed them"
            with self._connection.transaction():
                self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                written, deleted = self._written()
                self._connection.execute(query)
                if self._written() != (written, deleted + 1):
                    raise psycopg.Rollback
                return ""
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            return in_words(error)
        return "the database would change other rows with them, or keeps them: a trigger, a rule, a foreign key"

    def _was_there(self, row: NewRow) -> bool:
        """Whether a row with its primary key was there before anything was sent."""
        same = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(str(row.values[name])))
            for name in row.table.primary
        ]
        query = sql.SQL("SELECT FROM {} WHERE {}").format(row.table.table.sql, sql.SQL(" AND ").join(same))
        with self._before.transaction():
            return self._before.execute(query).fetchone() is not None

    def _written(self) -> tuple[int, int]:
        ((written, deleted),) = self._connection.execute(_WRITTEN).fetchall()
        return written, deleted

    def _read(self, table: WatchedTable, which: sql.Composable) -> Iterator[NewRow]:
        """The new rows of a table for which a condition holds."""
        query: LiteralString = (
            "SELECT tableoid::bigint, ctid::text, xmin::text, row_to_json(rig_row)::text FROM {table} AS rig_row"
            " WHERE {new} AND {which} LIMIT {most}"
        )
        for oid, ctid, xmin, text in self._select(query, table, which):
            yield NewRow(table, json.loads(text, parse_float=Decimal), (oid, ctid, xmin), text.lower())

    def _select(self, query: LiteralString, table: WatchedTable, which: sql.Composable) -> list[tuple[Any, ...]]:
        if str(table) in self.unread:
            return []
        composed = sql.SQL(query).format(
            table=table.table.sql,
            new=is_new(table.table, self._since),
            which=which,
            most=sql.Literal(_ROWS_MAX),
        )
        try:
            return self._connection.execute(composed).fetchall()
        except psycopg.OperationalError as error:
            if not isinstance(error, psycopg.errors.QueryCanceled):
                raise
        except psycopg.Error:  # a foreign table's partition, a column that may not be read
            pass
        self.unread.append(str(table))
        return []


def _match_any(operator: LiteralString, marks: Collection[str]) -> sql.Composable:
    """That a row matches one of these texts, or with ``!~*`` that it matches none."""
    pattern = sql.Literal("|".join(map(re.escape, sorted(marks))))
    return sql.SQL("row_to_json(rig_row)::text {} {}").format(sql.SQL(operator), pattern)


def _watch(connection: Connection[Any], table: Table) -> WatchedTable:
    facts = connection.execute(_FACTS, [table.oid]).fetchall()
    return WatchedTable(
        table,
        frozenset(name for name, _, _, unique, _ in facts if unique),
        tuple(name for name, *_, primary in facts if primary),
        frozenset(name for name, generated, *_ in facts if generated),
        {name: _constant(text) for name, generated, text, *_ in facts if text is not None and not generated},
    )


def _constant(expression: str) -> str:
    """The value of a default like ``'EUR'::text``; any other expression as it is."""
    quoted = re.match(r"'((?:[^']|'')*)'(?:::|$)", expression)
    return quoted.group(1).replace("''", "'") if quoted else expression
