"""Compares expected with observed rows, in SQL over named results. Set-based: no query is made key by key.

The results build on each other (see ``Staging``). A *token* identifies a request in a dead letter: its key, or its
correlation id where the profile matches by that::

    rig_request        one row per request: what it promises and how it ended
    rig_tenant         the run's tenants: their numbers, and what their rows carry
    rig_forged         the forged ones of rig_request; their rows are in no other result
    rig_expected       rig_request by (tenant, key)
    rig_canonical      the canonical table by (tenant, key): the run's tenants, and the run's keys under any other
    rig_kept           rig_expected joined with rig_canonical, with the rows of either that the other lacks
    rig_dead           the dead-letter table by (tenant, token), as rig_canonical
    rig_dead_expected  the dead letters expected, by (tenant, token), with what was found of them
    rig_rerouted       requests that have a dead letter and should have none
    rig_loose          rows of either table under a tenant that did not send their key or token
    rig_foreign        requests whose key or token is in a loose row: they have a row of another tenant
    rig_stray          loose rows of the run's tenants whose key or token no request has
    rig_finding        one row per key that is not clean: kind, tenant, key, detail

``rig.truth.reconcile`` turns the results into a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from psycopg import sql

from rig.evidence.truth import DiscrepancyKind
from rig.model import Outcome, Row, Tenant
from rig.requests.content import CONTESTED
from rig.truth.expected import Expectation
from rig.truth.staging import Columns, Staging
from rig.truth.tables import EventTables

_REQUEST: Columns = (
    ("scenario_run", "int"),
    ("tenant", "int"),
    ("key", "text"),
    ("correlation", "text"),
    ("wanted", "text"),
    ("outcome", "int"),
    ("channel", "text"),
    ("forgery", "text"),
    ("form", "int"),
    ("attempts", "int"),
)
_TENANT: Columns = (("number", "int"), ("id", "text"))

_CONSTANTS: dict[str, sql.Composable] = {
    **{outcome.value: sql.Literal(outcome.code) for outcome in Outcome},
    **{f"row_{row.value}": sql.Literal(row.value) for row in Row},
    **{f"is_{kind.value}": sql.Literal(kind.value) for kind in DiscrepancyKind},
    "contested": sql.Literal(CONTESTED),
}

_ANY = sql.SQL("true")
_NOT_FORGED: LiteralString = "NOT EXISTS (SELECT FROM rig_forged f WHERE f.{column} = s.{place})"
_OWN = sql.SQL("(s.key IN (SELECT key FROM rig_request) OR s.correlation IN (SELECT correlation FROM rig_request))")


class TruthComparison:
    """Defines the named results of one read; ``load``, ``observe`` and ``find``, in this order."""

    def __init__(self, staging: Staging, tables: EventTables, tenants: Sequence[Tenant]) -> None:
        self._staging = staging
        self._tables = tables
        self._tenants = tenants
        by_correlation = tables.is_matched_by_correlation
        self._names: dict[str, sql.Composable] = {
            **_CONSTANTS,
            "token": sql.Identifier("correlation" if by_correlation else "key"),
            "ids": sql.SQL("{}::text[]").format(sql.Literal([tenant.id for tenant in tenants])),
            "canonical": tables.canonical.source,
            "canonical_tenant": tables.canonical_tenant,
            "canonical_key": tables.canonical_key,
            "dead": tables.dead_source,
            "dead_tenant": tables.dead_tenant,
            "dead_token": tables.dead_identity,
            # Of a table that others write to, only rows that name something of this run, or may be of it.
            "is_own": _OWN if tables.is_shared else _ANY,
            "is_own_dead": _own_dead(tables),
            "not_forged": _ANY,
            "not_forged_dead": _ANY,
        }

    def load(self, expectations: Iterable[Expectation]) -> None:
        """Load the requests that were sent, and the tenants."""
        self._staging.load("rig_request", _REQUEST, expectations)
        self._staging.load("rig_tenant", _TENANT, [(number, tenant.id) for number, tenant in enumerate(self._tenants)])

        query = "SELECT key, correlation, tenant, forgery FROM rig_request WHERE forgery IS NOT NULL"
        self._staging.define("rig_forged", sql.SQL(query))
        [(self._has_forged,)] = self.select("SELECT EXISTS (SELECT FROM rig_forged)")
        if self._has_forged:
            token = self._names["token"]
            self._names |= {
                "not_forged": sql.SQL(_NOT_FORGED).format(column=sql.Identifier("key"), place=sql.Identifier("key")),
                "not_forged_dead": sql.SQL(_NOT_FORGED).format(column=token, place=sql.Identifier("token")),
            }

    def select(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """The rows of a query over the named results; names in braces are filled in."""
        return self._staging.select(sql.SQL(query).format(**self._names))

    def observe(self) -> None:
        """Read both tables and join them with the requests."""
        self._define(
            "rig_expected",
            """
            SELECT tenant, key,
                bool_or(wanted = {row_canonical} AND outcome = {acknowledged}) AS acknowledged,
                bool_or(wanted = {row_canonical} AND outcome <> {not_sent}) AS sent,
                bool_or(wanted = {row_canonical} AND outcome IN ({refused}, {indeterminate})) AS open,
                bool_or(wanted = {row_dead} AND outcome <> {not_sent}) AS sent_to_dead,
                bool_or(outcome = {unreported}) AS unreported,
                bool_or(form = {contested} AND outcome <> {not_sent}) AS contested,
                min(form) FILTER (WHERE form <> {contested}) AS form,
                max(form) FILTER (WHERE form <> {contested}) AS other_form,
                min(scenario_run) AS first_scenario_run, max(scenario_run) AS last_scenario_run
            FROM rig_request GROUP BY tenant, key
            """,
        )
        self._observe_canonical()
        self._define(
            "rig_kept",
            """
            SELECT e.*, e.key IS NOT NULL AS expected, coalesce(c.found, 0) AS found,
                coalesce(c.strangers, 0) AS strangers, c.tenant AS found_tenant, c.tenant_id, c.key AS found_key
            FROM rig_expected e FULL JOIN rig_canonical c ON c.tenant = e.tenant AND c.key = e.key
            """,
        )
        self._observe_dead()
        self._observe_misplaced_rows()

    def _observe_canonical(self) -> None:
        # A stranger is a row whose correlation id no request of its key carried.
        strangers: sql.Composable = sql.SQL("0::bigint")
        own_request: sql.Composable = sql.SQL("")
        correlation = self._tables.truth.canonical.correlation
        if correlation:
            strangers = sql.SQL("count(*) FILTER (WHERE r.key IS NULL)")
            own_request = sql.SQL(
                "LEFT JOIN rig_request r ON r.tenant = t.number AND r.key = s.key AND r.correlation = s.correlation"
                " AND r.outcome <> {}"
            ).format(_CONSTANTS["not_sent"])
        self._define(
            "rig_canonical",
            """
            WITH seen AS NOT MATERIALIZED (
                SELECT {canonical_tenant} AS tenant_id, {canonical_key} AS key, {correlation} AS correlation
                FROM {canonical}
            )
            SELECT t.number AS tenant, min(t.id) AS tenant_id, s.key, count(*) AS found, {strangers} AS strangers
            FROM seen s JOIN rig_tenant t ON t.id = s.tenant_id {own_request}
            WHERE {is_own} AND {not_forged} GROUP BY t.number, s.key
            UNION ALL
            SELECT NULL, tenant_id, key, count(*), 0 FROM seen s
            WHERE (tenant_id = ANY({ids})) IS NOT TRUE AND key IN (SELECT key FROM rig_request) AND {not_forged}
            GROUP BY tenant_id, key
            """,
            strangers=strangers,
            own_request=own_request,
            correlation=self._tables.canonical.columns[correlation].word if correlation else sql.SQL("NULL::text"),
        )

    def _observe_dead(self) -> None:
        self._define(
            "rig_dead",
            """
            WITH seen AS NOT MATERIALIZED (SELECT {dead_tenant} AS tenant_id, {dead_token} AS token FROM {dead})
            SELECT t.number AS tenant, s.tenant_id, s.token, count(*) AS found
            FROM seen s JOIN rig_tenant t ON t.id = s.tenant_id
            WHERE {is_own_dead} AND {not_forged_dead} GROUP BY t.number, s.tenant_id, s.token
            UNION ALL
            SELECT NULL, tenant_id, token, count(*) FROM seen s
            WHERE (tenant_id = ANY({ids})) IS NOT TRUE AND token IN (SELECT {token} FROM rig_request)
                AND {not_forged_dead}
            GROUP BY tenant_id, token
            """,
        )
        self._define(
            "rig_dead_expected",
            """
            SELECT e.*, coalesce(d.found, 0) AS found
            FROM (
                SELECT tenant, {token} AS token, min(key) AS key,
                    count(*) FILTER (WHERE outcome = {acknowledged}) AS least,
                    coalesce(sum(attempts) FILTER (WHERE outcome <> {not_sent}), 0)::bigint AS most,
                    bool_or(outcome IN ({refused}, {indeterminate})) AS open
                FROM rig_request WHERE wanted = {row_dead} GROUP BY tenant, {token}
            ) e LEFT JOIN rig_dead d ON d.tenant = e.tenant AND d.token = e.token
            """,
        )

    def _observe_misplaced_rows(self) -> None:
        self._define(
            "rig_rerouted",
            """
            SELECT r.tenant, r.key, bool_or(r.wanted = {row_canonical} AND r.outcome <> {not_sent}) AS sent,
                bool_or(r.outcome = {unreported}) AS unreported
            FROM rig_dead d JOIN rig_request r ON r.tenant = d.tenant AND r.{token} = d.token
            GROUP BY r.tenant, r.key HAVING bool_and(r.wanted <> {row_dead})
            """,
        )
        self._define(
            "rig_loose",
            """
            SELECT {row_canonical} AS place, found_tenant AS tenant, tenant_id, found_key AS token, found
            FROM rig_kept WHERE NOT expected
            UNION ALL
            SELECT {row_dead}, d.tenant, d.tenant_id, d.token, d.found FROM rig_dead d
            WHERE NOT EXISTS (SELECT FROM rig_request r WHERE r.tenant = d.tenant AND r.{token} = d.token)
            """,
        )
        self._define(
            "rig_foreign",
            """
            SELECT r.tenant, r.key, l.tenant_id, l.place FROM rig_loose l JOIN rig_request r ON r.key = l.token
            WHERE l.place = {row_canonical} GROUP BY r.tenant, r.key, l.tenant_id, l.place
            UNION ALL
            SELECT r.tenant, r.key, l.tenant_id, l.place FROM rig_loose l JOIN rig_request r ON r.{token} = l.token
            WHERE l.place = {row_dead} GROUP BY r.tenant, r.key, l.tenant_id, l.place
            """,
        )
        self._define(
            "rig_stray",
            """
            SELECT place, tenant, token, found FROM rig_loose l
            WHERE tenant IS NOT NULL AND place = {row_canonical}
                AND NOT EXISTS (SELECT FROM rig_request r WHERE r.key = l.token)
            UNION ALL
            SELECT place, tenant, token, found FROM rig_loose l
            WHERE tenant IS NOT NULL AND place = {row_dead}
                AND NOT EXISTS (SELECT FROM rig_request r WHERE r.{token} = l.token)
            """,
        )

    def find(self, *, named: Sequence[int], fresh: Sequence[int], channels: bool) -> None:
        """Define rig_finding.

        ``named``: tenants whose missing dead letters are named one by one, and not only counted; ``fresh``: tenants
        without any row before the run, so that every stray row is of this run; ``channels``: whether a request
        promises one.
        """
        self._find_canonical()
        self._find_dead(named, fresh)
        channel = self._tables.truth.canonical.channel
        found = ["canonical", "dead"]
        if channels and channel:
            self._find_channels(self._tables.canonical.columns[channel].word)
            found.append("channel")
        if self._has_forged:
            self._find_forged()
            found.append("forged")
        parts = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT * FROM {}").format(sql.Identifier(f"rig_finding_{part}")) for part in found
        )
        self._staging.define("rig_finding", parts)

    def _find_canonical(self) -> None:
        self._define(
            "rig_finding_canonical",
            """
            WITH odd AS MATERIALIZED (
                SELECT * FROM rig_kept
                WHERE (expected AND sent AND NOT open AND found = 1 AND strangers = 0) IS NOT TRUE
            )
            SELECT {is_duplicated} AS kind, tenant, key, format('%s canonical rows', found) AS detail
            FROM odd WHERE expected AND found > 1
            UNION ALL
            SELECT {is_misrouted}, tenant, key, 'canonical instead of a dead letter'
            FROM odd WHERE found > 0 AND NOT sent AND sent_to_dead
            UNION ALL
            SELECT {is_unexpected}, tenant, key, 'a canonical row of a request that was not sent or may leave none'
            FROM odd WHERE expected AND found > 0 AND NOT sent AND NOT sent_to_dead AND NOT unreported
            UNION ALL
            SELECT {is_recovered}, tenant, key, 'never acknowledged, yet stored'
            FROM odd WHERE found > 0 AND open AND NOT acknowledged
            UNION ALL
            SELECT {is_wrong_correlation}, tenant, key, 'its correlation id is none of those sent with the key'
            FROM odd WHERE sent AND strangers > 0
            UNION ALL
            SELECT {is_lost}, tenant, key, 'acknowledged, in neither table'
            FROM odd k WHERE acknowledged AND found = 0
                AND NOT EXISTS (SELECT FROM rig_rerouted d WHERE d.tenant = k.tenant AND d.key = k.key)
                AND NOT EXISTS (SELECT FROM rig_foreign f WHERE f.tenant = k.tenant AND f.key = k.key)
            UNION ALL
            SELECT {is_wrong_tenant}, tenant, key, format('a %s row under tenant %s', place, tenant_id) FROM rig_foreign
            """,
        )

    def _find_dead(self, named: Sequence[int], fresh: Sequence[int]) -> None:
        self._define(
            "rig_finding_dead",
            """
            SELECT {is_duplicated} AS kind, tenant, key,
                format('%s dead letters for %s requests', found, most) AS detail
            FROM rig_dead_expected WHERE found > most AND most > 0
            UNION ALL
            SELECT {is_unexpected}, tenant, key, 'a dead letter of a request that was not sent'
            FROM rig_dead_expected WHERE found > 0 AND most = 0
            UNION ALL
            SELECT {is_recovered}, tenant, key, 'never acknowledged, yet stored'
            FROM rig_dead_expected WHERE found > least AND found <= most AND open
            UNION ALL
            SELECT {is_lost}, tenant, key, format('%s of %s acknowledged dead letters missing', least - found, least)
            FROM rig_dead_expected e WHERE found < least AND tenant = ANY({named})
                AND NOT EXISTS (SELECT FROM rig_kept k WHERE k.tenant = e.tenant AND k.key = e.key AND k.found > 0)
                AND NOT EXISTS (SELECT FROM rig_foreign f WHERE f.tenant = e.tenant AND f.key = e.key)
            UNION ALL
            SELECT {is_misrouted}, tenant, key, 'a dead letter instead of canonical' FROM rig_rerouted WHERE sent
            UNION ALL
            SELECT {is_unexpected}, tenant, key, 'a dead letter of a request that was not sent or may leave none'
            FROM rig_rerouted WHERE NOT sent AND NOT unreported
            UNION ALL
            SELECT {is_unexpected}, tenant, token, format('%s %s rows, never sent', found, place)
            FROM rig_stray WHERE token IS NOT NULL AND tenant = ANY({fresh})
            """,
            named=_numbers(named),
            fresh=_numbers(fresh),
        )

    def _find_channels(self, channel: sql.Composable) -> None:
        self._define(
            "rig_finding_channel",
            """
            SELECT {is_wrong_channel} AS kind, p.tenant, p.key,
                format('stored under the channel %s instead of %s',
                    coalesce(min(s.channel), 'NULL'), array_to_string(p.channels, ' or ')) AS detail
            FROM (
                SELECT tenant, key, array_agg(DISTINCT channel) AS channels FROM rig_request
                WHERE channel IS NOT NULL AND wanted = {row_canonical} AND outcome <> {not_sent} GROUP BY tenant, key
            ) p
            JOIN rig_tenant t ON t.number = p.tenant
            JOIN (
                SELECT {canonical_tenant} AS tenant_id, {canonical_key} AS key, {channel} AS channel FROM {canonical}
            ) s ON s.tenant_id = t.id AND s.key = p.key
            WHERE (s.channel = ANY(p.channels)) IS NOT TRUE
            GROUP BY p.tenant, p.key, p.channels
            """,
            channel=channel,
        )

    def _find_forged(self) -> None:
        """Rows of forged requests, whatever tenant they carry; those in a table of rejections are where they may be."""
        rejections, truth = self._tables.truth.rejections, self._tables.truth
        self._define(
            "rig_finding_forged",
            """
            SELECT {is_forged} AS kind, f.tenant, f.key,
                format('%s, stored as a %s row', f.forgery, s.place)
                    || CASE WHEN s.owner = '' THEN '' ELSE ' under tenant ' || coalesce(s.owner, 'NULL') END AS detail
            FROM (
                SELECT {row_canonical} AS place, {canonical_tenant} AS owner, {canonical_key} AS key, NULL AS token
                FROM {canonical} WHERE {searches_canonical}
                UNION ALL
                SELECT {row_dead}, {dead_tenant}, NULL, {dead_token} FROM {dead} WHERE {searches_dead}
            ) s JOIN rig_forged f ON f.key = s.key OR f.{token} = s.token
            """,
            searches_canonical=sql.Literal(truth.canonical.table not in rejections),
            searches_dead=sql.Literal(truth.dead is not None and truth.dead.table not in rejections),
        )

    def _define(self, name: str, query: LiteralString, **parts: sql.Composable) -> None:
        self._staging.define(name, sql.SQL(query).format(**self._names, **parts))


def _own_dead(tables: EventTables) -> sql.Composable:
    if not tables.is_shared:
        return _ANY
    token = sql.Identifier("correlation" if tables.is_matched_by_correlation else "key")
    nameless = sql.SQL("s.token IS NULL OR ") if tables.may_be_nameless else sql.SQL("")
    return sql.SQL("({}s.token IN (SELECT {} FROM rig_request))").format(nameless, token)


def _numbers(values: Sequence[int]) -> sql.Composable:
    return sql.SQL("{}::int[]").format(sql.Literal(list(values)))
