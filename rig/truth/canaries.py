"""Finds personal data where none may be: canaries in every text column and log file, personal keys in the event tables.

Flow: each table is read once, by a scan that returns only suspicious rows. Their values are examined here; in a JSON
value, every place. Canaries of other runs are ignored. A personal key in a row that names no request of the run may be
older than the run. Such rows are counted before the run, and any increase is the run's. The report names places and
requests, never the content of a row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from rig.evidence.truth import CanaryHit
from rig.model import Tenant
from rig.requests.canary import CANARY_PATTERN
from rig.truth.expected import RequestIndex
from rig.truth.reconcile import Baseline
from rig.truth.tables import Column, EventTables, Table, text_tables, use_schemas

HITS_MAX = 10_000
"""So many hits are named in rows, and so many in logs; the rest is only counted."""

_CANARY = re.compile(CANARY_PATTERN)
_CANARY_BYTES = re.compile(CANARY_PATTERN.encode())
_CANARY_STARTS = ("cnry", "9997", "2001:db8")
"""What every canary contains: a plain search for these is many times cheaper than the pattern."""
_LINE_BYTES_MAX = 1 << 20
_CARRIED_BYTES = 64
"""More than the longest canary, so that one is found even where an endless line is cut."""

_EventRow = tuple[sql.Composable, sql.Composable]
"""SQL for the tenant of a row of an event table, and for what names its request."""


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


class PersonalKeys:
    """The keys of personal data, as a search in the text form of JSON."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.names = frozenset(keys)
        # To search for a key also finds those that end in it.
        ends = [key for key in keys if not any(key != other and key.endswith(other) for other in keys)]
        self.needles = [f'{end}"' for end in dict.fromkeys(ends)]
        alternatives = "|".join(re.escape(key) for key in sorted(self.names, key=len, reverse=True))
        self.pattern = re.compile(rf'"({alternatives})\\*"\s*:') if keys else None

    def find_in(self, text: str) -> Iterator[str]:
        """The keys that a text contains as keys, also in JSON quoted within JSON."""
        if self.pattern is not None:
            yield from dict.fromkeys(self.pattern.findall(text))


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
    ) -> None:
        self.findings = Findings([])
        self._tables = tables
        self._keys = PersonalKeys(keys)
        self._index = index
        self._names = {tenant.id: tenant.name for tenant in tenants}
        # A row in a shared table may be somebody else's, whoever was there before.
        self._fresh = set() if tables.is_shared else {tenant.id for tenant in tenants if baseline.fresh(tenant)}
        self._allowed = allowed
        self._unattributed = 0
        self._before = baseline.personal
        self._ownerless: Counter[tuple[str, str]] = Counter()
        """(tenant id, column) → values with a personal key in rows that do not say whether they are of this run."""

    def search_tables(self, connection: Connection[Any]) -> None:
        """Search every text column of the target's schemas; the event tables by name, even if they are views."""
        self._search_events(connection)
        searched = {*(table.oid for table in self._tables.all), *self._partitions(connection, *self._tables.all)}
        for table in text_tables(connection, self._tables.truth.schemas):
            if table.oid not in searched:
                self._search_table(connection, table, None)
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

    def _search_table(self, connection: Connection[Any], table: Table, event: _EventRow | None) -> None:
        columns = self._columns(table)
        if not columns:
            return
        self.findings.columns_scanned += len(columns)
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
        suspicious = [sql.SQL("strpos(hay, {}) > 0").format(sql.Literal(start)) for start in _CANARY_STARTS]
        sure = CANARY_PATTERN
        if event and self._keys.pattern is not None:
            suspicious += [sql.SQL("strpos(hay, {}) > 0").format(sql.Literal(end)) for end in self._keys.needles]
            sure = f"{CANARY_PATTERN}|{self._keys.pattern.pattern}"
        # OFFSET 0 keeps PostgreSQL from making the concatenation again for each condition. Backslashes are removed,
        # so that a key is also found in JSON that is quoted within JSON.
        return sql.SQL(
            """
            SELECT tenant, identity, {names} FROM (
                SELECT {tenant} AS tenant, {identity} AS identity, {values},
                    replace(concat_ws(' ', {texts}) COLLATE "C", '\\', '') AS hay
                FROM {table} OFFSET 0
            ) searched
            WHERE CASE WHEN {suspicious} THEN hay ~ {sure} ELSE false END
            """
        ).format(
            names=sql.SQL(", ").join(sql.Identifier(f"value{at}") for at in range(len(columns))),
            values=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(column.text, sql.Identifier(f"value{at}"))
                for at, column in enumerate(columns)
            ),
            texts=sql.SQL(", ").join(column.text for column in columns),
            tenant=event[0] if event else sql.NULL,
            identity=event[1] if event else sql.NULL,
            table=sql.SQL("{}" if event else "ONLY {}").format(table.sql),
            suspicious=sql.SQL(" OR ").join(suspicious),
            sure=sql.Literal(sure),
        )

    def _owner(self, tenant: str | None, identity: str | None) -> str | None:
        """A description of the request that a row belongs to; None where the row may be older than the run."""
        request = self._index.by_identity(identity) if identity else None
        if request is not None or tenant is None:
            return request
        return self._unknown(tenant) if tenant in self._fresh else None

    def _unknown(self, tenant: str) -> str:
        return f"a request of tenant {self._names.get(tenant, tenant)}, unknown which"

    def _examine(self, text: str, place: str, keys: PersonalKeys | None, owner: Callable[[], str | None]) -> bool:
        """Add what is found; True where there is a personal key whose request is unknown."""
        ownerless = False
        for what, token, path in dict.fromkeys(_places(text, keys)):
            request = self._index.by_canary(token) if token else owner()
            if request is not None:
                self.findings.add(CanaryHit(place, False, what, request, path))
            ownerless = ownerless or (request is None and not token)
        return ownerless


