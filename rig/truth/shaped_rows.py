"""The rows of single events, compared with what each must hold: for S10, whose events all differ.

``rig.truth.content`` compares the events of a whole run, which follow from their keys. This compares a few, each with
values of its own, by the same rules (``rig.truth.same_value``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql

from rig.profile import Profile
from rig.requests.content import Comparison
from rig.requests.shaped import ShapedRequest
from rig.truth.alterations import Alteration
from rig.truth.catalog import event_tables
from rig.truth.row_security import tables_behind
from rig.truth.same_value import same_value, value_text
from rig.truth.tables import EventTables, Table

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What PostgreSQL has in no text: NUL and half of a surrogate pair."""
_NUL_IN_JSON = "\\u0000"
_VALUE_MOST = 20_000
_ROWS: LiteralString = """
    SELECT {found} FROM (VALUES {values}) AS e ({names})
    JOIN (SELECT {owner} AS rig_owner, {token} AS rig_token, {columns} FROM {table}) s
        ON s.rig_owner = e.owner AND s.rig_token = e.key
"""
_HOLD_SOON = "SET LOCAL lock_timeout = '1s'"
"""Who waits for a lock lets others wait behind."""
_RELATIONS = "SELECT oid::regclass::text, relkind::text FROM pg_catalog.pg_class WHERE oid = ANY(%s::oid[])"
_LOCKABLE, _VIEW = ("r", "p"), "v"
_DEAD: LiteralString = """
    SELECT {owner}, {token} FROM {table} WHERE {token} = ANY({tokens}::text[])
"""


@dataclass(slots=True)
class RowsOfEvent:
    """What lies in the database of one event. ``dead`` None: its dead letter would not name it."""

    canonical: int = 0
    dead: int | None = 0
    compared: int = 0
    altered: list[str] = field(default_factory=list)


