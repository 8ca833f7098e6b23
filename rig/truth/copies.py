"""Finds copies: rows of the event tables that belong to no request of the run and carry an event of it all the same.

A row belongs to a request if it has its tenant and its key (a dead letter: what the profile matches it by). All other
rows that appeared during the run are searched, whatever tenant they carry: another, an unknown one, NULL. A copy holds,
in any column, a value that is unique to one event: its key, its id or its correlation id, with or without dashes, in
either case, as a part of a longer text; or its number together with its amount. So the rows of others, who may write
to the same tables at the same time, are none. Nor are dead letters that name no request: their number is compared.

Only the event tables are searched. That a service keeps parts of an event elsewhere (line items, an audit trail) is
ordinary. Set-based: the rows left over by one anti-join are read, and their words are joined with the requests'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.model import Row, Tenant
from rig.text import shorten
from rig.truth.expected import SentRequests
from rig.truth.staging import Staging
from rig.truth.tables import EventTables, Table, is_new

COPIES_MAX = 10_000
"""At most so many are named; all are counted."""
_EXAMPLES = 5
_KEY_SHOWN = 80
_WINDOWS = 200
_WORD: LiteralString = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,}|[0-9]{11,15}"


@dataclass(frozen=True, slots=True)
class Copies:
    """``total`` copies, the first of them in words; ``examined``: new rows that belong to no request of the run.

    ``discrepancies``: the copies that reconciliation knows nothing of. It has kinds for rows under a tenant of the run
    whose key nobody sent, and for keys that lie under another tenant.
    """

    total: int
    examined: int
    examples: tuple[str, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()


NO_COPIES = Copies(0, 0)


def find_copies(
    staging: Staging,
    tables: EventTables,
    sent: SentRequests,
    since: int | None,
) -> Copies:
    """Search beside a comparison, whose results it uses. ``since``: see ``rig.truth.tables.is_new``."""
    token = sql.Identifier("correlation" if tables.is_matched_by_correlation else "key")
    suspects = []
    if _has_strangers(staging, tables.canonical, since, sql.SQL(_EXPLAINED).format()):
        suspects.append(_suspects(tables, Row.CANONICAL, tables.canonical, sent.tenants, since))
    if tables.dead is not None and not tables.is_dead_within_canonical:
        nameless = sql.SQL("d.token IS NULL OR" if tables.may_be_nameless else "")
        if _has_strangers(staging, tables.dead, since, sql.SQL(_EXPLAINED_DEAD).format(nameless=nameless, token=token)):
            suspects.append(_suspects(tables, Row.DEAD, tables.dead, sent.tenants, since))
    if not suspects:
        return NO_COPIES
    staging.define("rig_suspect", sql.SQL(_NUMBERED).format(sql.SQL(" UNION ALL ").join(suspects)))
    [(examined,)] = staging.select(sql.SQL("SELECT count(*) FROM rig_suspect").format())
    staging.define("rig_word", sql.SQL(_WORDS).format(word=sql.Literal(_WORD), windows=sql.Literal(_WINDOWS)))
    staging.define("rig_match", sql.SQL(_MATCHES).format())
    staging.define("rig_copy", sql.SQL(_COPIES).format(token=token))
    [(total,)] = staging.select(sql.SQL("SELECT count(*) FROM rig_copy").format())
    copies = [_describe(tables, sent, row) for row in staging.select(sql.SQL(_FIRST).format())]
    return Copies(
        total,
        examined,
        tuple(f"{key.key} (tenant {key.tenant}, {key.scenario_run}): {key.detail}" for key, _ in copies[:_EXAMPLES]),
        tuple(key for key, is_known in copies if not is_known),
    )


def _has_strangers(staging: Staging, table: Table, since: int | None, explained: sql.Composed) -> bool:
    """Whether the table has other new rows than those of requests: to count is many times cheaper than to join."""
    query = sql.SQL("SELECT (SELECT count(*) FROM {table} WHERE {is_new}) <> ({explained})")
    [(has_strangers,)] = staging.select(
        query.format(table=table.source, is_new=is_new(table, since), explained=explained)
    )
    return bool(has_strangers)


def _describe(tables: EventTables, sent: SentRequests, row: tuple[Any, ...]) -> tuple[Discrepancy, bool]:
    """A row of ``rig_copy``, and whether reconciliation names it too."""
    is_known, scenario_run, number, key, place, tenant_id, token, has_own = row
    scenario, tenant = sent.scenario_runs[scenario_run].scenario, sent.tenants[number].name
    table = tables.canonical if place == Row.CANONICAL else tables.dead
    whose = "" if tables.is_shared else f" under tenant {'NULL' if tenant_id is None else tenant_id}"
    named = "without a key" if token is None else f"with the key {shorten(token, _KEY_SHOWN)}"
    own = "" if has_own else "; the event has no row of its own"
    detail = f"a row in {table}{whose}, {named}, carries it{own}"
    return Discrepancy(DiscrepancyKind.COPY, scenario.label, scenario.id, tenant, key, detail), is_known


def _suspects(
    tables: EventTables, place: Row, table: Table, tenants: Sequence[Tenant], since: int | None
) -> sql.Composable:
    """The new rows of a table that belong to no request, with all that they hold as one text."""
    is_dead = place is Row.DEAD
    by_correlation = is_dead and tables.is_matched_by_correlation
    ids = [tenant.id for tenant in tenants]
    return sql.SQL(_SUSPECTS).format(
        place=sql.Literal(place.value),
        tenant=tables.dead_tenant if is_dead else tables.canonical_tenant,
        token=tables.dead_identity if is_dead else tables.canonical_key,
        table=table.source,
        values=sql.SQL(", ").join(column.text for column in table.columns.values()),
        is_new=is_new(table, since),
        named_by=sql.Identifier("correlation" if by_correlation else "key"),
        is_named=sql.SQL(_NAMED).format(sql.Literal(ids)) if is_dead and tables.may_be_nameless else sql.SQL("true"),
    )


_EXPLAINED: LiteralString = "SELECT coalesce(sum(found), 0) FROM rig_kept WHERE expected"
_EXPLAINED_DEAD: LiteralString = """
    SELECT coalesce(sum(found), 0) FROM rig_dead d WHERE d.tenant IS NOT NULL AND (
        {nameless} EXISTS (SELECT FROM rig_request r WHERE r.tenant = d.tenant AND r.{token} = d.token)
    )
