"""Each seeded bottleneck is where it says, and the answers stay right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from stub_server.service.bottlenecks import BUSY_CPU_S, LOG_LINE_BYTES, LOG_LINES, TALLY, NoPool
from stub_server.service.config import REFERENCE_ROUTES
from stub_server.service.defects import inject_defects
from stub_server.service.directory import Taxonomy
from stub_server.service.intake import Dead, Decision, Delivery, Reason, Steps, WebhookOutcome
from stub_server.service.schema import migrate
from stub_server.service.switches import ServiceDefect
from tests.service.conftest import MakeDatabase
from tests.service.running import RunningService, ServiceDatabase, running_service
from tests.service.sending import TENANT_A
from tests.waiting import wait_until

DELIVERY = Delivery(REFERENCE_ROUTES[0], TENANT_A, "k", "c", b"{")
TAXONOMY = Taxonomy({}, unknown="other", absent="direct")


@contextmanager
def slow_service(database: ServiceDatabase, tmp_path: Path, defect: ServiceDefect) -> Iterator[RunningService]:
    with running_service(database, tmp_path / "log", options=("--defect", defect)) as service:
        yield service


def dead(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
    return Dead(Reason.INVALID_JSON, delivery.idempotency_key, "{}")


async def accepted(delivery: Delivery, decision: Decision) -> WebhookOutcome:
    return WebhookOutcome.ACCEPTED


def waiting_for_a_lock(database: ServiceDatabase) -> bool:
    return bool(
        database.rows(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'stub_server%%'"
        )
    )


def sessions(database: ServiceDatabase) -> int:
    [(count,)] = database.rows(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name LIKE 'stub_server%%' AND datname = current_database()"
    )
    return int(count)


def test_a_row_lock_convoy_locks_one_row_of_the_tenant_until_the_commit(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    database = make_database("convoy", defects=(ServiceDefect.ROW_LOCK_CONVOY,))
    with slow_service(database, tmp_path, ServiceDefect.ROW_LOCK_CONVOY) as service, ThreadPoolExecutor(1) as aside:
        assert service.client.deliver(key="first").outcome == "accepted"
        assert service.client.deliver(body=b"{").status == 200
        assert database.rows("SELECT tenant_id::text, stored FROM tenant_tally") == [(TENANT_A, 2)]
        with psycopg.connect(database.admin_dsn) as holder:
            holder.execute("SELECT FROM tenant_tally FOR UPDATE")
            behind = aside.submit(service.client.deliver, key="second")
            wait_until(lambda: waiting_for_a_lock(database), what="the service does not wait for the row")
            holder.rollback()
        assert behind.result().outcome == "accepted"
    assert database.counts() == (2, 1)


def test_migrating_without_the_convoy_takes_it_away(make_database: MakeDatabase) -> None:
    database = make_database("convoy_gone", defects=(ServiceDefect.ROW_LOCK_CONVOY,))
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = %s"
    assert database.rows(triggers, TALLY) == [(2,)]
    migrate(database.config, database.admin_dsn, database.runtime_dsn)
    assert database.rows(triggers, TALLY) == [(0,)]


def test_a_pool_of_one_holds_one_connection(make_database: MakeDatabase, tmp_path: Path) -> None:
    database = make_database("pool_of_one")
    with slow_service(database, tmp_path, ServiceDefect.POOL_OF_ONE) as service, ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda number: service.client.deliver(key=str(number)).status, range(32)))
        assert answers == [200] * 32
        assert sessions(database) == 1


def test_without_a_pool_no_connection_is_kept(make_database: MakeDatabase, tmp_path: Path) -> None:
    database = make_database("no_pool")
    with slow_service(database, tmp_path, ServiceDefect.NO_POOL) as service, ThreadPoolExecutor(12) as senders:
        answers = list(senders.map(lambda number: service.client.deliver(key=str(number)).outcome, range(36)))
        assert answers == ["accepted"] * 36
        wait_until(lambda: sessions(database) == 0, what="the last request's connection stays open")


async def test_without_a_pool_whoever_waits_gets_a_connection_of_its_own(service_database: ServiceDatabase) -> None:
    pool = NoPool(service_database.runtime_dsn, most=1, timeout_s=15.0, options={})
    first = await pool.getconn()
    pid = first.info.backend_pid
    waiting = asyncio.create_task(pool.getconn())
    await asyncio.sleep(0)
    assert pool.get_stats()["requests_waiting"] == 1
    with pytest.raises(psycopg.OperationalError, match="in time"):
        await pool.getconn(0.01)
    await pool.putconn(first)
    second = await waiting
    assert first.closed
    assert second.info.backend_pid != pid
    await pool.putconn(second)


def test_log_amplification_writes_before_each_event(service_database: ServiceDatabase, tmp_path: Path) -> None:
    with slow_service(service_database, tmp_path, ServiceDefect.LOG_AMPLIFICATION) as service:
        before = service.log_file.stat().st_size
        for number in range(2):
            assert service.client.deliver(key=f"chatty-{number}").outcome == "accepted"
        assert service.log_file.stat().st_size >= before + 2 * LOG_LINES * LOG_LINE_BYTES


def test_a_busy_loop_computes_in_the_first_process_only() -> None:
    first, second = (inject_defects(Steps(dead, accepted), {ServiceDefect.BUSY_LOOP}, process) for process in (0, 1))
    before_s = time.thread_time()
    assert first.judge(DELIVERY, TAXONOMY) == dead(DELIVERY, TAXONOMY)
    assert time.thread_time() - before_s >= BUSY_CPU_S
    assert second.judge is dead