def search_log(path: Path, index: RequestIndex, findings: Findings) -> None:
    """Search one log file, line by line; OSError where it cannot be read."""
    with path.open("rb") as file:
        for number, token in _tokens(file.readline):
            request = index.by_canary(token)
            if request is not None:
                findings.add(CanaryHit(f"{path}:{number}", True, f"value {token}", request))


def _tokens(readline: Callable[[int], bytes]) -> Iterator[tuple[int, str]]:
    """(line number, token) of each canary in a file; an endless line is read in pieces that overlap."""
    starts = [start.encode() for start in _CANARY_STARTS]
    number, carried = 1, b""
    while piece := readline(_LINE_BYTES_MAX):
        # UTF-16 has a zero byte beside each letter; without them all encodings are searched alike.
        line = carried + (piece.replace(b"\0", b"") if b"\0" in piece else piece)
        searched_to = 0
        if any(start in line for start in starts):
            for match in _CANARY_BYTES.finditer(line):
                yield number, match.group().decode()
                searched_to = match.end()
        if piece.endswith(b"\n"):
            number, carried = number + 1, b""
        else:
            carried = line[max(searched_to, len(line) - _CARRIED_BYTES) :]


def _places(text: str, keys: PersonalKeys | None) -> Iterator[tuple[str, str, str]]:
    """All personal data in a value, as (what, canary token or "", JSON path or "")."""
    if not _CANARY.search(text) and not (keys and any(keys.find_in(text))):
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = text
    found = list(_walk(document, keys))
    # What the parser drops (a duplicate key) still counts, without its path.
    seen = {what for what, _, _ in found}
    yield from found
    yield from (hit for hit in _mentions(text, "", keys) if hit[0] not in seen)


def _walk(document: Any, keys: PersonalKeys | None) -> Iterator[tuple[str, str, str]]:
    """Search every key and every value of a document; ``$`` is its root."""
    if isinstance(document, str):
        yield from _mentions(document, "", keys)
        return
    waiting: list[tuple[Any, str]] = [(document, "$")]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                at = f"{path}.{key}"
                if keys and key in keys.names:
                    yield f"key {key!r}", "", at
                yield from _mentions(key, at, None)
                waiting.append((value, at))
        elif isinstance(node, list):
            waiting.extend((value, f"{path}[{number}]") for number, value in enumerate(node))
        elif isinstance(node, str | int):
            yield from _mentions(str(node), path, keys)


def _mentions(text: str, path: str, keys: PersonalKeys | None) -> Iterator[tuple[str, str, str]]:
    for token in _CANARY.findall(text):
        yield f"value {token}", token, path
    if keys:
        for key in keys.find_in(text):
            yield f"key {key!r}", "", path
