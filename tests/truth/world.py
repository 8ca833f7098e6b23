"""A small target made by hand: tables with strange names, a profile for them, and rows as a perfect target leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from psycopg import Connection, sql

from rig.evidence.truth import TruthReport
from rig.model import Outcome, Pace, RequestClass, Row, RunKey, Scenario, Share, Tenant
from rig.profile import Profile
from rig.requests.targeter import Expected, Targeter
from rig.target.postgres import Database
from rig.truth.expected import RunOutcomes, SentRequests
from rig.truth.reader import TruthReader
from rig.truth.reconcile import Baseline
from tests.profiles import handmade

SCHEMA = "vault"
SALES = 'sales "2024" 100%s'  # Hostile on purpose: quotes, a space, a percent sign that looks like a placeholder.
LETTERS = "un.delivered"
TENANTS = (Tenant("A", "ten'ant-a"), Tenant("B", "tenant-b"))

SCHEMA_SQL = f"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}."sales ""2024"" 100%s" (
    id bigint GENERATED ALWAYS AS IDENTITY, "shop id" text NOT NULL, "dedup%key" varchar(80) NOT NULL, trace text,
    medium text, doc jsonb
);
CREATE TABLE {SCHEMA}."un.delivered" (
    id bigint GENERATED ALWAYS AS IDENTITY, shop text NOT NULL, "key" text COLLATE "POSIX", trace text COLLATE "C",
    raw text COLLATE ucs_basic, doc jsonb, blob bytea
);
CREATE TABLE {SCHEMA}.audit (id int, note text, tags text[]);
"""


def profile(match: str = "key", *, correlation: bool = True, path: str | None = None, column: str = "raw") -> Profile:
    """A profile of the tables above; ``match`` as in ``DeadTable``."""
    matched: str | None = {"key": "key", "correlation": "trace", "count": None}.get(match, column)
    canonical = {
        "table": SALES,
        "tenant": "shop id",
        "key": "dedup%key",
        "correlation": "trace" if correlation else None,
        "channel": "medium",
    }
    dead = {"table": LETTERS, "tenant": "shop", "match": match, "column": matched, "path": path}
    return handmade(
        {"schemas": [SCHEMA], "quiesce_timeout_s": 5, "canonical": canonical, "dead": dead},
        body='{"id": "<event>", "dedup": "<key>", "amount": <amount>}',
        personal=[{"at": "buyer.email", "kind": "email"}, {"at": "buyer.ssn", "kind": "ssn"}],
    )


def scenario(identity: str = "S2", *shares: Share, tenants: Sequence[str] = ("A",), **changes: Any) -> Scenario:
    """A drive with the given shares; ten valid requests without any."""
    return Scenario(
        id=identity,
        title="by hand",
        step=changes.pop("step", 1),
        route="orders",
        tenants=tuple(tenants),
        shares=shares or (Share(RequestClass.VALID, 10),),
        pace=Pace(4),
        **changes,
    )


@dataclass
class World:
    """One database, one run; ``settle`` stores what a perfect target would, ``read`` reads the truth."""

    database: Database
    profile: Profile
    connection: Connection[Any]
    targeter: Targeter
    scenario_runs: list[RunOutcomes] = field(default_factory=list)
    baseline: Baseline = field(default_factory=lambda: Baseline({}, {}))

    @property
    def reader(self) -> TruthReader:
        return TruthReader(self.profile, self.database.admin_dsn)

    def run_scenario(
        self, scenario: Scenario, outcome: Callable[[int], Outcome] | Outcome = Outcome.ACKNOWLEDGED
    ) -> None:
        """Send a scenario, on paper only."""
        outcomes = [outcome if isinstance(outcome, Outcome) else outcome(seq) for seq in range(scenario.count)]
        self.scenario_runs.append(RunOutcomes(scenario, np.array([each.code for each in outcomes], dtype=np.uint8)))

    def begin(self, tenants: Sequence[Tenant] = TENANTS, runtime_dsn: str | None = None) -> None:
        """Note what is there before the run."""
        scenarios = [run.scenario for run in self.scenario_runs]
        self.baseline = self.reader.preflight(self.targeter, scenarios, tenants, runtime_dsn)

    def expect(self, scenario_run: int = 0) -> list[Expected]:
        scenario = self.scenario_runs[scenario_run].scenario
        targets = self.targeter.bind(scenario)
        return [targets.expect(seq) for seq in range(scenario.count)]

    def settle(self) -> None:
        """Store the row of every request that was sent, once each."""
        stored = set()
        for scenario_run, outcomes in enumerate(self.scenario_runs):
            for expected, code in zip(self.expect(scenario_run), outcomes.codes, strict=True):
                if code == Outcome.NOT_SENT.code:
                    continue
                if expected.row is Row.CANONICAL and (expected.tenant, expected.key) not in stored:
                    stored.add((expected.tenant, expected.key))
                    self.keep(expected)
                elif expected.row is Row.DEAD:
                    self.bury(expected)

    def keep(self, expected: Expected, **changes: str | None) -> None:
        """A canonical row."""
        row = {
            "shop id": tenant_id(expected.tenant),
            "dedup%key": expected.key,
            "trace": expected.correlation,
            "medium": expected.channel or "direct",
            "doc": json.dumps({"amount": 1, "source": "newsletter"}),
        } | changes
        self._insert(SALES, row)

    def bury(self, expected: Expected, **changes: str | bytes | None) -> None:
        """A dead letter."""
        row = {
            "shop": tenant_id(expected.tenant),
            "key": expected.key,
            "trace": expected.correlation,
            "raw": json.dumps({"inner": {"dedup": expected.key, "trace": expected.correlation}}),
            "doc": json.dumps({"inner": [{"dedup": expected.key}]}),
            "blob": b"\x00\xff",
        } | changes
        self._insert(LETTERS, row)

    def execute(self, statement: str, *values: object) -> None:
        """SQL against the target; ``{sales}`` and ``{letters}`` stand for the tables."""
        names = {"sales": sql.Identifier(SCHEMA, SALES), "letters": sql.Identifier(SCHEMA, LETTERS)}
        names["dedup"] = sql.Identifier("dedup%key")
        literals = [value if isinstance(value, sql.Composable) else sql.Literal(value) for value in values]
        self.connection.execute(sql.SQL(statement).format(*literals, **names))

    @property
    def sent(self) -> SentRequests:
        return self.sent_to(TENANTS)

    def sent_to(self, tenants: Sequence[Tenant]) -> SentRequests:
        return SentRequests(self.targeter, self.scenario_runs, tenants)

    def read(self, **options: Any) -> TruthReport:
        return self.reader.read(self.sent, self.baseline, **options)

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(SCHEMA, table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Literal, row.values())),
        )
        self.connection.execute(query)


def open_world(database: Database, described: Profile) -> World:
    """Tables made, nothing sent."""
    connection = psycopg.connect(database.admin_dsn, autocommit=True)
    connection.execute("SET client_min_messages = warning")
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; {SCHEMA_SQL}")
    targeter = Targeter(described, RunKey(7, "run-1", 1_700_000_000))
    return World(database, described, connection, targeter)


def tenant_id(name: str) -> str:
    return next(tenant.id for tenant in TENANTS if tenant.name == name)
