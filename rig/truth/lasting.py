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
from rig.requests.targeter import Targeter
from rig.truth.expected import RunOutcomes, expectations
from rig.truth.staging import Columns, Staging, may_create_temporary
from rig.truth.tables import EventTables, Table, is_new

NAMED_MOST = 10_000
"""At most so many keys are named; all are counted."""
_FOLLOWED_MOST = 1_000
"""Of so many vanished keys it is asked whether they lie under another tenant now."""
_SIGNATURE_BYTES, _END_BYTES = 19, 2
"""What comes before and after the rows of a binary COPY (PostgreSQL, "COPY", File Formats)."""
_LOOK: LiteralString = """
    SELECT pg_catalog.hashtextextended(coalesce({token}, ''), pg_catalog.hashtext(coalesce({owner}, ''))), {columns}
    FROM {source} WHERE {own}
"""
_NAMES: LiteralString = """
    SELECT pg_catalog.hashtextextended({token}, pg_catalog.hashtext(owner)), number FROM rig_named
"""
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
    def of(cls, columns: tuple[str, ...], rows: NDArray[np.void]) -> TableLook:
        """Of rows as ``_copy`` reads them."""
        rows = rows[np.argsort(rows["identity"])]
        identities = rows["identity"].astype(np.int64)
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = identities[1:] != identities[:-1]
        starts = np.flatnonzero(is_first)
        sums = [np.add.reduceat(rows[f"c{at}"].astype(np.int64), starts) for at in range(len(columns)) if len(rows)]
        counts = np.diff(np.append(starts, len(rows)))
        return cls(
            columns, identities[starts], counts, np.array(sums, dtype=np.int64).reshape(len(columns), len(starts))
        )


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
        looks[row] = TableLook.of(columns, _copy(connection, query.as_bytes(connection), max(1, len(columns))))
    return Look(taken_s, looks)


def compare(
    connection: Connection[Any],
    tables: EventTables,
    first: Look,
    last: Look,
    targeter: Targeter,
    scenario_runs: Sequence[RunOutcomes],
    tenants: Sequence[Tenant],
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
    names = _Names(connection, tables, targeter, scenario_runs, tenants, fresh)
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


def _copy(connection: Connection[Any], query: bytes, columns: int) -> NDArray[np.void]:
    """The rows of a query that gives a bigint and so many ints, none of them NULL."""
    framed: list[tuple[str, str]] = [("fields", ">i2"), ("size", ">i4"), ("identity", ">i8")]
    for at in range(columns):
        framed += [(f"size{at}", ">i4"), (f"c{at}", ">i4")]
    with connection.cursor().copy(b"COPY (" + query + b") TO STDOUT (FORMAT binary)") as copy:
        data = b"".join(copy)
    kind = np.dtype(framed)
    return np.frombuffer(data, kind, (len(data) - _SIGNATURE_BYTES - _END_BYTES) // kind.itemsize, _SIGNATURE_BYTES)


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
        targeter: Targeter,
        scenario_runs: Sequence[RunOutcomes],
        tenants: Sequence[Tenant],
        fresh: AbstractSet[str],
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._scenarios = [outcomes.scenario for outcomes in scenario_runs]
        self._tenants = tenants
        self._dead_token = "correlation" if tables.is_matched_by_correlation else "key"
        self._staging = Staging(connection, temporary=may_create_temporary(connection))
        numbers = {tenant.name: number for number, tenant in enumerate(tenants)}
        requests = (each for each in expectations(targeter, scenario_runs, numbers) if each.forgery is None)
        named = [(each.scenario_run, each.tenant, each.key, each.correlation) for each in requests]
        # Dead letters that name no request are counted for a tenant that is the run's own.
        nameless = [] if tables.is_shared else [number for number, each in enumerate(tenants) if each.id in fresh]
        named += [(-1, number, "", "") for number in nameless]
        rows = ((at, *each, tenants[each[1]].id) for at, each in enumerate(named))
        self._staging.load("rig_named", _NAMED, rows)

    def numbers(self, row: Row) -> _Numbers:
        """The numbers of all keys."""
        return self._read(row)["identity"].astype(np.int64)

    def _read(self, row: Row) -> NDArray[np.void]:
        token = sql.Identifier(self._dead_token if row is Row.DEAD else "key")
        return _copy(self._connection, self._staging.render(sql.SQL(_NAMES).format(token=token)), 1)

    def describe(self, row: Row, found: _Differences, columns: Sequence[str]) -> Iterator[Discrepancy]:
        """The first keys that differ, by name."""
        requests = self._read(row)
        chosen = slice(NAMED_MOST)
        where = {int(each): at for at, each in enumerate(found.identities[chosen])}
        own = requests[np.isin(requests["identity"].astype(np.int64), found.identities[chosen])]
        named = self._staging.select(
            sql.SQL("SELECT number, scenario_run, tenant, {}, key FROM rig_named WHERE number = ANY({})").format(
                sql.Identifier(self._dead_token if row is Row.DEAD else "key"),
                sql.Literal(own["c0"].tolist()),
            )
        )
        by_number = {number: request for number, *request in named}
        placed = {where[int(each["identity"])]: by_number[int(each["c0"])] for each in own[::-1]}
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
