"""pg_activity against a real PostgreSQL: what sessions wait for, who blocks whom, what happens when it goes away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from rig.diagnose import aas
from rig.evidence.sample_names import PG_ACTIVITY, Role
from rig.machine.supervisor import Supervisor
from rig.samplers.sampling import SamplingPlan
from rig.target.postgres import Cluster, Database, open_cluster
from tests.samplers.restarting import restartable
from tests.samplers.watching import connected, watched


@contextmanager
def busy(dsn: str, statement: str, name: str = "shop") -> Iterator[None]:
    """A session that runs one statement meanwhile."""
    with connected(dsn, name) as session:
        thread = threading.Thread(target=_run, args=(session, statement))
        thread.start()
        try:
            yield
        finally:
            session.cancel_safe()
            thread.join()


def _run(session: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        session.execute(statement.encode())


def test_sessions_are_counted_by_what_they_wait_for(database: Database, tmp_path: Path) -> None:
    dsn = database.admin_dsn
    with (
        connected(dsn, "idler"),
        connected(dsn, "forgetful") as forgetful,
        connected(dsn, "rig-truth") as own,
        busy(dsn, "SELECT pg_sleep(60)"),
        busy(dsn, "SELECT pg_sleep(60)"),
    ):
        forgetful.execute("BEGIN")
        own.execute("BEGIN")
        with watched(SamplingPlan(dsn), tmp_path) as watching:
            watching.until(lambda samples: len(samples.sessions) >= 20 and len(samples.counters) > 0)
        samples = watching.samples
    assert (samples.sessions[["active", "idle", "idle_in_transaction"]] == [2, 1, 1]).all(axis=None)
    assert aas.by_event(samples).round(6).to_dict() == {"Timeout:PgSleep": 2.0}
    sleeping = samples.activity[samples.activity["wait_event"] == "PgSleep"]
    assert set(sleeping["application_name"]) == {"shop"}
    assert set(sleeping["backend_type"]) == {"client backend"}
    assert (sleeping["query_id"] != 0).all()
    assert sleeping["xact_age_s"].is_monotonic_increasing or sleeping["pid"].nunique() == 2
    seconds = (samples.sessions["at_ns"].iloc[-1] - samples.sessions["at_ns"].iloc[0]) / 1e9
    assert aas.idle_in_transaction_s(samples) == pytest.approx(seconds, rel=0.2)
    names = samples.connections.groupby("application_name")["count"].max().to_dict()
    assert names == {"idler": 1, "forgetful": 1, "shop": 2}
    report = samples.report(PG_ACTIVITY)
    assert report is not None
    assert report.facts["max_connections"] == 100
    assert (report.failure, report.unseen) == ("", ())


def test_who_blocks_whom_is_seen_without_what_stands_in_the_queries(database: Database, tmp_path: Path) -> None:
    dsn = database.admin_dsn
    with connected(dsn, "holder") as holder:
        holder.execute("CREATE TABLE counters (id int PRIMARY KEY, note text)")
        holder.execute("INSERT INTO counters VALUES (1, ''), (2, '')")
        with watched(SamplingPlan(dsn), tmp_path) as watching:
            watching.until(lambda samples: len(samples.sessions) > 0)
            holder.execute("BEGIN")
            holder.execute("UPDATE counters SET note = 'kate@example.test' WHERE id = 1")
            with busy(dsn, "UPDATE counters SET note = $$555-0100$$ WHERE id = 1 -- kate", "waiter"):
                # 300 ms is six looks.
                watching.until(lambda samples: samples.blocking["waited_s"].max() >= 0.3)
                holder.execute("ROLLBACK")
        samples = watching.samples
        holding_pid = holder.info.backend_pid
    (wait,) = aas.lock_waits(samples).itertuples()
    assert wait.blocking_pid == holding_pid
    assert wait.waited_s >= 0.3
    assert (wait.locktype, wait.mode) == ("transactionid", "ShareLock")
    assert wait.query == "UPDATE counters SET note = ? WHERE id = ?"
    assert wait.blocking_query == "UPDATE counters SET note = ? WHERE id = ?"
    assert (wait.blocking_state, wait.blocking_application_name) == ("idle in transaction", "holder")
    assert "Lock:transactionid" in aas.by_event(samples)
    modes = samples.locks[samples.locks["locktype"] == "relation"]["mode"]
    assert modes.empty or "RowExclusiveLock" in set(modes)


def test_what_the_statistics_views_gain_is_counted_once(database: Database, tmp_path: Path) -> None:
    dsn = database.admin_dsn
    with connected(dsn) as session:
        session.execute("CREATE TABLE numbers (n int)")
        session.execute("SELECT pg_stat_force_next_flush()")
        with watched(SamplingPlan(dsn), tmp_path) as watching:
            watching.until(lambda samples: len(samples.sessions) > 0)
            for _ in range(7):
                session.execute("INSERT INTO numbers SELECT generate_series(1, 1000)")
            session.execute("SELECT pg_stat_force_next_flush()")
            session.execute("SELECT 1")
        samples = watching.samples
    gained = samples.counters.groupby(["source", "counter"])["delta"].sum()
    assert gained["pg_stat_database", "tup_inserted"] == 7000
    assert gained["pg_stat_statements", "rows"] >= 7000
    assert any("INSERT INTO" in query for query in samples.statements["query"])


def test_a_role_without_pg_monitor_says_what_it_cannot_see(database: Database, tmp_path: Path) -> None:
    with connected(database.admin_dsn, "idler"), watched(SamplingPlan(database.runtime_dsn), tmp_path) as watching:
        watching.until(lambda samples: len(samples.sessions) >= 3)
    samples = watching.samples
    assert (samples.sessions["hidden"] >= 1).all()
    assert (samples.sessions["active"] == 0).all()
    report = samples.report(PG_ACTIVITY)
    assert report is not None
    assert report.failure == ""
    assert any(f"GRANT pg_monitor TO {database.runtime_role}" in what for what in report.unseen)


def test_a_killed_backend_leaves_a_gap_and_the_sampler_goes_on(database: Database, tmp_path: Path) -> None:
    with connected(database.admin_dsn) as session, watched(SamplingPlan(database.admin_dsn), tmp_path) as watching:
        watching.until(lambda samples: len(samples.sessions) > 0)
        session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rig-sampler'")
        seen = watching.until(lambda samples: len(samples.gaps) > 0)
        watching.until(lambda samples: len(samples.sessions) > len(seen.sessions) + 3)
    samples = watching.samples
    assert "terminating connection" in samples.gaps["reason"].iloc[0]
    assert [report.failure for report in samples.reports] == ["", ""]


def test_a_database_that_restarts_is_found_again(tmp_path: Path) -> None:
    """The server is stopped and comes back on its port, with its data; its processes are found again too."""
    with Supervisor() as supervisor, open_cluster(supervisor, environ=os.environ, durable=False) as cluster:
        database = cluster.create_database("restarting")
        with restartable(cluster) as server, watched(SamplingPlan(database.admin_dsn), tmp_path) as watching:
            watching.until(lambda samples: len(samples.sessions) > 0)
            server.stop()
            stopped_ns = time.monotonic_ns()
            server.start()
            watching.until(lambda samples: (samples.gaps["until_ns"] > stopped_ns).any())
            back = watching.until(lambda samples: (samples.sessions["at_ns"] > stopped_ns).sum() > 3)
            watching.until(lambda samples: (samples.processes["started_ns"] > stopped_ns).sum() > 3)
        samples = watching.samples
    assert "terminating connection" in back.gaps["reason"].iloc[0]
    assert all(report.failure == "" for report in samples.reports)
    new = samples.processes[samples.processes["started_ns"] > stopped_ns]
    assert Role.AUXILIARY in set(new["role"])
    assert set(new["role"]) <= {Role.AUXILIARY, Role.BACKEND}


def test_a_database_that_is_not_there_is_a_failure_in_words(cluster: Cluster, tmp_path: Path) -> None:
    dsn = f"postgresql://nobody:secret-word@{cluster.host}:{cluster.port}/nothing"
    with watched(SamplingPlan(dsn), tmp_path):
        pass
    assert "it could not begin" in (tmp_path / "reports.json").read_text()
    assert not any("secret-word" in file.read_text(errors="replace") for file in tmp_path.iterdir())


def test_a_view_that_the_server_refuses_costs_nothing_else(supervisor: Supervisor, tmp_path: Path) -> None:
    """An extension that was made, but not loaded with the server: the error is of a class of broken connections."""
    settings = {"shared_preload_libraries": ""}
    with open_cluster(supervisor, environ={**os.environ, "RIG_PG_DSN": ""}, settings=settings) as plain:
        database = plain.create_database("plain")
        with connected(database.admin_dsn, "setup") as setup:
            setup.execute("CREATE EXTENSION pg_stat_statements")
        with watched(SamplingPlan(database.admin_dsn), tmp_path) as watching:
            watching.until(lambda samples: len(samples.counters) > 0)
        report = watching.samples.report(PG_ACTIVITY)
    assert report is not None
    assert (report.failure, len(watching.samples.gaps)) == ("", 0)
    (unseen,) = report.unseen
    assert unseen.startswith("pg_stat_statements: pg_stat_statements must be loaded via")
