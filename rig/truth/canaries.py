"""Finds personal data where none may be: canaries in every column of every table, in large objects and comments;
personal keys and columns in the event tables.

Flow: each table is read once, by a scan that returns only suspicious rows; rows that were written before the run cannot
hold its canaries. The values of a suspicious row are examined here in all spellings (``rig.truth.spellings``); in a
JSON value, every place. Canaries of other runs are ignored. A personal key in a row that names no request of the run
may be older than the run. Such rows are counted before the run, and any increase is the run's. The report names places
and requests, never the content of a row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString

from psycopg import Connection, sql

from rig.evidence.truth import CanaryHit
from rig.model import Tenant
from rig.truth.catalog import comment_tables, text_tables, use_schemas
from rig.truth.expected import RequestIndex
from rig.truth.personal_keys import PersonalKeys
from rig.truth.reconcile import Baseline
from rig.truth.spellings import TOKEN_CHARACTERS_MIN, suspicious, suspicious_bytes, tokens_in
from rig.truth.tables import Column, EventTables, Table, is_new

HITS_MAX = 10_000
"""So many hits are named in rows, and so many in logs; the rest is only counted."""

_EventRow = tuple[sql.Composable, sql.Composable]
"""SQL for the tenant of a row of an event table, and for what names its request."""
_LARGE_OBJECT = "a large object"
_OVERLAP_BYTES = 512
"""More than the longest spelling of a canary: so much of the next page is read with each page."""


@dataclass(slots=True)
class Findings:
    """What was searched and found so far."""

    hits: list[CanaryHit]
    hits_total: int = 0
    columns_scanned: int = 0

    def add(self, hit: CanaryHit) -> None:
        """Count a hit, and keep it while there is room."""
        self.hits_total += 1
        if len(self.hits) < HITS_MAX:
            self.hits.append(hit)

    def overflow_notes(self, where: str) -> list[str]:
        """A note where not all hits are named."""
        if self.hits_total <= HITS_MAX:
            return []
        return [f"only the first {HITS_MAX} of {self.hits_total} hits of personal data in {where} are named"]


class Search:
    """The search of one run in its tables. It holds no connection."""

    def __init__(
        self,
        tables: EventTables,
        keys: Sequence[str],
        index: RequestIndex,
        tenants: Sequence[Tenant],
        baseline: Baseline,
        allowed: frozenset[tuple[int, str]] = frozenset(),
        *,
        columns: bool = False,
    ) -> None:
        """``columns``: a column that is named like personal data must stay empty."""
        self.findings = Findings([])
        self.notes: list[str] = []
        self._tables = tables
        self._keys = PersonalKeys(keys)
        self._index = index
        self._names = {tenant.id: tenant.name for tenant in tenants}
        # A row in a shared table may be somebody else's, whoever was there before.
        self._fresh = set() if tables.is_shared else {tenant.id for tenant in tenants if baseline.fresh(tenant)}
        self._allowed = allowed
        self._judges_columns = columns
        self._since = baseline.since
        self._unattributed = 0
        self._before = baseline.personal
        self._ownerless: Counter[tuple[str, str]] = Counter()
        """(tenant id, column) → values with a personal key in rows that do not say whether they are of this run."""

    def search_tables(self, connection: Connection[Any]) -> None:
        """Search every column of the target's schemas; the event tables by name, even if they are views."""
        self._search_events(connection)
        if self._judges_columns:
            self._find_filled_columns(connection)
        searched = {*(table.oid for table in self._tables.all), *self._partitions(connection, *self._tables.all)}
        for table in text_tables(connection, self._tables.truth.schemas):
            if table.oid not in searched:
                self._search_table(connection, table, None)
        for table in comment_tables(connection):
            self._search_table(connection, table, None, is_own=False)
        self._search_large_objects(connection)
        self._add_growth()

    def count_older(self, connection: Connection[Any]) -> dict[str, dict[str, int]]:
        """Before the run: count rows of the tenants that hold a personal key, by tenant id and column."""
        self._search_events(connection)
        counted: dict[str, dict[str, int]] = {}
        for (tenant, place), rows in self._ownerless.items():
            counted.setdefault(tenant, {})[place] = rows
        return counted

    @property
    def ownerless_count(self) -> int:
        """Rows with a personal key that may be older than the run, where those before it were not counted."""
        return self._ownerless.total() if self._before is None else self._unattributed

    def _search_events(self, connection: Connection[Any]) -> None:
        tables = self._tables
        use_schemas(connection, tables.truth)
        self._search_table(connection, tables.canonical, (tables.canonical_tenant, tables.canonical_key))
        if tables.dead is not None:
            self._search_table(connection, tables.dead, (tables.dead_tenant, tables.dead_identity))

    def _add_growth(self) -> None:
        """Such a row does not say whether it is new, but an increase in number says that some are."""
        if self._before is None:
            return
        for (tenant, place), rows in self._ownerless.items():
            more = rows - self._before.get(tenant, {}).get(place, 0)
            if more > 0 and self._tables.is_shared:
                self._unattributed += more
            elif more > 0:
                what = f"a personal key in {more} rows more than before the run,"
                self.findings.add(CanaryHit(place, False, what, self._unknown(tenant)))

    def _partitions(self, connection: Connection[Any], *tables: Table) -> list[int]:
        partitions = connection.execute(
            "SELECT p.relid::oid FROM unnest(%s::oid[]) AS root, pg_catalog.pg_partition_tree(root) AS p",
            [[table.oid for table in tables]],
        )
        return [oid for (oid,) in partitions]

    def _search_table(
        self, connection: Connection[Any], table: Table, event: _EventRow | None, *, is_own: bool = True
    ) -> None:
        """``is_own``: a table of the target, not of the catalog."""
        columns = self._columns(table)
        if not columns:
            return
        self.findings.columns_scanned += len(columns) if is_own else 0
        with connection.cursor() as cursor:
            # Streamed, because an old database may be full of canaries of other runs.
            for tenant, identity, *values in cursor.stream(self._query(table, event)):
                keys = self._keys if tenant in self._names else None
                owner = partial(self._owner, tenant, identity)
                for column, value in zip(columns, values, strict=True):
                    place = f"{table}.{column.name}"
                    has_stranger = value is not None and self._examine(value, place, keys, owner)
                    # In a shared table a row that names no request of the run is another's; one without a name may not.
                    if has_stranger and (identity is None or not self._tables.is_shared):
                        self._ownerless[tenant, place] += 1

    def _columns(self, table: Table) -> list[Column]:
        """The columns to be searched. A statement's are allowed by their names: what it reads is searched too."""
        allowed = {name for oid, name in self._allowed if oid == table.oid or table.statement is not None}
        return [column for column in table.text_columns if column.name not in allowed]

    def _query(self, table: Table, event: _EventRow | None) -> sql.Composed:
        columns = self._columns(table)
        names = [sql.Identifier(f"value{at}") for at in range(len(columns))]
        hay, lowered = sql.Identifier("hay"), sql.Identifier("lowered")
        values = list(zip(names, columns, strict=True))
        tests = []
        if self._index.has_canaries:
            tests = [suspicious(hay, lowered), *(suspicious_bytes(name) for name, each in values if each.is_bytes)]
        return sql.SQL(_SUSPICIOUS_ROWS).format(
            names=sql.SQL(", ").join(names),
            values=sql.SQL(", ").join(sql.SQL("{} AS {}").format(each.value, name) for name, each in values),
            texts=sql.SQL(", ").join(each.as_text(name) if each.is_bytes else name for name, each in values),
            tenant=event[0] if event else sql.NULL,
            identity=event[1] if event else sql.NULL,
            table=sql.SQL("{}" if event else "ONLY {}").format(table.sql),
            is_new=is_new(table, self._since),
            canaries=sql.SQL(" OR ").join(tests) if tests else sql.SQL("false"),
            keys=self._keys.suspicious(lowered) if event else sql.SQL("false"),
        )

    def _find_filled_columns(self, connection: Connection[Any]) -> None:
        """Add a hit for each column of the event tables that is named like personal data and filled by the run."""
        tables = self._tables
        events = [(tables.canonical, tables.canonical_tenant, tables.canonical_key)]
        if tables.dead is not None:
            events.append((tables.dead, tables.dead_tenant, tables.dead_identity))
        for table, tenant, identity in events:
            for column in table.columns.values():
                if not column.may_be_personal or not self._keys.find_personal(column.name):
                    continue
                query = sql.SQL(_FILLED_ROW).format(
                    tenant=tenant,
                    identity=identity,
                    table=table.sql,
                    is_new=is_new(table, self._since),
                    value=column.text,
                    identities=sql.Literal(self._index.identities),
                    fresh=sql.Literal(list(self._fresh)),
                )
                for tenant_id, named in connection.execute(query).fetchall():
                    request = self._owner(tenant_id, named) or self._unknown(tenant_id)
                    what = "a value in a column named like personal data,"
                    self.findings.add(CanaryHit(f"{table}.{column.name}", False, what, request))

    def _search_large_objects(self, connection: Connection[Any]) -> None:
        """Search those that the run wrote to; a note where this role may not read them."""
        if not self._index.has_canaries:
            return
        is_readable, is_any = connection.execute(
            "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT'),"
            " EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)"
        ).fetchone() or (False, False)
        if not is_any:
            return
        if not is_readable:
            self.notes.append(
                "large objects were not searched for personal data: the role of "
                f"${self._tables.truth.dsn_env} may not read pg_largeobject; GRANT SELECT ON pg_largeobject TO it"
            )
            return
        pages = Table(0, "pg_catalog", "pg_largeobject", {}, readable=True, filtered=False, has_xmin=True)
        query = sql.SQL(_PAGES).format(is_new=is_new(pages, self._since), overlap=sql.Literal(_OVERLAP_BYTES))
        with connection.cursor() as cursor:
            for oid, data in cursor.stream(query):
                self._examine(bytes(data), f"{_LARGE_OBJECT} ({oid})", None, lambda: None)

    def _owner(self, tenant: str | None, identity: str | None) -> str | None:
        """A description of the request that a row belongs to; None where the row may be older than the run."""
        request = self._index.by_identity(identity) if identity else None
        if request is not None or tenant is None:
            return request
        return self._unknown(tenant) if tenant in self._fresh else None

    def _unknown(self, tenant: str) -> str:
        return f"a request of tenant {self._names.get(tenant, tenant)}, unknown which"

    def _examine(
        self, value: str | bytes, place: str, keys: PersonalKeys | None, owner: Callable[[], str | None]
    ) -> bool:
        """Add what is found; True where there is a personal key whose request is unknown."""
        ownerless = False
        for what, token, path in dict.fromkeys(_places(value, keys)):
            request = self._index.by_canary(token) if token else owner()
            if request is not None:
                self.findings.add(CanaryHit(place, False, what, request, path))
            ownerless = ownerless or (request is None and not token)
        return ownerless


