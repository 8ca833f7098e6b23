"""What a run left in a database that people keep, and its removal.

Flow: ``find_leftovers`` counts the rows of a run by table and tenant, with what refers to them; ``remove_leftovers``
does the same in one transaction and deletes what may go, or nothing at all.

A row is the run's where its key, or what identifies the request of a dead letter, is one that the run derived: they
are UUIDs, and the run found none of them before it began. A row is also the run's where the run made its tenant.
Everything else stays: also what may be the run's and does not say so. That is named, for a person to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql

from rig.errors import ConfigError, Unavailable
from rig.profile import Truth
from rig.truth.catalog import event_tables, named_columns
from rig.truth.reconcile import Baseline
from rig.truth.session import connect, in_words
from rig.truth.staging import Columns, Staging, may_create_temporary
from rig.truth.tables import Table

_OWN: Columns = (("key", "text"), ("correlation", "text"))
_KEYS_SHOWN = 3
_DELETABLE = {"r", "p"}
_ACTIONS = {"a": "refuses", "r": "refuses", "c": "removes them too", "n": "sets them NULL", "d": "sets their default"}
_REFUSING = ("a", "r")


@dataclass(frozen=True, slots=True)
class SentByRun:
    """What tells the rows of a run from all others.

    ``identities``: (key, correlation id) of each request; ``made``: ids of the tenants that the run made; ``used``: ids
    of its other tenants; ``tenant_columns``: where else the id of a made tenant stands, as ``table.column``.
    """

    identities: Sequence[tuple[str, str]]
    made: tuple[str, ...]
    used: tuple[str, ...]
    baseline: Baseline
    tenant_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowsLeft:
    """Rows of the run in one table under one tenant id. ``by_hand``: why the rig does not remove them; empty: it does.

    ``all_keys`` are their keys where somebody has to remove them by hand and they have some.
    """

    table: str
    tenant: str
    rows: int
    first_keys: tuple[str, ...] = ()
    by_hand: str = ""
    all_keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ReferringRows:
    """Rows of another table whose foreign key names rows that would go. ``action`` is PostgreSQL's letter for it."""

    constraint: str
    table: str
    columns: tuple[str, ...]
    rows: int
    action: str

    @property
    def refuses(self) -> bool:
        """Whether nothing can go as long as these rows are there."""
        return self.action in _REFUSING

    def __str__(self) -> str:
        on = _ACTIONS[self.action]
        return f"{self.rows:,} rows of {self.table} ({', '.join(self.columns)}) by {self.constraint}, which {on}"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The rows of a run, and rows of other tables that refer to those that would go."""

    rows: tuple[RowsLeft, ...]
    referring: tuple[ReferringRows, ...] = ()

    @property
    def removable(self) -> tuple[RowsLeft, ...]:
        """What the rig removes."""
        return tuple(each for each in self.rows if not each.by_hand)

    @property
    def by_hand(self) -> tuple[RowsLeft, ...]:
        """What somebody else has to remove."""
        return tuple(each for each in self.rows if each.by_hand)


@dataclass(frozen=True, slots=True)
class _LeftTable:
    """A table that may hold rows of the run, and SQL about its rows; ``own`` holds for those of the run."""

    table: Table
    tenant: sql.Composable
    identity: sql.Composable
    own: sql.Composable
    by_hand: str = ""


def find_leftovers(dsn: str, truth: Truth, sent: SentByRun) -> Leftovers:
    """The rows of the run. ConfigError where this role does not see every row, Unavailable without a connection."""
    with _explaining(truth), connect(dsn) as connection, connection.transaction():
        return _Search(connection, truth, sent).find()


def remove_leftovers(dsn: str, truth: Truth, sent: SentByRun, *, cascade: bool) -> Leftovers:
    """Remove what may go, in one transaction; what there was. After an error nothing was removed.

    ConfigError where rows of other tables refer to them: always where the foreign key refuses, without ``cascade``
    where the database would remove or change those rows, too.
    """
    with _explaining(truth), connect(dsn) as connection, connection.transaction():
        search = _Search(connection, truth, sent)
        found = search.find()
        _require_nothing_refers(found.referring, cascade=cascade)
        search.remove(found)
        return found


class _Search:
    """The leftovers within one transaction."""

    def __init__(self, connection: Connection[Any], truth: Truth, sent: SentByRun) -> None:
        self._connection = connection
        self._sent = sent
        self._tables = event_tables(connection, truth)
        self._staging = Staging(connection, temporary=may_create_temporary(connection))
        self._staging.load("rig_own", _OWN, sent.identities)
        self._places = tuple(self._all_places(truth))
        for place in self._places:
            _require_full_view(place.table, truth)

    def find(self) -> Leftovers:
        rows = [each for place in self._places for each in self._count(place)]
        return Leftovers((*rows, *self._nameless(), *self._renamed_tables()), tuple(self._referring()))

    def remove(self, found: Leftovers) -> None:
        """Delete what was found; ConfigError where the database keeps some of it without an error."""
        for place in self._places:
            if place.by_hand:
                continue
            wanted = sum(each.rows for each in found.removable if each.table == str(place.table))
            gone = len(self._select("DELETE FROM {source} WHERE {own} RETURNING 1", place)) if wanted else 0
            if gone != wanted:
                raise ConfigError(
                    f"{place.table}: {wanted - gone} of {wanted} rows were kept by a trigger or a rule, so nothing was "
                    "removed; switch it off for this role, or remove the rows by hand"
                )

    def _all_places(self, truth: Truth) -> Iterator[_LeftTable]:
        """Dead letters first: they may refer to events, and events to their tenant."""
        tables, token = self._tables, "correlation" if self._tables.is_matched_by_correlation else "key"
        if tables.dead is not None:
            for table in (tables.dead, *tables.dead.archives):
                yield self._place(table, tables.dead_tenant, tables.dead_identity, token)
        for table in (tables.canonical, *tables.canonical.archives):
            yield self._place(table, tables.canonical_tenant, tables.canonical_key, "key")
        named = named_columns(self._connection, self._sent.tenant_columns, truth, "tenants.rows")
        for table, column in named:
            word = table.columns[column].word
            yield _LeftTable(table, word, word, _is_any(word, self._sent.made), self._reason(table))

    def _place(self, table: Table, tenant: sql.Composable, identity: sql.Composable, token: str) -> _LeftTable:
        own = sql.SQL("({identity} IN (SELECT {token} FROM rig_own) OR {made})").format(
            identity=identity, token=sql.Identifier(token), made=_is_any(tenant, self._sent.made)
        )
        return _LeftTable(table, tenant, identity, own, self._reason(table))

    def _reason(self, table: Table) -> str:
        """Why rows of this table cannot be deleted; empty where they can."""
        if table.statement is not None:
            return "the profile reads them with a statement, from which nothing can be deleted"
        row = self._connection.execute("SELECT relkind::text FROM pg_catalog.pg_class WHERE oid = %s", [table.oid])
        kind = row.fetchone()
        return "" if kind and kind[0] in _DELETABLE else "it is a view or a foreign table: delete below it"

    def _count(self, place: _LeftTable) -> Iterator[RowsLeft]:
        found = self._select(
            "SELECT {tenant}, count(*), array_agg({identity} ORDER BY {identity}) FROM {source} WHERE {own}"
            " GROUP BY {tenant} ORDER BY {tenant}",
            place,
        )
        for tenant, rows, keys in found:
            named = tuple(dict.fromkeys(key for key in keys if key is not None))
            kept = named if place.by_hand else ()
            yield RowsLeft(str(place.table), tenant or "", rows, named[:_KEYS_SHOWN], place.by_hand, kept)

    def _nameless(self) -> Iterator[RowsLeft]:
        """Dead letters that may be of the run and name no request, beyond those that lay there before it."""
        tables, sent = self._tables, self._sent
        if tables.dead is None or not tables.may_be_nameless:
            return
        place = next(each for each in self._places if each.table is tables.dead)
        found = self._select(
            "SELECT {tenant}, count(*) FILTER (WHERE {identity} IS NULL), count(*) FILTER (WHERE ({own}) IS NOT TRUE)"
            " FROM {source} WHERE {used} GROUP BY {tenant} ORDER BY {tenant}",
            place,
            used=_is_any(place.tenant, sent.used),
        )
        for tenant, nameless, others in found:
            # In a table that others write to, the baseline holds the nameless ones alone.
            come = (nameless if tables.is_shared else others) - sent.baseline.dead.get(tenant, 0)
            if (rows := min(nameless, come)) > 0:
                why = "they name no request and came since the run began: they may be somebody else's"
                yield RowsLeft(str(tables.dead), tenant, rows, (), why)

    def _renamed_tables(self) -> Iterator[RowsLeft]:
        """Events with a correlation id of the run under another key: older rows, perhaps, that the run changed."""
        column = self._tables.truth.canonical.correlation
        if column is None:
            return
        place = next(each for each in self._places if each.table is self._tables.canonical)
        found = self._select(
            "SELECT {tenant}, count(*), array_agg({identity} ORDER BY {identity}) FROM {source}"
            " WHERE ({own}) IS NOT TRUE AND {correlation} IN (SELECT correlation FROM rig_own) GROUP BY {tenant}",
            place,
            correlation=self._tables.canonical.columns[column].word,
        )
        why = "their correlation id is the run's, but their key is not: they may be older rows that the run changed"
        for tenant, rows, keys in found:
            named = tuple(key for key in keys if key is not None)
            yield RowsLeft(str(self._tables.canonical), tenant or "", rows, named[:_KEYS_SHOWN], why, named)

    def _referring(self) -> Iterator[ReferringRows]:
        """Rows of other tables that refer to rows that would go, and to rows that would go with them."""
        seen: set[int] = set()
        pending = [(place.table.oid, place.table.sql, place.own) for place in self._places if not place.by_hand]
        own = {oid: place.own for place in self._places for oid in self._family(place.table.oid)}
        while pending:
            oid, parent, condition = pending.pop(0)
            for constraint, name, child, schema, table, action, columns, referred in self._foreign_keys(oid):
                if constraint in seen:
                    continue
                seen.add(constraint)
                refers = sql.SQL("({columns}) IN (SELECT {referred} FROM {parent} WHERE {condition})").format(
                    columns=_names(columns), referred=_names(referred), parent=parent, condition=condition
                )
                if child in own:
                    refers = sql.SQL("({} AND ({}) IS NOT TRUE)").format(refers, own[child])
                source = sql.Identifier(schema, table)
                query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(source, refers)
                ((rows,),) = self._staging.select(query)
                if rows:
                    yield ReferringRows(name, f"{schema}.{table}", tuple(columns), rows, action)
                    if action == "c":
                        pending.append((child, source, refers))

    def _foreign_keys(self, oid: int) -> list[tuple[Any, ...]]:
        """Each foreign key that refers to a table, its parents or its partitions."""
        return self._connection.execute(
            """
            SELECT c.oid::bigint, c.conname::text, c.conrelid::bigint, n.nspname::text, r.relname::text,
                c.confdeltype::text,
                ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY place),
                ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY place)
            FROM pg_catalog.pg_constraint c
            JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
            WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = ANY(%s::bigint[]::oid[])
            ORDER BY n.nspname, r.relname, c.conname
            """,
            [self._family(oid)],
        ).fetchall()

    def _family(self, oid: int) -> list[int]:
        """A table with its parents and its partitions."""
        rows = self._connection.execute(
            "SELECT %(oid)s::bigint"
            " UNION SELECT relid::oid::bigint FROM pg_catalog.pg_partition_ancestors(%(oid)s::oid)"
            " UNION SELECT relid::oid::bigint FROM pg_catalog.pg_partition_tree(%(oid)s::oid)",
            {"oid": oid},
        )
        return [each for (each,) in rows]

    def _select(self, query: LiteralString, place: _LeftTable, **parts: sql.Composable) -> list[tuple[Any, ...]]:
        names = {"source": place.table.sql, "tenant": place.tenant, "identity": place.identity, "own": place.own}
        return self._staging.select(sql.SQL(query).format(**names, **parts))


def _is_any(column: sql.Composable, values: Sequence[str]) -> sql.Composable:
    return sql.SQL("{} = ANY({}::text[])").format(column, sql.Literal(list(values)))


def _names(columns: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _require_full_view(table: Table, truth: Truth) -> None:
    if not table.readable or table.filtered:
        why = "row-level security hides rows of it" if table.readable else "it may not read it"
        raise ConfigError(
            f"{table}: the role of ${truth.dsn_env} does not see every row ({why}); use a role that does, as for a run"
        )


def _require_nothing_refers(referring: Sequence[ReferringRows], *, cascade: bool) -> None:
    refusing = [each for each in referring if each.refuses]
    if refusing:
        raise ConfigError(
            f"nothing was removed: {refusing[0]}; remove or change those first, they are not the run's own"
        )
    if referring and not cascade:
        raise ConfigError(f"nothing was removed: {referring[0]}; give --cascade if that may happen to all of them")


@contextmanager
def _explaining(truth: Truth) -> Iterator[None]:
    """Errors of the database in the rig's words. The transaction inside was rolled back then."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError(
            f"nothing was removed: {in_words(error)}; grant the role of ${truth.dsn_env} SELECT and DELETE there "
            "(and BYPASSRLS where row-level security binds it), or give the DSN of the tables' owner for this once"
        ) from None
    except psycopg.errors.IntegrityError as error:
        raise ConfigError(
            f"nothing was removed: {in_words(error)} (constraint {error.diag.constraint_name}); remove or change the "
            "rows that refer to them first"
        ) from None
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"the truth database of ${truth.dsn_env}: {in_words(error)}; run `rig clean` again to see what is there"
        ) from None
    except psycopg.Error as error:
        raise ConfigError(
            f"nothing was removed, because the database refused: {in_words(error)}; switch off what forbids it (a "
            "trigger, a read-only setting), or remove the rows by hand"
        ) from None
