"""Faults of the database during a run: killed and recovered, durable or not; full; out of connections; read-only."""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from rig.errors import ExitCode
from rig.machine.supervisor import Supervisor
from rig.target.postgres import Database
from tests.faults.conftest import fill
from tests.faults.server import Server, doors, standing
from tests.faults.striking import LOAD, SERVICE, Aftermath, Struck, Workshop
from tests.waiting import wait_until

_RUN = ("perf", "--rate", "200", "--seconds", "12")
"""It must still send when the server has recovered."""
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename = %s"


def _failed_on_errors_alone(after: Aftermath) -> None:
    """The target answered wrongly, and not one acknowledged row is missing."""
    after.told(ExitCode.FAIL, "FAIL")
    assert after.verdict("sustained.answers") == "FAIL"
    assert after.gates["sustained.answers"]["figures"]["http_5xx"] > 0
    rows = after.gates["sustained.rows"]
    assert rows["verdict"] == "PASS", rows
    assert rows["figures"]["canonical"] >= 100
    assert after.verdict("duplicates") == "PASS"


@pytest.mark.full
def test_a_database_that_is_killed_and_recovers_has_lost_nothing(
    workshop: Workshop, server: Server, users_database: Database
) -> None:
    struck = Struck(workshop, *_RUN, env=doors(users_database))
    struck.until_acknowledged()
    server.kill()
    server.start()
    after = struck.aftermath()
    _failed_on_errors_alone(after)
    last = after.history.sort_values("intended_ns").tail(50)
    assert (last["outcome"] == "acknowledged").all(), "it took events again"


def test_rows_that_were_acknowledged_before_they_were_on_disk_are_named(
    workshop: Workshop, server: Server, users_database: Database
) -> None:
    """The walwriter is frozen, so that nothing of these commits gets any further than memory."""
    role = sql.Identifier(users_database.runtime_role)
    with psycopg.connect(users_database.admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = off").format(role))
    struck = Struck(workshop, *LOAD, env=doors(users_database))
    struck.until_stage("starting the target")
    server.process("walwriter").send_signal(signal.SIGSTOP)
    struck.until_acknowledged(200)
    server.kill()
    server.start()
    after = struck.aftermath()
    after.told(ExitCode.FAIL, "FAIL")
    rows = after.gates["S8.rows"]
    assert rows["verdict"] == "FAIL"
    assert rows["figures"]["lost"] >= 100
    assert all(re.match(r"lost [0-9a-f-]{36}$", key) for key in rows["figures"]["keys"])
    discrepancies = after.discrepancies()
    lost = discrepancies[(discrepancies["kind"] == "lost") & (discrepancies["scenario"] == "S8")]
    assert lost["key"].nunique() == rows["figures"]["lost"]  # every one of them is named in the pack


@pytest.mark.full
def test_a_database_without_connections_to_spare(workshop: Workshop, supervisor: Supervisor) -> None:
    """Somebody else takes every connection that the target loses, for a while."""
    with standing(supervisor, {"max_connections": "30"}) as server, ExitStack() as takers:
        database = server.cluster.create_database("test")
        workshop.service_gives_up_soon()
        struck = Struck(workshop, *_RUN, env=doors(database))
        struck.until_acknowledged()

        def taken() -> bool:
            """Take what is free, then throw the target out of what it has; True when it has none and gets none."""
            try:
                while True:
                    connection = psycopg.connect(database.runtime_dsn, application_name="rig-taker")
                    takers.callback(connection.close)
            except psycopg.OperationalError:
                held = server.ask(_SESSIONS + " AND application_name <> 'rig-taker'", database.runtime_role)
                for (pid,) in held:
                    server.ask("SELECT pg_terminate_backend(%s)", pid)
                return not held

        service = struck.parts(SERVICE)
        for process in service:  # who stands still takes back none of what it lost: nobody has to win a race
            process.suspend()
        struck.until(taken)
        for process in service:
            process.resume()
        before = struck.answered_badly()
        struck.until(lambda: struck.answered_badly() >= before + 50)
        takers.close()
        _failed_on_errors_alone(struck.aftermath())


@pytest.mark.full
def test_a_database_whose_disk_is_full(
    workshop: Workshop,
    supervisor: Supervisor,
    small_disk: Callable[[Path, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = workshop.folder / "disk"
    disk.mkdir()
    small_disk(disk, 256)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with standing(supervisor) as server:
        database = server.cluster.create_database("test")
        workshop.service_gives_up_soon()
        struck = Struck(workshop, *_RUN, env=doors(database))
        struck.until_acknowledged()
        ballast = fill(disk)
        struck.until(lambda: struck.answered_badly() >= 50)
        ballast.unlink()
        server.revive()  # a log that could not be written ends the server, and so does a recovery without room
        _failed_on_errors_alone(struck.aftermath())


@pytest.mark.full
def test_a_database_that_takes_nothing_more(workshop: Workshop, server: Server, users_database: Database) -> None:
    """Read-only, as after a failover, and it stays so: truth is read all the same."""
    struck = Struck(workshop, *_RUN, env=doors(users_database))
    struck.until_acknowledged()
    _set_read_only(server, "on")
    try:
        after = struck.aftermath()
    finally:
        _set_read_only(server, "off")
    _failed_on_errors_alone(after)


def _set_read_only(server: Server, value: str) -> None:
    """Of new and of standing sessions."""
    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        setting = sql.SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(sql.Literal(value))
        connection.execute(setting)
        connection.execute("SELECT pg_reload_conf()")
    wait_until(lambda: server.ask("SHOW default_transaction_read_only") == [(value,)])