# OFFSET 0 keeps PostgreSQL from making the texts again for each condition. Backslashes are removed, so that a key is
# also found in JSON that is quoted within JSON.
_SUSPICIOUS_ROWS: LiteralString = """
    SELECT tenant, identity, {names} FROM (
        SELECT *, lower(replace(hay, '\\', '')) AS lowered FROM (
            SELECT *, array_to_string(ARRAY[{texts}], ' ') COLLATE "C" AS hay FROM (
                SELECT {tenant} AS tenant, {identity} AS identity, {values}, {is_new} AS is_new FROM {table} OFFSET 0
            ) read OFFSET 0
        ) joined OFFSET 0
    ) searched
    WHERE CASE WHEN is_new THEN {canaries} ELSE false END OR {keys}
"""
# One row of the run is enough: it shows that the column is filled.
_FILLED_ROW: LiteralString = """
    SELECT tenant, identity FROM (
        SELECT {tenant} AS tenant, {identity} AS identity FROM {table}
        WHERE {is_new} AND {value} <> ''
    ) filled
    WHERE identity = ANY({identities}::text[]) OR identity IS NULL AND tenant = ANY({fresh}::text[]) LIMIT 1
"""
_PAGES: LiteralString = """
    SELECT loid, data || coalesce(substring(
        lead(data) OVER (PARTITION BY loid ORDER BY pageno) FROM 1 FOR {overlap}
    ), '')
    FROM pg_catalog.pg_largeobject
    WHERE loid IN (SELECT loid FROM pg_catalog.pg_largeobject WHERE {is_new})
"""


