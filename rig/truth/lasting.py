"""Whether rows last: the event tables are read twice, and every row that was there must be there still, unchanged.

Flow: ``take_look`` reads of each row a number for its tenant and key, and one for each column that the profile names.
The first look belongs to the snapshot of the reconciliation. The last one is taken some seconds after the last answer,
and ``compare`` lays the two side by side, as arrays. Only where they differ are the keys asked for by name, which also
tells the rows of the run from those of others. No session stays open in between, and nothing is written.

A row that came between the looks is not judged. A column that the profile does not name may change, and so may those of
``truth.volatile``. A row that moved to a table of ``truth.moves_to`` is still there: both looks read that table, too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from rig.evidence.truth import Discrepancy, DiscrepancyKind, Lasting
from rig.model import Row, Tenant
from rig.profile import Profile
from rig.truth.expected import SentRequests, expectations
from rig.truth.staging import Columns, Staging, may_create_temporary
from rig.truth.tables import EventTables, Table, is_new

NAMED_MOST = 10_000
"""At most so many keys are named; all are counted."""
_FOLLOWED_MOST = 1_000
"""Of so many vanished keys it is asked whether they lie under another tenant now."""
_ARRAY_HEADER_BYTES = 20
"""What comes before the elements of an array of one dimension, as the server sends it in binary (``array_send``)."""
_LOOK: LiteralString = """
    SELECT pg_catalog.hashtextextended(coalesce({token}, ''), pg_catalog.hashtext(coalesce({owner}, ''))), {columns}
    FROM {source} WHERE {own}
"""
_NAMES: LiteralString = """
    SELECT pg_catalog.hashtextextended({token}, pg_catalog.hashtext(owner)), number FROM rig_named
"""
_IN_ARRAYS: LiteralString = """
    SELECT pg_catalog.array_agg(identity), {arrays} FROM ({rows}) AS looked (identity, {names}) GROUP BY identity & 63
