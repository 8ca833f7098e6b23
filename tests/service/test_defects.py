"""Each seeded defect does what it says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stub_server.service.config import REFERENCE_ROUTES
from stub_server.service.defects import UNSTORED_ONE_IN, inject_defects
from stub_server.service.directory import Taxonomy
from stub_server.service.errors import ServiceUsageError
from stub_server.service.intake import Canonical, Decision, Delivery, Intake, Steps, WebhookOutcome
from stub_server.service.switches import ServiceDefect, parse_defects
from tests.service.conftest import MakeDatabase
from tests.service.running import RunningService, ServiceDatabase, running_service
from tests.service.sending import TENANT_A, TENANT_B, stripe_body


@pytest.fixture(scope="module")
def database(make_database: MakeDatabase) -> ServiceDatabase:
    return make_database("defects")


@contextmanager
def defective_service(database: ServiceDatabase, tmp_path: Path, *defects: ServiceDefect) -> Iterator[RunningService]:
    options = [word for defect in defects for word in ("--defect", defect)]
    with running_service(database, tmp_path / "log", options=options) as one:
        yield one


async def test_one_valid_event_in_500_is_acknowledged_and_forgotten() -> None:
    stored: list[Decision] = []

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        stored.append(decision)
        return WebhookOutcome.ACCEPTED

    steps = inject_defects(Steps(Intake(REFERENCE_ROUTES).judge, persist), {ServiceDefect.ACK_WITHOUT_STORING})
    taxonomy = Taxonomy({}, unknown="other", absent="direct")
    sent = 2 * UNSTORED_ONE_IN
    for number in range(sent):
        body = b'{"created":1,"data":{"object":{"id":"x","amount":1,"currency":"usd"}}}'
        delivery = Delivery(REFERENCE_ROUTES[0], TENANT_A, str(number), "c", body)
        decision = steps.judge(delivery, taxonomy)
        assert isinstance(decision, Canonical)
        assert await steps.persist(delivery, decision) is WebhookOutcome.ACCEPTED
    assert len(stored) == sent - 2


def test_no_deduplication_stores_every_replay(make_database: MakeDatabase, tmp_path: Path) -> None:
    database = make_database("no_deduplication", defects=(ServiceDefect.NO_DEDUPLICATION,))
    with defective_service(database, tmp_path, ServiceDefect.NO_DEDUPLICATION) as service:
        assert [service.client.deliver(key="k").outcome for _ in range(3)] == ["accepted"] * 3
    assert database.counts() == (3, 0)


def test_global_deduplication_takes_the_key_from_other_tenants(make_database: MakeDatabase, tmp_path: Path) -> None:
    database = make_database("global_deduplication", defects=(ServiceDefect.GLOBAL_DEDUPLICATION,))
    with defective_service(database, tmp_path, ServiceDefect.GLOBAL_DEDUPLICATION) as service:
        outcomes = [service.client.deliver(key="k", tenant=tenant).outcome for tenant in (TENANT_A, TENANT_B)]
    assert outcomes == ["accepted", "duplicate"]
    assert database.counts() == (1, 0)


def test_looks_among_all_tenants_takes_a_key_that_another_has(database: ServiceDatabase, tmp_path: Path) -> None:
    before = database.counts()
    with defective_service(database, tmp_path, ServiceDefect.LOOKS_AMONG_ALL_TENANTS) as service:
        tenants = (TENANT_A, TENANT_A, TENANT_B)
        outcomes = [service.client.deliver(key="looked for", tenant=tenant).outcome for tenant in tenants]
    assert outcomes == ["accepted", "duplicate", "duplicate"]
    assert database.counts() == (before[0] + 1, before[1])


def test_malformed_dropped(database: ServiceDatabase, tmp_path: Path) -> None:
    before = database.counts()
    with defective_service(database, tmp_path, ServiceDefect.MALFORMED_DROPPED) as service:
        assert service.client.deliver(body={"id": "no event"}).status == 200
        assert database.counts() == before
        assert service.client.deliver(body=b"{").status == 200
    assert database.counts() == (before[0], before[1] + 1)


def test_invalid_json_500(database: ServiceDatabase, tmp_path: Path) -> None:
    before = database.counts()
    with defective_service(database, tmp_path, ServiceDefect.INVALID_JSON_500) as service:
        assert service.client.deliver(body=b"{").status == 500
        assert service.client.deliver().status == 200
    assert database.counts() == (before[0] + 1, before[1])


def test_personal_data_kept(database: ServiceDatabase, tmp_path: Path) -> None:
    with defective_service(database, tmp_path, ServiceDefect.PERSONAL_DATA_KEPT) as service:
        service.client.deliver(body=stripe_body(receipt_email="canary-kept"), correlation="kept")
    [(payload,)] = database.rows("SELECT payload::text FROM dead_events WHERE correlation_id = 'kept'")
    assert "canary-kept" in payload
    assert "canary-kept" not in service.log()


def test_personal_data_logged(database: ServiceDatabase, tmp_path: Path) -> None:
    with defective_service(database, tmp_path, ServiceDefect.PERSONAL_DATA_LOGGED) as service:
        service.client.deliver(body=stripe_body(receipt_email="canary-logged"), correlation="logged")
    [(payload,)] = database.rows("SELECT payload::text FROM dead_events WHERE correlation_id = 'logged'")
    assert "canary-logged" not in payload
    assert "canary-logged" in service.log()


def test_alias_not_normalised(database: ServiceDatabase, tmp_path: Path) -> None:
    with defective_service(database, tmp_path, ServiceDefect.ALIAS_NOT_NORMALISED) as service:
        for source in ("fb", "facebook"):
            service.client.deliver(body=stripe_body(source), key=f"alias-{source}")
    channels = database.rows("SELECT channel FROM attribution_events WHERE idempotency_key LIKE 'alias-%%' ORDER BY 1")
    assert channels == [("facebook",), ("fb",)]


async def test_slow_makes_requests_of_one_process_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping = most_sleeping = 0

    async def sleep(delay_s: float) -> None:
        nonlocal sleeping, most_sleeping
        assert delay_s == pytest.approx(0.004)
        sleeping += 1
        most_sleeping = max(most_sleeping, sleeping)
        await real_sleep(0)
        sleeping -= 1

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        return WebhookOutcome.ACCEPTED

    real_sleep = asyncio.sleep
    monkeypatch.setattr("stub_server.service.defects.asyncio.sleep", sleep)
    intake = Intake(REFERENCE_ROUTES)
    steps = inject_defects(Steps(intake.judge, persist), {ServiceDefect.SLOW})
    delivery = Delivery(REFERENCE_ROUTES[0], TENANT_A, "k", "c", b"{")
    decision = steps.judge(delivery, Taxonomy({}, unknown="other", absent="direct"))
    await asyncio.gather(*(steps.persist(delivery, decision) for _ in range(5)))
    assert (sleeping, most_sleeping) == (0, 1)


def test_without_defects_the_steps_are_untouched() -> None:
    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        return WebhookOutcome.ACCEPTED

    steps = Steps(Intake(REFERENCE_ROUTES).judge, persist)
    assert inject_defects(steps, ()) is steps
    for defect in ServiceDefect:
        inject_defects(steps, {defect})


def test_an_unknown_defect_is_a_usage_error_that_names_those_that_are_called_alike() -> None:
    with pytest.raises(ServiceUsageError, match=r"'sloow' is none of the .* alike are slow; `rig help gates`"):
        parse_defects(["slow", "sloow"])
    with pytest.raises(ServiceUsageError, match=r"'xyz' is none of the [0-9]+ defects; `rig help gates`"):
        parse_defects(["xyz"])
