"""The contract, request by request, against the real service in two processes."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from stub_server.service.config import REFERENCE_ROUTES, Route
from tests.service.running import RunningService, ServiceDatabase
from tests.service.sending import STRIPE, TENANT_A, TENANT_B, Client, body_for, signature, stripe_body


@pytest.fixture
def client(service: RunningService) -> Client:
    return service.client


@pytest.mark.parametrize("route", REFERENCE_ROUTES, ids=lambda route: route.name)
def test_every_route_stores_its_event(client: Client, service_database: ServiceDatabase, route: Route) -> None:
    body = body_for(route, "FB ADS")
    answer = client.deliver(route, body, key=f"stored-{route.name}", correlation=f"trace-{route.name}")
    assert (answer.status, answer.outcome) == (200, "accepted")
    assert answer.headers["X-Correlation-ID"] == f"trace-{route.name}"
    [row] = service_database.rows(
        """SELECT tenant_id::text, correlation_id, route, amount_minor, currency, occurred_at AT TIME ZONE 'UTC',
                  channel, payload FROM attribution_events WHERE idempotency_key = %s""",
        f"stored-{route.name}",
    )
    assert row[:5] == (TENANT_A, f"trace-{route.name}", route.name, 1234, "USD")
    assert row[5].isoformat() == "2026-01-01T00:00:00"
    assert row[6:] == ("facebook_paid", body)


def test_a_replay_is_a_duplicate_also_when_many_race(client: Client, service_database: ServiceDatabase) -> None:
    before = service_database.counts()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: client.deliver(key="raced"), range(60)))
    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.outcome for answer in answers) == ["accepted"] + ["duplicate"] * 59
    assert service_database.counts() == (before[0] + 1, before[1])


def test_a_key_belongs_to_its_tenant(client: Client, service_database: ServiceDatabase) -> None:
    for tenant in (TENANT_A, TENANT_B):
        assert client.deliver(key="shared", tenant=tenant).outcome == "accepted"
    rows = service_database.rows("SELECT tenant_id::text FROM attribution_events WHERE idempotency_key = 'shared'")
    assert sorted(rows) == [(TENANT_A,), (TENANT_B,)]


def test_without_a_key_the_vendors_id_deduplicates(client: Client) -> None:
    body = stripe_body()
    assert [client.deliver(body=body, key="").outcome for _ in range(2)] == ["accepted", "duplicate"]


def test_a_correlation_id_is_made_where_none_came(client: Client, service_database: ServiceDatabase) -> None:
    answer = client.deliver(key="untraced")
    [(correlation,)] = service_database.rows(
        "SELECT correlation_id FROM attribution_events WHERE idempotency_key = 'untraced'"
    )
    assert answer.headers["X-Correlation-ID"] == correlation
    assert re.fullmatch(r"[0-9a-f-]{36}", correlation)


DEAD: list[tuple[str, Any]] = [
    ("invalid_json", b'{"id": "evt_'),
    ("schema_invalid", stripe_body(amount=None)),
    ("schema_invalid", stripe_body() | {"created": "soon"}),
    ("personal_data", stripe_body(receipt_email="canary@example.test")),
    ("unstorable", stripe_body(note="nul \0 in a text")),
    ("unstorable", stripe_body(note="half a pair \ud800")),
    ("unstorable", stripe_body(id="nul \0")),
    ("unstorable", stripe_body(id="half a pair \ud800")),
]


@pytest.mark.parametrize("sent_key", ["for the dead", ""])
@pytest.mark.parametrize(("reason", "body"), DEAD)
def test_what_is_no_event_is_a_dead_letter(
    client: Client, service_database: ServiceDatabase, reason: str, body: Any, sent_key: str
) -> None:
    canonical, dead = service_database.counts()
    answer = client.deliver(body=body, key=sent_key, correlation=f"dead-{canonical}-{dead}")
    assert (answer.status, answer.outcome) == (200, "dead_letter")
    assert service_database.counts() == (canonical, dead + 1)
    [(tenant, key, found, payload)] = service_database.rows(
        "SELECT tenant_id::text, idempotency_key, reason, payload FROM dead_events WHERE correlation_id = %s",
        f"dead-{canonical}-{dead}",
    )
    assert (tenant, found) == (TENANT_A, reason)
    assert key == sent_key or not sent_key
    if reason in ("invalid_json", "unstorable"):
        assert set(payload) == {"body_bytes", "body_sha256"}


def test_nothing_personal_is_stored_or_logged(service: RunningService, service_database: ServiceDatabase) -> None:
    for body in (
        stripe_body(receipt_email="canary-1"),
        stripe_body(charges=[{"billing": {"Phone": ["canary-2"]}}]),
        {"ssn": "canary-3", "note": "half an event"},
        b'{"email": "canary-4", "id": ',
        stripe_body(shipping={"address": {"line1": "canary-5"}}, note="\0"),
    ):
        assert service.client.deliver(body=body).outcome == "dead_letter"
    stored = service_database.rows(
        "SELECT row_to_json(d)::text FROM dead_events d UNION ALL SELECT row_to_json(a)::text FROM attribution_events a"
    )
    assert len(stored) >= 5
    assert not [row for row in stored if "canary-" in row[0] or '"receipt_email"' in row[0]]
    assert "canary-" not in service.log()


def test_who_may_not_send_leaves_no_row(client: Client, service_database: ServiceDatabase) -> None:
    before = service_database.counts()
    raw = json.dumps(stripe_body()).encode()
    aged = signature("stripe", "secret-of-stripe", raw, at_unix=1_767_225_600)
    for headers in (
        {"X-Tenant-Key": "nobody's"},
        {"X-Tenant-Key": ""},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1,v1=00"},
        {"Stripe-Signature": aged},
    ):
        answer = client.deliver(body=raw, headers=headers)
        assert (answer.status, answer.outcome) == (401, "unauthorized")
        assert "X-Correlation-ID" in answer.headers
    assert client.deliver(body=b"{", secret="another").status == 401
    assert service_database.counts() == before


def test_probes_and_unknown_paths(client: Client) -> None:
    assert client.get("/health").status == 200
    ready = client.get("/health/ready")
    assert (ready.status, ready.body) == (200, {"status": "ready"})
    assert client.get("/nothing").status == 404
    assert client.get(STRIPE.path).status == 405


def test_bearer_tokens_without_a_key_set(client: Client) -> None:
    for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer x.y.z"}):
        answer = client.get("/api/whoami", headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_body_beyond_the_limit_is_refused(client: Client, service_database: ServiceDatabase) -> None:
    before = service_database.counts()
    assert client.deliver(body=b'"' + b"x" * (1 << 20) + b'"').status == 413
    assert service_database.counts() == before


def test_metrics_count_over_all_processes(client: Client) -> None:
    def total(outcome: str) -> float:
        text = client.get("/metrics").body
        pattern = rf'^service_requests_total{{route="{STRIPE.name}",outcome="{outcome}",process="[01]"}} (\S+)$'
        values = re.findall(pattern, text, re.MULTILINE)
        assert len(values) == 2
        return sum(map(float, values))

    before = {outcome: total(outcome) for outcome in ("accepted", "duplicate", "unauthorized")}
    for _ in range(8):
        client.deliver(key="counted")
    client.deliver(secret="another")
    grown = {outcome: total(outcome) - count for outcome, count in before.items()}
    assert grown == {"accepted": 1, "duplicate": 7, "unauthorized": 1}
    text = client.get("/metrics").body
    assert re.search(r'^service_pool_connections\{process="0"\} [1-9]', text, re.MULTILINE)
    assert sum(map(float, re.findall(r"^service_requests_in_flight\{.*\} (\S+)$", text, re.MULTILINE))) == 0


def test_row_level_security_binds_the_services_role(client: Client, service_database: ServiceDatabase) -> None:
    client.deliver(tenant=TENANT_A)
    client.deliver(tenant=TENANT_B, body=b"{")
    tables = ("attribution_events", "dead_events")
    with psycopg.connect(service_database.runtime_dsn, autocommit=True) as role:
        for table in tables:
            assert role.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege), role.transaction():
                role.execute("SET LOCAL row_security = off")
                role.execute(f"SELECT count(*) FROM {table}")
            for statement in (f"UPDATE {table} SET route = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    role.execute(statement)
        with role.transaction():
            role.execute("SELECT set_config('app.current_tenant_id', %s, true)", (TENANT_B,))
            for table in tables:
                seen = role.execute(f"SELECT DISTINCT tenant_id::text FROM {table}").fetchall()
                assert set(seen) <= {(TENANT_B,)}
            with pytest.raises(psycopg.errors.InsufficientPrivilege), role.transaction():
                role.execute(
                    "INSERT INTO dead_events (tenant_id, correlation_id, route, reason) VALUES (%s, 'c', 'r', 'x')",
                    (TENANT_A,),
                )
        assert role.execute("SELECT count(*) FROM dead_events").fetchone() == (0,)