class ShapedRows:
    """Looks for the rows of events. ``ids``: the tenants' ids by name."""

    def __init__(self, connection: Connection[Any], profile: Profile, ids: Mapping[str, str]) -> None:
        self._connection = connection
        self._ids = ids
        with connection.transaction():
            self._tables: EventTables = event_tables(connection, profile.truth)

    @property
    def has_uuid_keys(self) -> bool:
        """Whether no other keys than UUIDs fit their column."""
        return self._tables.canonical.columns[self._tables.truth.canonical.key].type == "uuid"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Nobody writes rows of events meanwhile. psycopg.Error where not all their tables can be locked at once."""
        with self._connection.transaction():
            self._connection.execute(_HOLD_SOON)
            oids = tables_behind(self._connection, self._tables.canonical)
            relations = self._connection.execute(_RELATIONS, [oids]).fetchall()
            tables = [name for name, kind in relations if kind in _LOCKABLE]
            if others := [name for name, kind in relations if kind not in (*_LOCKABLE, _VIEW)]:
                raise psycopg.NotSupportedError(f"{others[0]} is no table of this database, so no lock holds its rows")
            if not tables:
                raise psycopg.NotSupportedError("no table is known behind the rows of events")
            for name in tables:
                self._connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(name)))
            yield

    def look(self, requests: Sequence[ShapedRequest]) -> list[RowsOfEvent]:
        """What there is of each now."""
        try:
            found = self._look(requests)
        except psycopg.Error:
            if self._connection.broken:
                raise
            # One of them has a value that the database cannot compare.
            if len(requests) > 1:
                return [each for request in requests for each in self.look([request])]
            found = self._look(requests, is_compared=False)
        return found

    def _look(self, requests: Sequence[ShapedRequest], *, is_compared: bool = True) -> list[RowsOfEvent]:
        found = [RowsOfEvent() for _ in requests]
        expected = [self._storable(request) if is_compared else {} for request in requests]
        comparisons = list(dict.fromkeys(each for one in expected for each in one))
        with self._connection.transaction():
            for number, *pairs in self._connection.execute(self._query(requests, expected, comparisons)).fetchall():
                rows = found[number]
                rows.canonical += 1
                rows.compared = len(expected[number])
                rows.altered += [
                    _describe(
                        Alteration(
                            each.column, each.type, requests[number].key, expected[number][each], text, each.holes
                        )
                    )
                    for each, is_same, text in zip(comparisons, pairs[::2], pairs[1::2], strict=True)
                    if each in expected[number] and not is_same
                ]
                rows.altered += self._name_unstorable(requests[number])
            self._count_dead(requests, found)
        return found

    def _storable(self, request: ShapedRequest) -> dict[Comparison, str]:
        return {each: text for each, text in request.expected.items() if _is_storable(each, text)}

    def _name_unstorable(self, request: ShapedRequest) -> list[str]:
        """The columns that cannot hold what was sent, so that they hold something else."""
        columns = self._tables.canonical.columns
        return [
            f"{each.column}: it cannot hold a NUL or half of a surrogate pair, and yet the event was stored"
            for each, text in request.expected.items()
            if not _is_storable(each, text) and columns[each.column].type not in ("json", "bytea")
        ]

    def _query(
        self,
        requests: Sequence[ShapedRequest],
        expected: Sequence[Mapping[Comparison, str]],
        comparisons: Sequence[Comparison],
    ) -> sql.Composed:
        table, columns = self._tables.canonical, list(dict.fromkeys(each.column for each in comparisons))
        values = [
            sql.SQL("({})").format(
                sql.SQL(", ").join(
                    [
                        sql.SQL("{}::int").format(sql.Literal(number)),
                        *(_text(word) for word in (self._ids.get(request.tenant, ""), request.key)),
                        *(_text(given.get(each)) for each in comparisons),
                    ]
                )
            )
            for number, (request, given) in enumerate(zip(requests, expected, strict=True))
        ]
        found = [part for at, each in enumerate(comparisons) for part in _verdict(table, each, at, columns)]
        return sql.SQL(_ROWS).format(
            found=sql.SQL(", ").join([sql.SQL("e.number"), *found]),
            values=sql.SQL(", ").join(values),
            names=sql.SQL(", ").join(
                map(sql.Identifier, ["number", "owner", "key", *(f"e{at}" for at in range(len(comparisons)))])
            ),
            owner=self._tables.canonical_tenant,
            token=self._tables.canonical_key,
            columns=sql.SQL(", ").join(
                [
                    sql.SQL("{} AS {}").format(sql.Identifier(column), sql.Identifier(f"c{at}"))
                    for at, column in enumerate(columns)
                ]
                or [sql.SQL("0 AS c0").format()]
            ),
            table=table.source,
        )

    def _count_dead(self, requests: Sequence[ShapedRequest], found: Sequence[RowsOfEvent]) -> None:
        tables = self._tables
        if tables.dead is None:
            return
        if not tables.dead_names_request:
            for rows in found:
                rows.dead = None
            return
        tokens = [each.correlation if tables.is_matched_by_correlation else each.key for each in requests]
        query = sql.SQL(_DEAD).format(
            owner=tables.dead_tenant,
            token=tables.dead_identity,
            table=tables.dead_source,
            tokens=sql.Literal(tokens),
        )
        counts = Counter(self._connection.execute(query).fetchall())
        for request, token, rows in zip(requests, tokens, found, strict=True):
            rows.dead = counts[self._ids.get(request.tenant, ""), token]
            if not rows.dead and tables.may_be_nameless:
                rows.dead = None


def _describe(altered: Alteration) -> str:
    return f"{altered.label} ({altered.words.removeprefix(f'{altered.column}: ')})"


def _text(value: str | None) -> sql.Composable:
    return sql.SQL("{}::text").format(sql.Literal(value))


def _verdict(table: Table, each: Comparison, at: int, columns: Sequence[str]) -> Iterable[sql.Composable]:
    """Whether a column holds what it must, and what it holds; NULL where nothing is compared."""
    given, found = sql.Identifier(f"e{at}"), sql.Identifier(f"c{columns.index(each.column)}")
    column, own = table.columns[each.column], sql.SQL("s.{}").format(found)
    expected = sql.SQL("e.{}").format(given)
    yield sql.SQL("CASE WHEN {} IS NOT NULL THEN ({}) IS TRUE END").format(
        expected, same_value(each, column, expected, own)
    )
    yield sql.SQL("left({}, {})").format(value_text(column, own, each.type), sql.Literal(_VALUE_MOST))


def _is_storable(comparison: Comparison, text: str) -> bool:
    """Whether PostgreSQL can hold what a column must hold. In a text an escape of JSON is as good as any letters."""
    return not _UNSTORABLE.search(text) and (comparison.type == "text" or _NUL_IN_JSON not in text)
