"""What it costs to reconcile a run of 1,000,000 keys, and to compare five columns of each row, one a JSON payload.

Fills a fresh database with the rows of a perfect target, then times the whole read as a run does it: deriving the
expectations, loading them, joins, totals, the duplicate scan, and the search of every text column for personal data.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import click
import numpy as np
import psycopg
import pytest

from rig.model import Pace, RequestClass, Row, RunKey, Scenario, Share, Tenant
from rig.profile import Profile
from rig.requests.targeter import Targeter
from rig.target.postgres import Cluster
from rig.truth.expected import RunOutcomes, SentRequests
from rig.truth.reader import TruthReader
from rig.truth.reconcile import Baseline
from tests.profiles import handmade

KEYS = 1_000_000
LIMIT_S = 30.0
STARTED_UNIX = 1_700_000_000
TENANTS = tuple(Tenant(name, f"00000000-0000-4000-8000-00000000000{at}") for at, name in enumerate("ABCD"))
TABLES = """
CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, tenant_id uuid, idempotency_key text,
    correlation_id text, route text, channel text, external_id text, amount bigint, currency text,
    occurred_at timestamptz, payload jsonb, received_at timestamptz DEFAULT now(),
    UNIQUE (tenant_id, idempotency_key));
CREATE TABLE letters (id bigint GENERATED ALWAYS AS IDENTITY, tenant_id uuid, idempotency_key text,
    correlation_id text, reason text, payload jsonb);
"""
BODY = """
{"id":"evt_<event>","type":"payment_intent.succeeded","created":<unix>,"data":{"object":{"id":"pi_<event>",
 "amount":<amount>,"currency":"usd","metadata":{"utm_source":"newsletter","note":"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"}}}}
"""
FIELDS = {
    "external_id": {"path": "data.object.id"},
    "amount": {"path": "data.object.amount", "type": "integer"},
    "currency": {"path": "data.object.currency"},
    "occurred_at": {"path": "created", "type": "unix"},
    "payload": {"type": "json"},
}


def _profile() -> Profile:
    canonical = {
        "table": "events",
        "tenant": "tenant_id",
        "key": "idempotency_key",
        "correlation": "correlation_id",
        "channel": "channel",
        "fields": FIELDS,
    }
    dead = {"table": "letters", "tenant": "tenant_id", "match": "correlation", "column": "correlation_id"}
    personal = [{"at": "data.email", "kind": "email"}]
    return handmade({"canonical": canonical, "dead": dead}, scheme="stripe", body=BODY, personal=personal)


def _scenarios(keys: int) -> list[Scenario]:
    """Four drives that make ``keys`` distinct keys, and replays besides; 1 % of the keys go to dead letters."""
    each = keys // 4
    dead = each // 100
    shares = (
        Share(RequestClass.REPLAY, each // 20, one_key=True),
        Share(RequestClass.VALID, each - dead - 1),
        Share(RequestClass.MALFORMED, dead // 2),
        Share(RequestClass.PERSONAL, dead - dead // 2),
    )
    return [
        Scenario("S8", "bench", 1, "orders", (tenant.name,), shares, Pace(1), trial=trial, shuffled=True)
        for trial, tenant in enumerate(TENANTS, start=1)
    ]


def _rows(targeter: Targeter, scenarios: list[Scenario], row: Row) -> Iterator[tuple[str, ...]]:
    ids = {tenant.name: tenant.id for tenant in TENANTS}
    for scenario in scenarios:
        targets, stored = targeter.bind(scenario), set()
        for seq in range(scenario.count):
            expected = targets.expect(seq)
            if expected.row is row and (row is Row.DEAD or expected.key not in stored):
                stored.add(expected.key)
                plain = expected.key.replace("-", "")
                bits = int(plain[:12], 16)
                amount, unix = 100 + bits % 99_900, STARTED_UNIX - (bits >> 20) % 3600
                payload = BODY.strip().replace("\n", "").replace("<event>", plain)
                payload = payload.replace("<amount>", str(amount)).replace("<unix>", str(unix))
                own = (ids[expected.tenant], expected.key, expected.correlation, "email", payload)
                happened = datetime.fromtimestamp(unix, UTC).isoformat()
                yield (*own, f"pi_{plain}", str(amount), "usd", happened) if row is Row.CANONICAL else own


def _fill(dsn: str, targeter: Targeter, scenarios: list[Scenario]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES)
        for row, into in (
            (
                Row.CANONICAL,
                "events (tenant_id, idempotency_key, correlation_id, channel, payload, external_id, amount, currency,"
                " occurred_at)",
            ),
            (Row.DEAD, "letters (tenant_id, idempotency_key, correlation_id, reason, payload)"),
        ):
            with connection.cursor().copy(f"COPY {into} FROM STDIN") as copy:
                for values in _rows(targeter, scenarios, row):
                    copy.write_row(values)


@pytest.mark.bench
@pytest.mark.timeout(300)
def bench_reconciliation(cluster: Cluster) -> None:
    targeter = Targeter(_profile(), RunKey(1, "bench", STARTED_UNIX))
    scenarios = _scenarios(KEYS)
    database = cluster.create_database("bench_truth")
    try:
        _fill(database.admin_dsn, targeter, scenarios)
        reader = TruthReader(targeter.profile, database.admin_dsn)
        scenario_runs = [RunOutcomes(scenario, np.zeros(scenario.count, np.uint8)) for scenario in scenarios]
        report = reader.read(SentRequests(targeter, scenario_runs, TENANTS), Baseline({}, {}))
    finally:
        cluster.drop_database(database)
    click.echo(
        f"\n{report.keys_reconciled} keys reconciled and {report.columns_scanned} text columns searched"
        f" in {report.read_s:.1f} s (limit {LIMIT_S:.0f} s, PostgreSQL {cluster.version})"
    )
    assert (report.discrepancies, report.canary_hits, report.duplicated_keys) == ((), (), 0)
    assert report.keys_reconciled == KEYS
    assert report.content is not None
    assert [(each.compared, each.altered) for each in report.content] == [(KEYS - KEYS // 100, 0)]
    assert report.read_s < LIMIT_S