"""
"""A few long arrays instead of many rows: to take a row from libpq costs more than to hash it."""
_FOUND: LiteralString = "SELECT DISTINCT {owner}, {token} FROM {source} WHERE {token} = ANY({tokens}::text[])"
_NAMED: Columns = (
    *((name, "int") for name in ("number", "scenario_run", "tenant")),
    *((name, "text") for name in ("key", "correlation", "owner")),
)
_Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TableLook:
    """The rows of one event table by tenant and key: how many, and the sum of the numbers of each column."""

    columns: tuple[str, ...]
    identities: _Numbers
    counts: _Numbers
    sums: _Numbers

    @classmethod
    def of(cls, columns: tuple[str, ...], identities: _Numbers, numbers: Sequence[NDArray[np.int32]]) -> TableLook:
        """Of rows as ``_read`` gives them: the identity of each, and one array for each column."""
        order = np.argsort(identities)
        identities = identities[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = identities[1:] != identities[:-1]
        starts = np.flatnonzero(is_first)
        sums = np.zeros((len(columns), len(starts)), np.int64)
        for at in range(len(columns) if len(order) else 0):
            sums[at] = np.add.reduceat(numbers[at][order], starts, dtype=np.int64)
        return cls(columns, identities[starts], np.diff(np.append(starts, len(order))), sums)


@dataclass(frozen=True, slots=True)
class Look:
    """Both tables at one time (of the monotonic clock)."""

    taken_s: float
    tables: dict[Row, TableLook]


def take_look(
    connection: Connection[Any], tables: EventTables, profile: Profile, tenants: Sequence[Tenant], since: int | None
) -> Look:
    """Read the rows of the tenants; of tables that others write to, all that are new (``rig.truth.tables.is_new``)."""
    taken_s, looks = time.monotonic(), {}
    for row, table in _places(tables):
        columns = _compare_looks(tables, profile, row)
        owner, token = _identity(tables, row)
        own = sql.SQL("{} = ANY({}::text[])").format(owner, sql.Literal([tenant.id for tenant in tenants]))
        words = [sql.SQL("coalesce(pg_catalog.hashtext({}), 0)").format(table.columns[name].word) for name in columns]
        query = sql.SQL(_LOOK).format(
            token=token,
            owner=owner,
            columns=sql.SQL(", ").join(words or [sql.SQL("0").format()]),
            source=table.source,
            own=is_new(table, since) if tables.is_shared else own,
        )
        arrays = _in_arrays(query, max(1, len(columns))).as_bytes(connection)
        looks[row] = TableLook.of(columns, *_read(connection, arrays))
    return Look(taken_s, looks)


def compare(
    connection: Connection[Any],
    tables: EventTables,
    first: Look,
    last: Look,
    sent: SentRequests,
    fresh: AbstractSet[str],
) -> tuple[Lasting, tuple[Discrepancy, ...]]:
    """What became of the rows of the first look; ``fresh``: the ids of the tenants that had no row before the run."""
    rows = sum(int(look.counts.sum()) for look in first.tables.values())
    columns = {f"{table}.{name}" for row, table in _places(tables) for name in first.tables[row].columns}
    differences = {row: _differences(look, last.tables[row], row) for row, look in first.tables.items()}
    seconds = round(last.taken_s - first.taken_s, 1)
    lasting = Lasting(rows, seconds=seconds, columns=tuple(sorted(columns)))
    if not any(len(each.identities) for each in differences.values()):
        return lasting, ()
    names = _Names(connection, tables, sent, fresh)
    vanished = changed = 0
    by_column, discrepancies = Counter[str](), list[Discrepancy]()
    for row, found in differences.items():
        own = found.of_requests(names.numbers(row))
        vanished += int(own.missing.sum())
        changed += int((own.missing == 0).sum())
        for at, name in enumerate(first.tables[row].columns):
            by_column[name] += int(own.differs[at].sum())
        discrepancies += names.describe(row, own, first.tables[row].columns)
    changed_columns = {name: count for name, count in by_column.items() if count}
    lasting = replace(lasting, vanished=vanished, changed=changed, changed_columns=changed_columns)
    return lasting, tuple(discrepancies[:NAMED_MOST])


def _places(tables: EventTables) -> Iterator[tuple[Row, Table]]:
    yield Row.CANONICAL, tables.canonical
    if tables.dead is not None:
        yield Row.DEAD, tables.dead


def _identity(tables: EventTables, row: Row) -> tuple[sql.Composable, sql.Composable]:
    if row is Row.DEAD:
        return tables.dead_tenant, tables.dead_identity
    return tables.canonical_tenant, tables.canonical_key


def _compare_looks(tables: EventTables, profile: Profile, row: Row) -> tuple[str, ...]:
    """The columns that the profile names and that may not change. Tenant and key are the identity of a row."""
    truth = profile.truth
    if row is Row.DEAD:
        table, named = tables.dead, list(truth.dead.fields if truth.dead is not None else ())
    else:
        fields = [name for route in profile.routes for name in route.fields]
        also = [name for name in (truth.canonical.correlation, truth.canonical.channel) if name]
        table, named = tables.canonical, [*also, *truth.canonical.fields, *fields]
    may_change = {*truth.volatile, *(name.removeprefix(f"{table and table.name}.") for name in truth.volatile)}
    return tuple(name for name in dict.fromkeys(named) if name not in may_change)


def _in_arrays(query: sql.Composable, columns: int) -> sql.Composed:
    """The query that ``_read`` wants, for one that gives a bigint and so many ints, none of them NULL."""
    names = [sql.Identifier(f"c{at}") for at in range(columns)]
    arrays = sql.SQL(", ").join(sql.SQL("pg_catalog.array_agg({})").format(name) for name in names)
    return sql.SQL(_IN_ARRAYS).format(arrays=arrays, rows=query, names=sql.SQL(", ").join(names))


def _read(connection: Connection[Any], query: bytes) -> tuple[_Numbers, list[NDArray[np.int32]]]:
    """The identities and the columns of the rows that a query gives as arrays."""
    with connection.cursor(binary=True) as cursor:
        result = cursor.execute(query).pgresult
        assert result is not None
        columns = [
            np.concatenate(
                [_elements(result.get_value(row, at), ">i4" if at else ">i8") for row in range(result.ntuples)]
                or [np.empty(0)]
            )
            for at in range(result.nfields)
        ]
    return columns[0].astype(np.int64), [column.astype(np.int32) for column in columns[1:]]


def _elements(array: bytes | None, kind: str) -> NDArray[Any]:
    """The elements of an array that the server sent in binary: each has its length before it."""
    framed = np.dtype([("size", ">i4"), ("value", kind)])
    return np.frombuffer(array or b"", framed, offset=_ARRAY_HEADER_BYTES)["value"]


@dataclass(frozen=True, slots=True)
class _Differences:
    """The keys of one table that differ: rows missing, rows more, and which columns differ (by column, by key)."""

    identities: _Numbers
    missing: _Numbers
    more: _Numbers
    differs: NDArray[np.bool_]

    def of_requests(self, own: _Numbers) -> _Differences:
        """Those of the keys that are of the run."""
        is_own = np.isin(self.identities, own)
        return _Differences(self.identities[is_own], self.missing[is_own], self.more[is_own], self.differs[:, is_own])


def _differences(first: TableLook, last: TableLook, row: Row) -> _Differences:
    counts, sums = np.zeros_like(first.counts), np.zeros_like(first.sums)
    at = np.searchsorted(last.identities, first.identities)
    found = np.flatnonzero(at < len(last.identities))
    found = found[last.identities[at[found]] == first.identities[found]]
    counts[found], sums[:, found] = last.counts[at[found]], last.sums[:, at[found]]
    missing, more = np.maximum(first.counts - counts, 0), np.maximum(counts - first.counts, 0)
    if row is Row.DEAD:
        more[:] = 0  # a malformed event that was sent again may leave one more, and later
    differs = (sums != first.sums) & (first.counts == counts)
    which = np.flatnonzero((missing > 0) | (more > 0) | differs.any(axis=0))
    return _Differences(first.identities[which], missing[which], more[which], differs[:, which])


class _Names:
    """The requests of the run by the numbers of their keys. Made only where something differs."""

    def __init__(
        self,
        connection: Connection[Any],
        tables: EventTables,
        sent: SentRequests,
        fresh: AbstractSet[str],
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._scenarios = sent.scenarios
        self._tenants = sent.tenants
        self._dead_token = "correlation" if tables.is_matched_by_correlation else "key"
        self._staging = Staging(connection, temporary=may_create_temporary(connection))
        requests = (each for each in expectations(sent) if each.forgery is None)
        named = [(each.scenario_run, each.tenant, each.key, each.correlation) for each in requests]
        # Dead letters that name no request are counted for a tenant that is the run's own.
        nameless = [] if tables.is_shared else [number for number, each in enumerate(sent.tenants) if each.id in fresh]
        named += [(-1, number, "", "") for number in nameless]
        rows = ((at, *each, sent.tenants[each[1]].id) for at, each in enumerate(named))
        self._staging.load("rig_named", _NAMED, rows)

    def numbers(self, row: Row) -> _Numbers:
        """The numbers of all keys."""
        return self._read(row)[0]

    def _read(self, row: Row) -> tuple[_Numbers, NDArray[np.int32]]:
        token = sql.Identifier(self._dead_token if row is Row.DEAD else "key")
        query = _in_arrays(sql.SQL(_NAMES).format(token=token), 1)
        identities, (numbers,) = _read(self._connection, self._staging.render(query))
        return identities, numbers

    def describe(self, row: Row, found: _Differences, columns: Sequence[str]) -> Iterator[Discrepancy]:
        """The first keys that differ, by name."""
        identities, numbers = self._read(row)
        order = np.argsort(numbers)
        identities, numbers = identities[order], numbers[order]
        chosen = slice(NAMED_MOST)
        where = {int(each): at for at, each in enumerate(found.identities[chosen])}
        is_own = np.isin(identities, found.identities[chosen])
        own = list(zip(identities[is_own].tolist(), numbers[is_own].tolist(), strict=True))
        named = self._staging.select(
            sql.SQL("SELECT number, scenario_run, tenant, {}, key FROM rig_named WHERE number = ANY({})").format(
                sql.Identifier(self._dead_token if row is Row.DEAD else "key"),
                sql.Literal([number for _, number in own]),
            )
        )
        by_number = {number: request for number, *request in named}
        placed = {where[identity]: by_number[number] for identity, number in reversed(own)}
        gone = [request[2] for at, request in placed.items() if found.missing[at]]
        tenants_now = self._find(row, gone[:_FOLLOWED_MOST])
        for at, (scenario_run, tenant, token, key) in sorted(placed.items()):
            words = [name for each, name in enumerate(columns) if found.differs[each, at]]
            kind, detail = DiscrepancyKind.CHANGED, f"{', '.join(words)} of its {row.value} row changed"
            if found.more[at]:
                detail = f"{found.more[at]} more {row.value} rows came"
            if found.missing[at]:
                kind, detail = DiscrepancyKind.VANISHED, f"{found.missing[at]} {row.value} rows gone"
                others = tenants_now.get(token, set()) - {self._tenants[tenant].id}
                detail += f"; now under tenant {', '.join(sorted(others))}" if others else ""
            scenario = self._scenarios[scenario_run] if scenario_run >= 0 else None
            label, identity = (scenario.label, scenario.id) if scenario else ("", "")
            yield Discrepancy(kind, label, identity, self._tenants[tenant].name, key, detail)

    def _find(self, row: Row, tokens: Sequence[str]) -> dict[str, set[str]]:
        """The tenants under which these keys lie now."""
        owner, token = _identity(self._tables, row)
        table = self._tables.dead if row is Row.DEAD and self._tables.dead is not None else self._tables.canonical
        query = sql.SQL(_FOUND).format(owner=owner, token=token, source=table.source, tokens=sql.Literal(list(tokens)))
        found: dict[str, set[str]] = {}
        for tenant, each in self._connection.execute(query).fetchall() if tokens else ():
            found.setdefault(each, set()).add("NULL" if tenant is None else tenant)
        return found
