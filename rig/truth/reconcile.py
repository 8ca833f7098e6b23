"""Reconciliation: every request sent against the rows that exist, as sets; the answer as groups, totals and names.

Flow: expectations are loaded, ``Comparison`` lays them beside both tables inside the database, and only sums and the
keys that are not clean come back. Where rows carry nothing that names a request (``match = "count"``, or a truncated
body under a payload path) numbers are compared, per tenant. Not for judging: ``rig.checks`` does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from rig.evidence.truth import Anomaly, Group, Total, UncleanKey
from rig.model import Row, Tenant
from rig.requests.targeter import Targeter
from rig.truth.comparison import Comparison
from rig.truth.expected import DriveOutcome, expectations
from rig.truth.staging import Staging, may_create_temporary
from rig.truth.tables import EventTables

UNCLEAN_MAX = 10_000
"""So many keys are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The database before anything was sent: rows by tenant id, and what is worth a note.

    ``duplicated``: keys with several canonical rows, by tenant id; ``personal``: rows that hold a personal key, by
    tenant id and column, None where nobody counted them (in a pack of an older rig).
    """

    canonical: Mapping[str, int]
    dead: Mapping[str, int]
    notes: tuple[str, ...] = ()
    duplicated: Mapping[str, int] = field(default_factory=dict)
    personal: Mapping[str, Mapping[str, int]] | None = None

    def fresh(self, tenant: Tenant) -> bool:
        """True when the tenant had no row at all."""
        return not self.canonical.get(tenant.id, 0) and not self.dead.get(tenant.id, 0)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What the comparison found; the fields are those of ``TruthReport``."""

    groups: tuple[Group, ...]
    totals: tuple[Total, ...]
    unclean: tuple[UncleanKey, ...]
    keys_reconciled: int
    duplicated_keys: int
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    """The numbers of one drive and tenant, while they are gathered."""

    canonical_min: int = 0
    canonical_max: int = 0
    canonical: int = 0
    dead_min: int = 0
    dead_max: int = 0
    dead: int = 0
    unclean: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True, slots=True)
class _Pool:
    """Dead letters of one tenant that carry no name: ``rows`` of them, and what each drive still waits for."""

    rows: int
    wanted: Mapping[int, tuple[int, int]]

    @property
    def missing(self) -> int:
        return max(0, sum(least for least, _ in self.wanted.values()) - self.rows)

    @property
    def surplus(self) -> int:
        return max(0, self.rows - sum(most for _, most in self.wanted.values()))

    def shares(self) -> dict[int, int]:
        """The rows dealt out: first what each drive must have, then what it may; all to one drive if it is alone."""
        if len(self.wanted) == 1:
            return dict.fromkeys(self.wanted, self.rows)
        left = self.rows
        dealt = dict.fromkeys(self.wanted, 0)
        for bound in (0, 1):
            for drive, wanted in self.wanted.items():
                more = min(left, wanted[bound] - dealt[drive])
                dealt[drive] += more
                left -= more
        return dealt


def reconcile(
    connection: Connection[Any],
    tables: EventTables,
    targeter: Targeter,
    drives: Sequence[DriveOutcome],
    tenants: Sequence[Tenant],
    baseline: Baseline,
    *,
    temporary: bool | None = None,
) -> Reconciliation:
    """Compare within the caller's transaction. ``temporary`` None: use temporary tables where the role may."""
    if temporary is None:
        temporary = may_create_temporary(connection)
    comparison = Comparison(Staging(connection, temporary=temporary), tables, tenants)
    numbers = {tenant.name: number for number, tenant in enumerate(tenants)}
    comparison.load(expectations(targeter, drives, numbers))
    comparison.observe()
    reader = _Reader(comparison, drives, tenants, baseline)
    return reader.read(pooled=tables.truth.dead.match not in ("key", "correlation"))


