"""What lies in a database: its schema by definition, the rows of its tables by digest. To be compared with another.

``find_left_out`` finds the columns that must not be compared: those that differ between databases that were made alike,
and numbers from a sequence (a transaction that was rolled back leaves a gap), with the foreign keys to them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from rig.storms import ddl_ledger
from rig.text import shorten

_ROWS_READ = 100_000
_ROW_SHOWN = 80
NUMBER_OF_ROWS = "number of rows"
"""Stands for a column where not even that is alike: nothing of such a table can be compared."""
_OWN: LiteralString = "nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', %(ledger)s)"
# A sequence that belongs to a column has a name of the server's own, which depends on who tried to make it before.
_OBJECTS: LiteralString = f"""
WITH own AS (SELECT oid, nspname FROM pg_namespace WHERE {_OWN}),
part AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
rel AS (SELECT c.*, nspname || '.' || relname AS name FROM pg_class c JOIN own ON own.oid = relnamespace
        WHERE NOT EXISTS (SELECT FROM part WHERE classid = 'pg_class'::regclass AND objid = c.oid))
SELECT 'schema ' || nspname, '' FROM own
UNION ALL SELECT 'extension ' || extname, extversion FROM pg_extension
UNION ALL SELECT 'relation ' || name, concat_ws(' ', relkind, relrowsecurity, relforcerowsecurity, relpersistence)
    FROM rel WHERE relkind NOT IN ('i', 'I', 't') AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE relkind = 'S' AND d.objid = rel.oid AND d.refobjsubid > 0)
UNION ALL SELECT 'column ' || name || '.' || attname, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,
    attidentity, attgenerated, regexp_replace(pg_get_expr(adbin, adrelid), '^nextval.*', 'nextval'))
    FROM rel JOIN pg_attribute ON attrelid = rel.oid LEFT JOIN pg_attrdef ON adrelid = rel.oid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND relkind NOT IN ('i', 'I', 't', 'S')
UNION ALL SELECT 'index ' || name, concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
    FROM rel JOIN pg_index ON indexrelid = rel.oid
UNION ALL SELECT 'constraint ' || name || '.' || conname, concat_ws(' ', pg_get_constraintdef(con.oid), convalidated)
    FROM rel JOIN pg_constraint con ON conrelid = rel.oid
UNION ALL SELECT 'view ' || name, pg_get_viewdef(oid) FROM rel WHERE relkind IN ('v', 'm')
UNION ALL SELECT 'trigger ' || name || '.' || tgname, concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled)
    FROM rel JOIN pg_trigger t ON tgrelid = rel.oid WHERE NOT tgisinternal
UNION ALL SELECT 'policy ' || schemaname || '.' || tablename || '.' || policyname,
    concat_ws(' ', permissive, cmd, qual, with_check) FROM pg_policies