"""
_SUSPECTS: LiteralString = """
    SELECT {place} AS place, rig_owner AS tenant_id, rig_token AS token,
        lower(array_to_string(ARRAY[{values}], ' ') COLLATE "C") AS hay
    FROM (SELECT {tenant} AS rig_owner, {token} AS rig_token, * FROM {table} WHERE {is_new}) s
    WHERE {is_named} AND NOT EXISTS (
        SELECT FROM rig_request r JOIN rig_tenant t ON t.number = r.tenant
        WHERE t.id = s.rig_owner AND r.{named_by} = s.rig_token
    )
"""
_NAMED: LiteralString = "(rig_token IS NULL AND rig_owner = ANY({}::text[])) IS NOT TRUE"
_NUMBERED: LiteralString = "SELECT row_number() OVER () AS at, s.* FROM ({}) s"
# Of digits in a longer run, every part could be the id: each is tried, in runs that are not too long.
_WORDS: LiteralString = """
    SELECT DISTINCT s.at, substr(found.word, first, 32) AS word
    FROM rig_suspect s,
        LATERAL regexp_matches(s.hay, {word}, 'g') AS matched,
        LATERAL (SELECT replace(matched[1], '-', '') COLLATE "C" AS word) found,
        LATERAL generate_series(1, least({windows}, greatest(1, length(found.word) - 31))) AS first
"""
# An event's id is its key without dashes; its number and amount follow from the first digits (rig.requests.targeter).
_MATCHES: LiteralString = """
    SELECT w.at, r.scenario_run, r.tenant, r.key, r.correlation
    FROM rig_word w JOIN rig_request r ON w.word = replace(r.key, '-', '')
    UNION ALL
    SELECT w.at, r.scenario_run, r.tenant, r.key, r.correlation
    FROM rig_word w JOIN rig_request r ON w.word = replace(r.correlation, '-', '')
    UNION ALL
    SELECT s.at, r.scenario_run, r.tenant, r.key, r.correlation
    FROM (
        SELECT *, number::text COLLATE "C" AS word, 100 + number % 99900 AS amount
        FROM (
            SELECT *, ('x' || left(key, 8) || substr(key, 10, 4))::bit(48)::bigint AS number
            FROM rig_request WHERE key ~ '^[0-9a-f]{{8}}-[0-9a-f]{{4}}-'
        ) q
    ) r
    JOIN rig_word w ON w.word = r.word
    JOIN rig_suspect s ON s.at = w.at
    WHERE s.hay ~ format('(^|[^0-9.])(%s|%s[.]%s)($|[^0-9])', amount, amount / 100, lpad((amount % 100)::text, 2, '0'))
"""
# The first event of each row. A row that reconciliation names is a copy only where the event has its own row as well:
# else it is that row, and lies in the wrong place.
_COPIES: LiteralString = """
    SELECT * FROM (
        SELECT m.scenario_run, m.tenant, m.key, s.place, s.tenant_id, s.token,
            s.tenant_id IN (SELECT id FROM rig_tenant) IS TRUE OR s.token IN (SELECT {token} FROM rig_request) IS TRUE
                OR s.token IN (SELECT key FROM rig_request) IS TRUE AS is_known,
            EXISTS (SELECT FROM rig_kept k WHERE k.tenant = m.tenant AND k.key = m.key AND k.found > 0)
                OR EXISTS (SELECT FROM rig_dead d WHERE d.tenant = m.tenant AND d.token = m.{token}) AS has_own
        FROM (SELECT DISTINCT ON (at) * FROM rig_match ORDER BY at, scenario_run, tenant, key) m
        JOIN rig_suspect s ON s.at = m.at
    ) found WHERE has_own OR NOT is_known
"""
_FIRST = f"""
    SELECT is_known, scenario_run, tenant, key, place, tenant_id, token, has_own FROM rig_copy
    ORDER BY 1, 2, 3, 4, 5, 6, 7 LIMIT {COPIES_MAX}
"""