class _Reader:
    """Asks the comparison for its sums and its findings."""

    def __init__(
        self, comparison: Comparison, drives: Sequence[DriveOutcome], tenants: Sequence[Tenant], baseline: Baseline
    ) -> None:
        self._comparison = comparison
        self._drives = drives
        self._tenants = tenants
        self._baseline = baseline
        self._tallies = {
            (drive, number): _Tally()
            for drive, outcome in enumerate(drives)
            for number, tenant in enumerate(tenants)
            if tenant.name in outcome.scenario.tenants
        }
        self._notes: list[str] = []

    def read(self, *, pooled: bool) -> Reconciliation:
        """Everything; ``pooled``: dead letters without a name are expected and compared by number."""
        self._sum_rows()
        nameless = self._nameless()
        pools = self._pools(nameless) if pooled else {}
        self._comparison.find(
            named=[number for number in range(len(self._tenants)) if number not in pools],
            fresh=[number for number, tenant in enumerate(self._tenants) if self._baseline.fresh(tenant)],
            channels=any(share.channel for outcome in self._drives for share in outcome.scenario.shares),
        )
        unclean = [*self._unnamed(nameless, pools), *self._named()]
        if len(unclean) > UNCLEAN_MAX:
            self._notes.append(f"only the first {UNCLEAN_MAX} keys that are not clean are named; all are counted")
        [(keys,)] = self._comparison.ask("SELECT count(*) FROM rig_expected")
        groups = tuple(self._group(drive, tenant, tally) for (drive, tenant), tally in self._tallies.items())
        return Reconciliation(
            groups, self._totals(), tuple(unclean[:UNCLEAN_MAX]), keys, self._duplicated(), tuple(self._notes)
        )

    def _duplicated(self) -> int:
        """Keys with several canonical rows: those of the run, and of others as many as are more than before it.

        The run's own are not set off against older ones, which may have been mended meanwhile.
        """
        duplicated = 0
        for tenant_id, own, others in self._comparison.ask(
            """
            SELECT tenant_id, count(*) FILTER (WHERE own), count(*) FILTER (WHERE NOT own) FROM (
                SELECT {canonical_tenant} AS tenant_id, {canonical_key} IN (SELECT key FROM rig_request) AS own
                FROM {canonical} WHERE {canonical_tenant} = ANY({ids}) AND {canonical_key} IS NOT NULL
                GROUP BY {canonical_tenant}, {canonical_key} HAVING count(*) > 1
            ) duplicated GROUP BY tenant_id
            """
        ):
            duplicated += own + max(0, others - self._baseline.duplicated.get(tenant_id, 0))
        return duplicated

    def _sum_rows(self) -> None:
        canonical = self._comparison.ask(
            """
            SELECT drive, tenant, count(*) FILTER (WHERE acknowledged), count(*) FILTER (WHERE sent), sum(found) FROM (
                SELECT first_drive AS drive, tenant, acknowledged, sent, found
                FROM rig_kept WHERE first_drive = last_drive
                UNION ALL
                SELECT drive, tenant, acknowledged, sent, found FROM (
                    SELECT DISTINCT r.drive, k.tenant, k.key, k.acknowledged, k.sent, k.found
                    FROM rig_kept k JOIN rig_request r ON r.tenant = k.tenant AND r.key = k.key
                    WHERE k.first_drive < k.last_drive
                ) shared
            ) charged GROUP BY drive, tenant
            """
        )
        for drive, tenant, least, most, found in canonical:
            tally = self._tallies[drive, tenant]
            tally.canonical_min, tally.canonical_max, tally.canonical = least, most, int(found)
        expected_dead = self._comparison.ask(
            """
            SELECT drive, tenant,
                count(*) FILTER (WHERE fate = {acknowledged}), count(*) FILTER (WHERE fate <> {not_sent})
            FROM rig_request WHERE wanted = {row_dead} GROUP BY drive, tenant
            """
        )
        for drive, tenant, least, most in expected_dead:
            self._tallies[drive, tenant].dead_min, self._tallies[drive, tenant].dead_max = least, most
        dead = self._comparison.ask(
            """
            SELECT drive, tenant, sum(found) FROM (
                SELECT DISTINCT r.drive, r.tenant, d.token, d.found
                FROM rig_request r JOIN rig_dead d ON d.tenant = r.tenant AND d.token = r.{token}
            ) matched GROUP BY drive, tenant
            """
        )
        for drive, tenant, found in dead:
            self._tallies[drive, tenant].dead = int(found)

    def _nameless(self) -> dict[tuple[Row, int], int]:
        """(table, tenant) → new rows that no request explains and that cannot be named.

        Of a fresh tenant, those that carry no name; of one that had rows before, all stray rows beyond their number.
        """
        nameless = {}
        for place, number, unnamed, found in self._comparison.ask(
            "SELECT place, tenant, coalesce(sum(found) FILTER (WHERE token IS NULL), 0), sum(found)"
            " FROM rig_stray GROUP BY place, tenant"
        ):
            row, tenant = Row(place), self._tenants[number]
            before = (self._baseline.canonical if row is Row.CANONICAL else self._baseline.dead).get(tenant.id, 0)
            nameless[row, number] = int(unnamed) if self._baseline.fresh(tenant) else max(0, int(found) - before)
        return nameless

    def _pools(self, nameless: Mapping[tuple[Row, int], int]) -> dict[int, _Pool]:
        """Tenant → its nameless dead letters; a tenant without any is left out: all that it lacks can be named."""
        wanted: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
        for drive, number, least, most in self._comparison.ask(
            """
            SELECT r.drive, e.tenant, sum(greatest(e.least - e.found, 0)), sum(greatest(e.most - e.found, 0))
            FROM rig_dead_expected e
            JOIN (SELECT DISTINCT drive, tenant, {token} AS token FROM rig_request WHERE wanted = {row_dead}) r
                ON r.tenant = e.tenant AND r.token = e.token
            WHERE NOT EXISTS (SELECT FROM rig_kept k WHERE k.tenant = e.tenant AND k.key = e.key AND k.found > 0)
            GROUP BY r.drive, e.tenant HAVING sum(greatest(e.most - e.found, 0)) > 0 ORDER BY r.drive
            """
        ):
            wanted[number][drive] = (int(least), int(most))
        pools = {}
        for number in range(len(self._tenants)):
            if rows := nameless.get((Row.DEAD, number), 0):
                pools[number] = _Pool(rows, wanted[number])
                self._fill(number, pools[number])
        return pools

    def _fill(self, number: int, pool: _Pool) -> None:
        for drive, rows in pool.shares().items():
            tally = self._tallies[drive, number]
            tally.dead += rows
            if pool.missing and pool.wanted[drive][0]:
                tally.unclean[Anomaly.LOST] += pool.missing
        if len(pool.wanted) > 1:
            self._notes.append(
                f"dead letters of tenant {self._tenants[number].name} carry no name: its {len(pool.wanted)} drives "
                "share their number, and one that is missing is charged to each of them"
            )

    def _unnamed(self, nameless: Mapping[tuple[Row, int], int], pools: Mapping[int, _Pool]) -> Iterable[UncleanKey]:
        """What is wrong by number alone."""
        for number, pool in pools.items():
            if pool.missing:
                for drive, (least, _) in pool.wanted.items():
                    if least:
                        detail = f"{pool.missing} acknowledged dead letters missing; nothing in the rows names them"
                        yield self._key(Anomaly.LOST, drive, number, "", detail)
        for (row, number), rows in nameless.items():
            surplus = pools[number].surplus if row is Row.DEAD and number in pools else rows
            if surplus:
                detail = f"{surplus} {row.value} rows more than any request explains; nothing in them names one"
                yield self._key(Anomaly.UNEXPECTED, None, number, "", detail)

    def _named(self) -> list[UncleanKey]:
        for drive, number, kind, count in self._comparison.ask(
            """
            SELECT drive, tenant, kind, count(*) FROM (
                SELECT DISTINCT r.drive, f.tenant, f.kind, f.key
                FROM rig_finding f JOIN rig_request r ON r.tenant = f.tenant AND r.key = f.key
            ) charged GROUP BY drive, tenant, kind
            """
        ):
            self._tallies[drive, number].unclean[kind] += count
        rows = self._comparison.ask(
            f"""
            SELECT DISTINCT f.kind = {{is_recovered}}, r.drive, f.tenant, f.kind, f.key, f.detail
            FROM rig_finding f LEFT JOIN rig_request r ON r.tenant = f.tenant AND r.key = f.key
            ORDER BY 1, 2, 3, 4, 5, 6 LIMIT {UNCLEAN_MAX + 1}
            """
        )
        return [
            self._key(Anomaly(kind), drive, number, key or "", detail) for _, drive, number, kind, key, detail in rows
        ]

    def _totals(self) -> tuple[Total, ...]:
        found: dict[tuple[Row, int], tuple[int, int, int]] = {}
        for place, number, least, most, observed in self._comparison.ask(
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
            for row, before in ((Row.CANONICAL, self._baseline.canonical), (Row.DEAD, self._baseline.dead)):
                least, most, observed = found.get((row, number), (0, 0, 0))
                totals.append(Total(tenant.name, row, least, most, observed - before.get(tenant.id, 0)))
        return tuple(totals)

    def _group(self, drive: int, number: int, tally: _Tally) -> Group:
        scenario = self._drives[drive].scenario
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
            dict(tally.unclean),
        )

    def _key(self, kind: Anomaly, drive: int | None, number: int, key: str, detail: str) -> UncleanKey:
        scenario = None if drive is None else self._drives[drive].scenario
        label, scenario_id = (scenario.label, scenario.id) if scenario else ("", "")
        return UncleanKey(kind, label, scenario_id, self._tenants[number].name, key, detail)