UNION ALL SELECT 'function ' || p.oid::regprocedure, concat_ws(' ', md5(prosrc), prosecdef, provolatile)
    FROM pg_proc p JOIN own ON own.oid = pronamespace
    WHERE NOT EXISTS (SELECT FROM part WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
UNION ALL SELECT 'value ' || nspname || '.' || typname || '.' || enumlabel, ''
    FROM pg_enum JOIN pg_type t ON t.oid = enumtypid JOIN own ON own.oid = typnamespace
"""
_COUNTS_UP: LiteralString = "attidentity <> '' OR coalesce(pg_get_expr(adbin, adrelid), '') LIKE 'nextval%%'"
_COLUMNS: LiteralString = f"""
WITH col AS (SELECT a.*, {_COUNTS_UP} AS counts_up
    FROM pg_attribute a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum)
SELECT nspname || '.' || relname, attname, counts_up OR EXISTS (
    SELECT FROM pg_constraint f JOIN col r ON r.attrelid = f.confrelid AND r.attnum = ANY (f.confkey)
    WHERE f.contype = 'f' AND f.conrelid = c.oid AND col.attnum = ANY (f.conkey) AND r.counts_up)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN col ON attrelid = c.oid
WHERE {_OWN} AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped ORDER BY 1, attnum
"""

Columns = Mapping[str, Sequence[str]]
"""By table, in their order."""
Content = Mapping[str, tuple[int, str]]
"""By table: the number of its rows, and a digest of them that does not depend on their order."""


@dataclass(frozen=True, slots=True)
class DatabaseShape:
    """The schema of a database: definitions by object, columns by table, and which of those count along a sequence."""

    objects: Mapping[str, str]
    columns: Columns
    numbered: frozenset[tuple[str, str]]

    def differences(self, other: DatabaseShape) -> list[str]:
        """Where ``other`` is not what this is."""
        missing = [f"{name}: missing" for name in _whole(self.objects.keys() - other.objects.keys())]
        more = [f"{name}: one too many" for name in _whole(other.objects.keys() - self.objects.keys())]
        shared = sorted(self.objects.keys() & other.objects.keys())
        changed = [f"{name}: another definition" for name in shared if self.objects[name] != other.objects[name]]
        return missing + more + changed

    def only(self, columns: Columns) -> Columns:
        """Those of the columns that are here, too."""
        return {
            table: [name for name in names if name in self.columns[table]]
            for table, names in columns.items()
            if table in self.columns
        }


def _whole(names: Collection[str]) -> list[str]:
    """The names in order, without the parts of relations that are among them."""
    relations = tuple(f"{name.removeprefix('relation ')}." for name in names if name.startswith("relation "))
    return [name for name in sorted(names) if not name.partition(" ")[2].startswith(relations)]


def read_shape(connection: psycopg.Connection[Any]) -> DatabaseShape:
    """The schema."""
    own = {"ledger": ddl_ledger.SCHEMA}
    objects = dict(connection.execute(_OBJECTS, own).fetchall())
    columns: dict[str, list[str]] = defaultdict(list)
    numbered: set[tuple[str, str]] = set()
    for table, column, is_numbered in connection.execute(_COLUMNS, own).fetchall():
        columns[table].append(column)
        numbered.update({(table, column)} if is_numbered else ())
    return DatabaseShape(objects, dict(columns), frozenset(numbered))


def read_content(connection: psycopg.Connection[Any], columns: Columns) -> Content:
    """The rows of the tables by number and digest, of these columns only."""
    return {
        table: connection.execute(
            sql.SQL("SELECT count(*), coalesce(sum(hashtextextended({}, 0)), 0)::text FROM {}").format(
                _row(names), _table(table)
            )
        ).fetchone()
        or (0, "")
        for table, names in columns.items()
    }


def find_left_out(connections: Sequence[psycopg.Connection[Any]], shape: DatabaseShape) -> frozenset[tuple[str, str]]:
    """The columns that differ between databases that were made alike, and those that count along a sequence."""
    found = set(shape.numbered)
    for table, names in shape.columns.items():
        if len({read_content(one, {table: names})[table][0] for one in connections}) > 1:
            found.add((table, NUMBER_OF_ROWS))
        for name in names:
            digests = {read_content(one, {table: [name]})[table] for one in connections}
            found.update({(table, name)} if len(digests) > 1 else ())
    return frozenset(found)


def find_row_differences(
    expected: psycopg.Connection[Any], found: psycopg.Connection[Any], columns: Columns
) -> list[str]:
    """A sentence for each table whose rows are not the expected ones, with an example."""
    sentences = []
    before, after = read_content(expected, columns), read_content(found, columns)
    for table in [table for table in columns if before[table] != after[table]]:
        ours, theirs = (_rows(one, table, columns[table]) for one in (expected, found))
        more, less = theirs - ours, ours - theirs
        parts = [f"{after[table][0]} rows instead of {before[table][0]}"] if after[table][0] != before[table][0] else []
        if more and less:
            parts.append(f"{more.total()} other rows, {_example(more)} instead of {_example(less)}")
        elif more:
            parts.append(f"{more.total()} too many: {_example(more)}")
        elif less:
            parts.append(f"{less.total()} missing: {_example(less)}")
        sentences.append(f"{table}: {', '.join(parts) or 'other rows'}")
    return sentences


def _example(rows: Counter[str]) -> str:
    return shorten(min(rows), _ROW_SHOWN)


def _rows(connection: psycopg.Connection[Any], table: str, names: Sequence[str]) -> Counter[str]:
    query = sql.SQL("SELECT {} FROM {} ORDER BY 1 LIMIT {}").format(_row(names), _table(table), sql.Literal(_ROWS_READ))
    return Counter(row for (row,) in connection.execute(query).fetchall())


def _row(names: Sequence[str]) -> sql.Composed:
    return sql.SQL("ROW({})::text").format(sql.SQL(", ").join(map(sql.Identifier, names)))


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split(".", 1))