def _places(value: str | bytes, keys: PersonalKeys | None) -> Iterator[tuple[str, str, str]]:
    """All personal data in a value, as (what, canary token or "", JSON path or "")."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    whole = [*_mentions(value, "", keys)]
    if not whole:
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    found = list(_walk(document, keys)) if isinstance(document, dict | list) else []
    # What the parser drops (a duplicate key), or what is spelt over several values, still counts, without its path.
    seen = {token or what for what, token, _ in found}
    yield from found
    yield from (hit for hit in whole if (hit[1] or hit[0]) not in seen)


def _walk(document: Any, keys: PersonalKeys | None) -> Iterator[tuple[str, str, str]]:
    """Search every key and every value of a document; ``$`` is its root."""
    waiting: list[tuple[Any, str]] = [(document, "$")]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                at = f"{path}.{key}"
                if keys and (named := keys.find_personal(key)):
                    yield f"key {named!r}", "", at
                yield from _mentions(key, at, None)
                waiting.append((value, at))
        elif isinstance(node, list):
            waiting.extend((value, f"{path}[{number}]") for number, value in enumerate(node))
        elif isinstance(node, str | int):
            yield from _mentions(str(node), path, keys)


def _mentions(value: str | bytes, path: str, keys: PersonalKeys | None) -> Iterator[tuple[str, str, str]]:
    if len(value) >= TOKEN_CHARACTERS_MIN:
        data = value if isinstance(value, bytes) else value.encode(errors="replace")
        for token, spelling in tokens_in(data).items():
            yield f"value {token}{f' ({spelling})' if spelling else ''}", token, path
    if keys and isinstance(value, str):
        for key in keys.find_in(value):
            yield f"key {key!r}", "", path
