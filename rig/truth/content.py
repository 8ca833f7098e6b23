"""Compares the content of rows with what was sent, inside the database. Set-based, as ``rig.truth.comparison``.

Flow: the forms of ``rig.requests.content`` are loaded: one row a form, with a text for each comparison. For every key
its values follow from the key itself (as in ``rig.requests.targeter``), ``format`` fills them into the text, and the
result is compared with the column by its type. NULL in a row is a difference as any other. Only the keys that differ
come back, and of these the values of a sample, from which ``rig.truth.alterations`` says what they have in common.

Content is compared where a row exists. Where another request with the same key and another body was sent (class
``conflict``), only if the first one was acknowledged: else either may have come first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection, sql

from rig.errors import ConfigError
from rig.evidence.truth import Content, Discrepancy, DiscrepancyKind
from rig.model import Outcome, Row
from rig.profile import ContentField
from rig.requests.content import ARGUMENTS, Comparison, ContentPlan
from rig.truth.alterations import Alteration, describe
from rig.truth.expected import SentRequests
from rig.truth.same_value import require_fit, same_value, value_text
from rig.truth.staging import Columns, Staging
from rig.truth.tables import EventTables, Table

SAMPLED = 2_000
"""Of each column of a scenario run so many altered values are looked at; all are counted."""
ALTERED_MAX = 5_000
"""At most so many altered keys are named in the pack."""
_VALUE_MOST = 20_000

_ARGUMENTS: Mapping[str, LiteralString] = {
    "event": "replace(key, '-', '')",
    "number": "number",
    "amount": "amount",
    "decimal": "(amount / 100)::text || '.' || lpad((amount % 100)::text, 2, '0')",
    "unix": "unix",
    "unix_ms": "unix * 1000 + number % 1000",
    "iso": """pg_catalog.to_char(pg_catalog.to_timestamp(unix), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""",
    "key": "key",
    "unix_s": "((unix * 1000 + number % 1000) / 1000.0)::numeric(20, 3)",
}
"""How the values of an event follow from its key: as ``rig.requests.targeter`` makes them, which a test compares."""
_SOURCE: LiteralString = """
    SELECT a.scenario_run, a.tenant, a.token, a.key, a.form, {texts}, {expected}, {found}
    FROM (
        SELECT scenario_run, tenant, token, key, form, {arguments}
        FROM (
            SELECT *, 100 + number % 99900 AS amount, {started} - (number >> 20) % 3600 AS unix
            FROM (
                SELECT *, ('x' || left(key, 8) || substr(key, 10, 4))::bit(48)::bigint AS number
                FROM ({keys}) k OFFSET 0
            ) n OFFSET 0
        ) v OFFSET 0
    ) a
    JOIN {forms} f ON f.form = a.form
    JOIN rig_tenant t ON t.number = a.tenant
    JOIN (SELECT {owner} AS rig_owner, {token} AS rig_token, {columns} FROM {table}) s
        ON s.rig_owner = t.id AND s.rig_token = a.token
    OFFSET 0
"""
# Without OFFSET 0 PostgreSQL would put each expression into every place that names it, and compute it there anew.
_CANONICAL_KEYS: LiteralString = """
    SELECT first_scenario_run AS scenario_run, tenant, key AS token, key, form FROM rig_expected
    WHERE sent AND form = other_form AND (acknowledged OR contested IS NOT TRUE)
"""
_DEAD_KEYS: LiteralString = """
    SELECT scenario_run, tenant, {token} AS token, key, form FROM rig_request
    WHERE wanted = {row} AND outcome <> {not_sent} AND form IS NOT NULL
"""
_WRONG: LiteralString = """
    SELECT scenario_run, tenant, token, key, form, array_remove(ARRAY[{wrong}]::int[], NULL) AS wrong
    FROM ({source}) s
"""
_COUNTS: LiteralString = """
    SELECT scenario_run, count(*), count(*) FILTER (WHERE cardinality(wrong) > 0) FROM {rows} GROUP BY scenario_run
"""
_COUNTS_BY_COLUMN: LiteralString = """
    SELECT scenario_run, at, count(*) FROM {rows}, unnest(wrong) AS at GROUP BY scenario_run, at
"""
_SAMPLE: LiteralString = """
    SELECT scenario_run, tenant, token, key, form, at FROM (
        SELECT *, row_number() OVER (PARTITION BY scenario_run, at ORDER BY key) AS place
        FROM {rows}, unnest(wrong) AS at
    ) s WHERE place <= {most}
"""
_VALUES: LiteralString = """
    SELECT s.scenario_run, s.tenant, s.key, {at}, left(s.{expected}, {most}), left({found}, {most})
    FROM rig_values s
    JOIN {sample} w ON w.at = {at} AND w.tenant = s.tenant AND w.token = s.token AND w.form = s.form
"""


def require_columns(connection: Connection[Any], tables: EventTables, plan: ContentPlan) -> None:
    """ConfigError where a field fits no route's event, names no column, or a column of another type."""
    plan.require_fit()
    for table, key, fields in _fields(tables, plan):
        for name, described in fields.items():
            _require_column(table, name, key)
            require_fit(connection, table, table.columns[name], described.type, f"profile key {key}.{name}")


def _fields(tables: EventTables, plan: ContentPlan) -> Iterator[tuple[Table, str, Mapping[str, ContentField]]]:
    truth = tables.truth
    yield tables.canonical, "truth.canonical.fields", truth.canonical.fields
    for route in plan.profile.routes:
        yield tables.canonical, f"routes.fields (route {route.name!r})", route.fields
    if tables.dead is not None and truth.dead is not None:
        yield tables.dead, "truth.dead.fields", truth.dead.fields


def _require_column(table: Table, name: str, key: str) -> None:
    if name not in table.columns:
        known = ", ".join(table.columns)
        raise ConfigError(f"profile key {key}: table {table} has no column {name!r}; it has: {known}")


@dataclass(frozen=True, slots=True)
class ContentFindings:
    """What was found in each scenario, and the first altered keys."""

    content: tuple[Content, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()


def compare_content(
    staging: Staging,
    tables: EventTables,
    plan: ContentPlan,
    sent: SentRequests,
) -> ContentFindings:
    """Compare beside a reconciliation, whose named results it uses."""
    started_unix = sent.targeter.run.started_unix
    places = [_Place(staging, Row.CANONICAL, tables, plan, started_unix)]
    if tables.dead is not None and tables.dead_names_request:
        places.append(_Place(staging, Row.DEAD, tables, plan, started_unix))
    found = _Found(sent)
    for place in places:
        if place.comparisons:
            found.take(place)
    return found.findings()


class _Place:
    """The rows of one table, against the forms of events whose rows lie there."""

    def __init__(self, staging: Staging, row: Row, tables: EventTables, plan: ContentPlan, started_unix: int) -> None:
        self._staging = staging
        self.row = row
        is_dead = row is Row.DEAD
        self._table = tables.dead if is_dead and tables.dead is not None else tables.canonical
        self._owner = tables.dead_tenant if is_dead else tables.canonical_tenant
        self._token = tables.dead_identity if is_dead else tables.canonical_key
        self._named_by = "correlation" if is_dead and tables.is_matched_by_correlation else "key"
        self._started_unix = started_unix
        forms = [(number, form) for number, form in enumerate(plan.forms) if form.row is row]
        self.comparisons = list(dict.fromkeys(each for _, form in forms for each in form.texts))
        self._columns = list(dict.fromkeys(each.column for each in self.comparisons))
        self._used = {int(at) for _, form in forms for text in form.texts.values() for at in _USED.findall(text)}
        columns: Columns = (("form", "int"), *((f"f{at}", "text") for at in range(len(self.comparisons))))
        rows = [(number, *(form.texts.get(each) for each in self.comparisons)) for number, form in forms]
        if self.comparisons:
            staging.load(self._name("form"), columns, rows)

    def compare(self) -> list[tuple[int, int, int]]:
        """(scenario run, rows compared, rows altered)."""
        keys = sql.SQL(_DEAD_KEYS if self.row is Row.DEAD else _CANONICAL_KEYS).format(
            token=sql.Identifier(self._named_by),
            row=sql.Literal(self.row.value),
            not_sent=sql.Literal(Outcome.NOT_SENT.code),
        )
        wrong = sql.SQL(", ").join(
            sql.SQL("CASE WHEN {given} IS NOT NULL AND ({same}) IS NOT TRUE THEN {at} END").format(
                given=sql.Identifier(f"f{at}"),
                same=same_value(each, self._column(each), sql.Identifier(f"e{at}"), self._found(each)),
                at=sql.Literal(at),
            )
            for at, each in enumerate(self.comparisons)
        )
        self._staging.define(self._name("content"), sql.SQL(_WRONG).format(wrong=wrong, source=self._source(keys)))
        return self._staging.select(sql.SQL(_COUNTS).format(rows=sql.Identifier(self._name("content"))))

    def count_by_column(self) -> list[tuple[int, int, int]]:
        """(scenario run, comparison, rows altered in its column)."""
        return self._staging.select(sql.SQL(_COUNTS_BY_COLUMN).format(rows=sql.Identifier(self._name("content"))))

    def sample(self) -> list[tuple[int, int, str, int, str | None, str | None]]:
        """(scenario run, tenant, key, comparison, what was sent, what was found) of the first altered rows."""
        sample, rows = sql.Identifier(self._name("sample")), sql.Identifier(self._name("content"))
        self._staging.define(self._name("sample"), sql.SQL(_SAMPLE).format(rows=rows, most=sql.Literal(SAMPLED)))
        keys = sql.SQL("SELECT DISTINCT scenario_run, tenant, token, key, form FROM {}").format(sample)
        values = [
            sql.SQL(_VALUES).format(
                at=sql.Literal(at),
                expected=sql.Identifier(f"e{at}"),
                found=value_text(self._column(each), self._found(each), each.type),
                most=sql.Literal(_VALUE_MOST),
                sample=sample,
            )
            for at, each in enumerate(self.comparisons)
        ]
        query = sql.SQL("SELECT * FROM (WITH rig_values AS MATERIALIZED ({}) {}) found ORDER BY 1, 2, 3, 4").format(
            self._source(keys), sql.SQL(" UNION ALL ").join(values)
        )
        return self._staging.select(query)

    def title(self, comparison: Comparison) -> str:
        """What a column is called in a report."""
        return comparison.column if self.row is Row.CANONICAL else f"dead letter's {comparison.column}"

    def _source(self, keys: sql.Composable) -> sql.Composed:
        """One row for each row of the table that is compared: f0… the texts, e0… what was sent, c0… what was found."""
        numbers = range(len(self.comparisons))
        arguments = [
            sql.SQL(_ARGUMENTS[name] if at in self._used else "''") + sql.SQL(" AS ") + sql.Identifier(f"a{at}")
            for at, name in enumerate(ARGUMENTS, start=1)
        ]
        given = sql.SQL(", ").join(sql.Identifier("a", f"a{at}") for at in range(1, len(ARGUMENTS) + 1))
        texts = [sql.SQL("f.{}").format(sql.Identifier(f"f{at}")) for at in numbers]
        expected = [
            sql.SQL("format(f.{}, {}) AS {}").format(sql.Identifier(f"f{at}"), given, sql.Identifier(f"e{at}"))
            for at in numbers
        ]
        columns = [
            sql.SQL("{} AS {}").format(sql.Identifier(column), sql.Identifier(f"c{at}"))
            for at, column in enumerate(self._columns)
        ]
        found = [sql.SQL("s.{}").format(sql.Identifier(f"c{at}")) for at in range(len(self._columns))]
        joined = {"texts": texts, "expected": expected, "arguments": arguments, "columns": columns, "found": found}
        return sql.SQL(_SOURCE).format(
            **{name: sql.SQL(", ").join(parts) for name, parts in joined.items()},
            keys=keys,
            started=sql.Literal(self._started_unix),
            forms=sql.Identifier(self._name("form")),
            owner=self._owner,
            token=self._token,
            table=self._table.source,
        )

    def _name(self, what: str) -> str:
        return f"rig_{what}_{self.row.value}"

    def _column(self, comparison: Comparison) -> Any:
        return self._table.columns[comparison.column]

    def _found(self, comparison: Comparison) -> sql.Composable:
        return sql.SQL("s.{}").format(sql.Identifier(f"c{self._columns.index(comparison.column)}"))


_USED = re.compile(r"%(\d)\$s")


class _Found:
    """Gathers what the places found, by scenario."""

    def __init__(self, sent: SentRequests) -> None:
        self._runs = sent.scenarios
        self._tenants = sent.tenants
        self._compared: dict[str, dict[Row, int]] = {}
        self._altered: dict[str, int] = defaultdict(int)
        self._by_column: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._sampled: dict[str, list[Alteration]] = defaultdict(list)
        self._words: dict[tuple[int, int, str], list[str]] = defaultdict(list)

    def take(self, place: _Place) -> None:
        """Compare the rows of a place."""
        for run, rows, altered in place.compare():
            compared = self._compared.setdefault(self._runs[run].id, {Row.CANONICAL: 0, Row.DEAD: 0})
            compared[place.row] += rows
            self._altered[self._runs[run].id] += altered
        if not sum(self._altered.values()):
            return
        for run, at, count in place.count_by_column():
            self._by_column[self._runs[run].id][place.title(place.comparisons[at])] += count
        for run, tenant, key, at, expected, found in place.sample():
            comparison = place.comparisons[at]
            altered_value = Alteration(place.title(comparison), comparison.type, key, expected, found, comparison.holes)
            self._sampled[self._runs[run].id].append(altered_value)
            self._words[run, tenant, key].append(altered_value.words)

    def findings(self) -> ContentFindings:
        content = tuple(
            Content(
                scenario,
                sum(compared.values()),
                self._altered[scenario],
                compared[Row.DEAD],
                describe(self._sampled[scenario], self._by_column[scenario]),
            )
            for scenario, compared in self._compared.items()
        )
        named = list(self._words.items())[:ALTERED_MAX]
        return ContentFindings(content, tuple(self._discrepancy(*where, words) for where, words in named))

    def _discrepancy(self, run: int, tenant: int, key: str, words: Sequence[str]) -> Discrepancy:
        scenario, detail = self._runs[run], "; ".join(dict.fromkeys(words))
        return Discrepancy(
            DiscrepancyKind.ALTERED, scenario.label, scenario.id, self._tenants[tenant].name, key, detail
        )
