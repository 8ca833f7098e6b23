"""Reconciliation: every request sent against the rows that exist, as sets; the answer as groups, totals and names.

Flow: expectations are loaded, ``TruthComparison`` lays them beside both tables inside the database, and only sums and
the keys that are not clean come back. Where rows hold nothing that names a request (``match = "count"``, or a
truncated body under a payload path) numbers are compared, per tenant. Not for judging: ``rig.checks`` does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import Connection

from rig.evidence.truth import Discrepancy, DiscrepancyKind, Group, Total
from rig.model import Row, Tenant
from rig.requests.content import ContentPlan
from rig.truth.comparison import TruthComparison
from rig.truth.content import ContentFindings, compare_content
from rig.truth.copies import NO_COPIES, Copies, find_copies
from rig.truth.expected import SentRequests, expectations
from rig.truth.log_marks import LogMark
from rig.truth.staging import Staging, may_create_temporary
from rig.truth.tables import EventTables

DISCREPANCIES_MAX = 10_000
"""At most so many keys are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The database before anything was sent: rows by tenant id, and notes.

    ``duplicated``: keys with several canonical rows, by tenant id; ``personal``: rows that hold a personal key, by
    tenant id and column, None where they were not counted (in a pack of an older rig).
    """

    canonical: Mapping[str, int]
    dead: Mapping[str, int]
    notes: tuple[str, ...] = ()
    duplicated: Mapping[str, int] = field(default_factory=dict)
    personal: Mapping[str, Mapping[str, int]] | None = None
    since: int | None = None
    """``now_in_transactions`` then; None in a pack of an older rig."""
    clock_s: float | None = None
    """The database's clock then (s since 1970); None in a pack of an older rig."""
    logs: Mapping[str, LogMark] = field(default_factory=dict)
    """Which files the target's logs were, by their names."""

    def fresh(self, tenant: Tenant) -> bool:
        """True when the tenant had no row at all."""
        return not self.canonical.get(tenant.id, 0) and not self.dead.get(tenant.id, 0)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What the comparison found; the fields are those of ``TruthReport``."""

    groups: tuple[Group, ...]
    totals: tuple[Total, ...]
    discrepancies: tuple[Discrepancy, ...]
    keys_reconciled: int
    duplicated_keys: int
    notes: tuple[str, ...]
    copies: Copies = NO_COPIES
    content: ContentFindings | None = None


@dataclass(slots=True)
class _Tally:
    """The numbers of one scenario run and tenant, while they are counted."""

    canonical_min: int = 0
    canonical_max: int = 0
    canonical: int = 0
    dead_min: int = 0
    dead_max: int = 0
    dead: int = 0
    discrepancies: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True, slots=True)
class _Pool:
    """Dead letters of one tenant that name no request: their number, and (least, most) that each scenario run lacks."""

    rows: int
    wanted: Mapping[int, tuple[int, int]]

    @property
    def missing(self) -> int:
        return max(0, sum(least for least, _ in self.wanted.values()) - self.rows)

    @property
    def surplus(self) -> int:
        return max(0, self.rows - sum(most for _, most in self.wanted.values()))

    def shares(self) -> dict[int, int]:
        """The rows of each scenario run: first as many as it must have, then as it may have. A single one gets all."""
        if len(self.wanted) == 1:
            return dict.fromkeys(self.wanted, self.rows)
        left = self.rows
        dealt = dict.fromkeys(self.wanted, 0)
        for bound in (0, 1):
            for scenario_run, wanted in self.wanted.items():
                more = min(left, wanted[bound] - dealt[scenario_run])
                dealt[scenario_run] += more
                left -= more
        return dealt


def reconcile(
    connection: Connection[Any],
    tables: EventTables,
    sent: SentRequests,
    baseline: Baseline,
    *,
    temporary: bool | None = None,
) -> Reconciliation:
    """Compare within the caller's transaction. ``temporary`` None: use temporary tables where the role may."""
    if temporary is None:
        temporary = may_create_temporary(connection)
    staging = Staging(connection, temporary=temporary)
    comparison = TruthComparison(staging, tables, sent.tenants)
    plan = ContentPlan(sent.targeter.profile, sent.tenants)
    comparison.load(expectations(sent, None if plan.is_empty else plan))
    comparison.observe()
    reader = _Reader(comparison, sent, baseline, tables)
    reconciled = reader.read(pooled=tables.may_be_nameless)
    copies = find_copies(staging, tables, sent, baseline.since)
    if plan.is_empty:
        return replace(reconciled, copies=copies)
    content = compare_content(staging, tables, plan, sent)
    return replace(reconciled, copies=copies, content=content)


