"""Starting, stopping, dying: exit codes, clear lines, nothing lost and nothing left."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from stub_server.service.config import Config
from stub_server.service.errors import ServiceError
from stub_server.service.metrics import Board
from stub_server.service.supervisor import ServePlan, supervise
from stub_server.service.switches import ServiceDefect
from tests.service.running import DEADLINE_S, RunningService, ServiceDatabase, run_command, running_service

NOWHERE = "host=127.0.0.1 port=1 user=nobody dbname=none connect_timeout=2"


def storm(service: RunningService, began: threading.Event) -> list[str]:
    """Deliver until the service is gone; the keys that were acknowledged."""
    acknowledged: list[str] = []
    while True:
        key = str(uuid.uuid4())
        try:
            answer = service.client.deliver(key=key)
        except (OSError, EOFError):
            return acknowledged
        assert answer.status == 200
        acknowledged.append(key)
        began.set()


def test_a_graceful_stop_loses_nothing(service_database: ServiceDatabase, tmp_path: Path) -> None:
    began = threading.Event()
    with (
        running_service(service_database, tmp_path / "log", processes=2) as service,
        ThreadPoolExecutor(8) as threads,
    ):
        storms = [threads.submit(storm, service, began) for _ in range(8)]
        assert began.wait(DEADLINE_S)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(DEADLINE_S) == 0
        acknowledged = [key for one in storms for key in one.result(DEADLINE_S)]
    assert acknowledged
    stored = service_database.rows(
        "SELECT idempotency_key FROM attribution_events WHERE idempotency_key = ANY(%s)", acknowledged
    )
    assert sorted(key for (key,) in stored) == sorted(acknowledged)
    assert "Traceback" not in service.log()


def test_processes_die_with_a_killed_supervisor(service_database: ServiceDatabase, tmp_path: Path) -> None:
    with running_service(service_database, tmp_path / "log", processes=2) as service:
        workers = service.workers()
        assert len(workers) == 2
        service.process.kill()
        gone, alive = psutil.wait_procs(workers, DEADLINE_S)
        assert (len(gone), alive) == (2, [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_or_told_to_end_is_replaced(
    number: signal.Signals, service_database: ServiceDatabase, tmp_path: Path
) -> None:
    with running_service(service_database, tmp_path / "log") as service:
        assert service.client.get("/health").status == 200  # from here on it is known to have served
        (old,) = service.workers()
        os.kill(old.pid, number)
        assert not psutil.wait_procs([old], DEADLINE_S)[1]
        # The connection waits for the process that comes; none is refused meanwhile.
        assert service.client.get("/health").status == 200
        (new,) = service.workers()
        assert new.pid != old.pid
    assert "serving process 0 ended" in service.log()
    assert "Traceback" not in service.log()


def test_a_process_that_fails_ends_the_service(service_database: ServiceDatabase, tmp_path: Path) -> None:
    with running_service(service_database, tmp_path / "log", processes=2) as service:
        os.kill(service.workers()[0].pid, signal.SIGKILL)  # before it serves
        assert service.process.wait(DEADLINE_S) == 70
    assert "serving process 0 died (signal 9)" in service.log()
    assert "Traceback" not in service.log()


def test_a_process_that_is_killed_before_it_serves_is_replaced_where_another_served(
    service_database: ServiceDatabase, tmp_path: Path
) -> None:
    with running_service(service_database, tmp_path / "log") as service:
        assert service.client.get("/health").status == 200
        (old,) = service.workers()
        for _ in range(2):
            os.kill(old.pid, signal.SIGKILL)
            old = _next_worker(service, old)  # just started: it takes longer than this to serve
        assert service.client.get("/health").status == 200


def _next_worker(service: RunningService, old: psutil.Process) -> psutil.Process:
    deadline_s = time.monotonic() + DEADLINE_S
    while not (others := [each for each in service.workers() if each.pid != old.pid]):
        assert time.monotonic() < deadline_s, "the process was not replaced"
    return others[0]


def test_a_stop_that_reaches_the_whole_group_is_a_stop(service_database: ServiceDatabase, tmp_path: Path) -> None:
    with running_service(service_database, tmp_path / "log") as service:
        assert service.client.get("/health").status == 200
        os.killpg(service.process.pid, signal.SIGTERM)
        assert service.process.wait(DEADLINE_S) == 0


def test_what_fails_beside_the_port_is_not_blamed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Board:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Board, "create", full)
    with pytest.raises(ServiceError, match="No space left on device") as caught:
        supervise(ServePlan(Config(), "127.0.0.1", 0, 1))
    assert caught.value.exit_code == 70


def test_without_a_database_it_starts_and_says_so(tmp_path: Path) -> None:
    config = tmp_path / "service.toml"
    config.write_text("[database]\npool_timeout_s = 0.3\n")
    database = ServiceDatabase(admin_dsn=NOWHERE, runtime_dsn=NOWHERE)
    with running_service(database, tmp_path / "log", options=["--config", str(config)]) as service:
        assert service.client.get("/health").status == 200
        ready = service.client.get("/health/ready")
        assert ready.status == 503
        assert ready.body["reason"].startswith("database: ")
        assert service.client.deliver().status == 503
        metrics = service.client.get("/metrics").body
        assert 'outcome="unavailable",process="0"} 1\n' in metrics


def test_readiness_sees_row_level_security_fall(service_database: ServiceDatabase, service: RunningService) -> None:
    with psycopg.connect(service_database.admin_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE dead_events NO FORCE ROW LEVEL SECURITY")
        try:
            ready = service.client.get("/health/ready")
        finally:
            owner.execute("ALTER TABLE dead_events FORCE ROW LEVEL SECURITY")
    assert (ready.status, ready.body["reason"]) == (503, "row-level security is not forced on both event tables")
    assert service.client.get("/health/ready").status == 200


@pytest.mark.parametrize("verb", ["serve", "migrate"])
def test_wrong_starts_say_why_in_one_line(verb: str, tmp_path: Path, service_database: ServiceDatabase) -> None:
    environment = service_database.environment()
    bad = tmp_path / "bad.toml"
    bad.write_text("[headers]\nnonsense = 1\n")
    cases = [
        (["--config", str(bad)], environment, 78, "headers.nonsense"),
        (["--config", str(tmp_path / "none.toml")], environment, 78, "none.toml"),
        ([], {**environment, "DATABASE_URL": ""}, 78, "DATABASE_URL is not set"),
        (["--defect", "sloow"], environment, 64, "alike are slow"),
    ]
    for arguments, variables, code, complaint in cases:
        ended = run_command(verb, *arguments, environment=variables)
        assert ended.returncode == code, ended.stderr
        assert complaint in ended.stderr
        assert ended.stderr.count("\n") == 1
        assert ended.stdout == ""


def test_a_taken_port_is_exit_69(service_database: ServiceDatabase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_command("serve", "--port", port, environment=service_database.environment())
    assert ended.returncode == 69
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("verifier", "why"), [("no_such_module:factory", "no_such_module"), ("fleet_jwks:factory", "JWKS_URL")]
)
def test_a_verifier_that_cannot_be_made_is_exit_78(
    service_database: ServiceDatabase, tmp_path: Path, verifier: str, why: str
) -> None:
    config = tmp_path / "service.toml"
    config.write_text(f"[auth]\nverifier = '{verifier}'\n")
    ended = run_command("serve", "--port", "0", "--config", str(config), environment=service_database.environment())
    assert ended.returncode == 78
    assert why in ended.stderr
    assert "Traceback" not in ended.stderr


def test_usage_is_exit_64_and_defects_can_be_listed() -> None:
    assert run_command("serve", "--nonsense").returncode == 64
    assert run_command("defects").stdout.split() == list(ServiceDefect)


def test_sessions_that_were_ended_while_idle_fail_no_request(service_database: ServiceDatabase, tmp_path: Path) -> None:
    with running_service(service_database, tmp_path / "log") as service:
        assert service.client.deliver(key=str(uuid.uuid4())).status == 200
        ended = service_database.rows(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE %s",
            "stub_server%",
        )
        assert ended
        assert [service.client.deliver(key=str(uuid.uuid4())).status for _ in range(8)] == [200] * 8