class _Reader:
    """Reads the sums and the findings of a comparison."""

    def __init__(
        self,
        comparison: TruthComparison,
        sent: SentRequests,
        baseline: Baseline,
        tables: EventTables,
    ) -> None:
        self._comparison = comparison
        self._is_shared = tables.is_shared
        self._scenarios = sent.scenarios
        self._tenants = sent.tenants
        self._baseline = baseline
        self._tallies = {
            (scenario_run, number): _Tally()
            for scenario_run, scenario in enumerate(self._scenarios)
            for number, tenant in enumerate(self._tenants)
            if tenant.name in scenario.tenants
        }
        self._pooled = False
        self._notes: list[str] = []

    def read(self, *, pooled: bool) -> Reconciliation:
        """Read everything; ``pooled``: dead letters may name no request, and are then compared by number."""
        self._pooled = pooled
        self._sum_rows()
        nameless = self._nameless()
        pools = self._pools(nameless) if pooled else {}
        self._comparison.find(
            named=[number for number in range(len(self._tenants)) if number not in pools],
            # In a shared table every row that was read is of this run.
            fresh=[
                number for number, tenant in enumerate(self._tenants) if self._is_shared or self._baseline.fresh(tenant)
            ],
            channels=any(share.channel for scenario in self._scenarios for share in scenario.shares),
        )
        discrepancies = [*self._find_by_number(nameless, pools), *self._find_by_key()]
        if len(discrepancies) > DISCREPANCIES_MAX:
            self._notes.append(f"only the first {DISCREPANCIES_MAX} keys that are not clean are named; all are counted")
        [(keys,)] = self._comparison.select("SELECT count(*) FROM rig_expected")
        groups = tuple(
            self._group(scenario_run, tenant, tally) for (scenario_run, tenant), tally in self._tallies.items()
        )
        return Reconciliation(
            groups,
            self._totals(),
            tuple(discrepancies[:DISCREPANCIES_MAX]),
            keys,
            self._count_duplicate_keys(),
            tuple(self._notes),
        )

    def _count_duplicate_keys(self) -> int:
        """Count keys with several canonical rows: those of the run, and any increase among other keys.

        The run's own count fully: older duplicates that were removed in the meantime must not hide them.
        """
        duplicated = 0
        for tenant_id, own, others in self._comparison.select(
            """
            SELECT tenant_id, count(*) FILTER (WHERE own), count(*) FILTER (WHERE NOT own) FROM (
                SELECT tenant_id, key IN (SELECT key FROM rig_request) AS own
                FROM rig_canonical WHERE tenant IS NOT NULL AND key IS NOT NULL AND found > 1
            ) duplicated GROUP BY tenant_id
            """
        ):
            more = max(0, others - self._baseline.duplicated.get(tenant_id, 0))
            duplicated += own + (0 if self._is_shared else more)
        return duplicated

    def _sum_rows(self) -> None:
        canonical = self._comparison.select(
            """
            SELECT scenario_run, tenant, count(*) FILTER (WHERE acknowledged), count(*) FILTER (WHERE sent), sum(found)
            FROM (
                SELECT first_scenario_run AS scenario_run, tenant, acknowledged, sent, found
                FROM rig_kept WHERE first_scenario_run = last_scenario_run
                UNION ALL
                SELECT scenario_run, tenant, acknowledged, sent, found FROM (
                    SELECT DISTINCT r.scenario_run, k.tenant, k.key, k.acknowledged, k.sent, k.found
                    FROM rig_kept k JOIN rig_request r ON r.tenant = k.tenant AND r.key = k.key
                    WHERE k.first_scenario_run < k.last_scenario_run
                ) shared
            ) charged GROUP BY scenario_run, tenant
            """
        )
        for scenario_run, tenant, least, most, found in canonical:
            tally = self._tallies[scenario_run, tenant]
            tally.canonical_min, tally.canonical_max, tally.canonical = least, most, int(found)
        expected_dead = self._comparison.select(
            """
            SELECT scenario_run, tenant,
                count(*) FILTER (WHERE outcome = {acknowledged}),
                coalesce(sum(attempts) FILTER (WHERE outcome <> {not_sent}), 0)::bigint
            FROM rig_request WHERE wanted = {row_dead} GROUP BY scenario_run, tenant
            """
        )
        for scenario_run, tenant, least, most in expected_dead:
            self._tallies[scenario_run, tenant].dead_min, self._tallies[scenario_run, tenant].dead_max = least, most
        dead = self._comparison.select(
            """
            SELECT scenario_run, tenant, sum(found) FROM (
                SELECT DISTINCT r.scenario_run, r.tenant, d.token, d.found
                FROM rig_request r JOIN rig_dead d ON d.tenant = r.tenant AND d.token = r.{token}
            ) matched GROUP BY scenario_run, tenant
            """
        )
        for scenario_run, tenant, found in dead:
            self._tallies[scenario_run, tenant].dead = int(found)

    def _nameless(self) -> dict[tuple[Row, int], int]:
        """(table, tenant) → new rows that no request explains and that name no key.

        For a tenant without earlier rows these are the rows without a key. For any other tenant they are the increase
        in stray rows.
        """
        nameless = {}
        for place, number, unnamed, found in self._comparison.select(
            "SELECT place, tenant, coalesce(sum(found) FILTER (WHERE token IS NULL), 0), sum(found)"
            " FROM rig_stray GROUP BY place, tenant"
        ):
            row, tenant = Row(place), self._tenants[number]
            before = (self._baseline.canonical if row is Row.CANONICAL else self._baseline.dead).get(tenant.id, 0)
            if self._is_shared:
                nameless[row, number] = max(0, int(unnamed) - before)
            elif self._baseline.fresh(tenant):
                nameless[row, number] = int(unnamed)
            else:
                nameless[row, number] = max(0, int(found) - before)
        return nameless

    def _pools(self, nameless: Mapping[tuple[Row, int], int]) -> dict[int, _Pool]:
        """Tenant → its nameless dead letters. A tenant without any is left out: each one that it lacks has a name."""
        wanted: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
        for scenario_run, number, least, most in self._comparison.select(
            """
            SELECT r.scenario_run, e.tenant, sum(greatest(e.least - e.found, 0)), sum(greatest(e.most - e.found, 0))
            FROM rig_dead_expected e
            JOIN (SELECT DISTINCT scenario_run, tenant, {token} AS token FROM rig_request WHERE wanted = {row_dead}) r
                ON r.tenant = e.tenant AND r.token = e.token
            WHERE NOT EXISTS (SELECT FROM rig_kept k WHERE k.tenant = e.tenant AND k.key = e.key AND k.found > 0)
            GROUP BY r.scenario_run, e.tenant HAVING sum(greatest(e.most - e.found, 0)) > 0 ORDER BY r.scenario_run
            """
        ):
            wanted[number][scenario_run] = (int(least), int(most))
        pools = {}
        for number in range(len(self._tenants)):
            if rows := nameless.get((Row.DEAD, number), 0):
                most = sum(most for _, most in wanted[number].values())
                # What is more in a shared table may be somebody else's.
                pools[number] = _Pool(min(rows, most) if self._is_shared else rows, wanted[number])
                self._fill(number, pools[number])
        return pools

    def _fill(self, number: int, pool: _Pool) -> None:
        for scenario_run, rows in pool.shares().items():
            tally = self._tallies[scenario_run, number]
            tally.dead += rows
            if pool.missing and pool.wanted[scenario_run][0]:
                tally.discrepancies[DiscrepancyKind.LOST] += pool.missing
        if len(pool.wanted) > 1:
            self._notes.append(
                f"dead letters of tenant {self._tenants[number].name} name no request: its {len(pool.wanted)} scenario "
                "runs share their number, and a missing one is counted for each of them"
            )

    def _find_by_number(
        self, nameless: Mapping[tuple[Row, int], int], pools: Mapping[int, _Pool]
    ) -> Iterable[Discrepancy]:
        """The discrepancies that only numbers show."""
        for number, pool in pools.items():
            if pool.missing:
                for scenario_run, (least, _) in pool.wanted.items():
                    if least:
                        detail = f"{pool.missing} acknowledged dead letters missing; no row names its request"
                        yield self._key(DiscrepancyKind.LOST, scenario_run, number, "", detail)
        for (row, number), rows in nameless.items():
            surplus = pools[number].surplus if row is Row.DEAD and number in pools else rows
            if surplus:
                detail = f"{surplus} {row.value} rows more than the requests explain; they name no request"
                yield self._key(DiscrepancyKind.UNEXPECTED, None, number, "", detail)

    def _find_by_key(self) -> list[Discrepancy]:
        for scenario_run, number, kind, count in self._comparison.select(
            """
            SELECT scenario_run, tenant, kind, count(*) FROM (
                SELECT DISTINCT r.scenario_run, f.tenant, f.kind, f.key
                FROM rig_finding f JOIN rig_request r ON r.tenant = f.tenant AND r.key = f.key
            ) charged GROUP BY scenario_run, tenant, kind
            """
        ):
            self._tallies[scenario_run, number].discrepancies[kind] += count
        rows = self._comparison.select(
            f"""
            SELECT DISTINCT f.kind = {{is_recovered}}, r.scenario_run, f.tenant, f.kind, f.key, f.detail
            FROM rig_finding f LEFT JOIN rig_request r ON r.tenant = f.tenant AND r.key = f.key
            ORDER BY 1, 2, 3, 4, 5, 6 LIMIT {DISCREPANCIES_MAX + 1}
            """
        )
        return [
            self._key(DiscrepancyKind(kind), scenario_run, number, key or "", detail)
            for _, scenario_run, number, kind, key, detail in rows
        ]

    def _totals(self) -> tuple[Total, ...]:
        found: dict[tuple[Row, int], tuple[int, int, int]] = {}
        for place, number, least, most, observed in self._comparison.select(
            """
            SELECT place, tenant, sum(least), sum(most), sum(found) FROM (
                SELECT {row_canonical} AS place, tenant, count(*) FILTER (WHERE acknowledged) AS least,
                    count(*) FILTER (WHERE sent) AS most, 0 AS found FROM rig_expected GROUP BY tenant
                UNION ALL SELECT {row_dead}, tenant, sum(least), sum(most), 0 FROM rig_dead_expected GROUP BY tenant
                UNION ALL SELECT {row_canonical}, tenant, 0, 0, sum(found) FROM rig_canonical GROUP BY tenant
                UNION ALL SELECT {row_dead}, tenant, 0, 0, sum(found) FROM rig_dead GROUP BY tenant
            ) counted WHERE tenant IS NOT NULL GROUP BY place, tenant
            """
        ):
            found[Row(place), number] = (int(least), int(most), int(observed))
        totals = []
        for number, tenant in enumerate(self._tenants):
            for row in (Row.CANONICAL, Row.DEAD):
                before = self._baseline.canonical if row is Row.CANONICAL else self._baseline.dead
                least, most, observed = found.get((row, number), (0, 0, 0))
                observed -= before.get(tenant.id, 0)
                if self._is_shared and self._pooled and row is Row.DEAD:
                    observed = min(observed, most)
                totals.append(Total(tenant.name, row, least, most, observed))
        return tuple(totals)

    def _group(self, scenario_run: int, number: int, tally: _Tally) -> Group:
        scenario = self._scenarios[scenario_run]
        return Group(
            scenario.label,
            scenario.id,
            self._tenants[number].name,
            tally.canonical_min,
            tally.canonical_max,
            tally.canonical,
            tally.dead_min,
            tally.dead_max,
            tally.dead,
            dict(tally.discrepancies),
        )

    def _key(self, kind: DiscrepancyKind, scenario_run: int | None, number: int, key: str, detail: str) -> Discrepancy:
        scenario = None if scenario_run is None else self._scenarios[scenario_run]
        label, scenario_id = (scenario.label, scenario.id) if scenario else ("", "")
        return Discrepancy(kind, label, scenario_id, self._tenants[number].name, key, detail)
