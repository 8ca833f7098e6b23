"""Migrators and queues as strangers write them: what the race tests say of each is what an independent count says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rig.checks.race_tests.catalog import gates_of
from rig.errors import ConfigError, Unavailable
from rig.evidence.storm import StormReport
from rig.profile import load_profile
from rig.profile.storms import SchedulerClaim
from rig.storms.catalog import run_storm
from rig.storms.command import prepare
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.last_words import error_line, last_lines_of
from rig.target.postgres import Cluster

BEGIN = "import os, sys, time, fcntl, psycopg\nc = psycopg.connect(os.environ['DB'], autocommit=True)\n"
LOCK = "c.execute('SELECT pg_advisory_lock(99)')\n"
UNLOCK = "c.execute('SELECT pg_advisory_unlock(99)')\n"
TABLES = """
c.execute("CREATE TABLE IF NOT EXISTS ledger (id serial PRIMARY KEY, version int, at timestamptz DEFAULT now())")
c.execute("CREATE TABLE IF NOT EXISTS account (id int PRIMARY KEY, cents bigint, tag uuid DEFAULT gen_random_uuid())")
c.execute("ALTER TABLE account ADD COLUMN IF NOT EXISTS note text")
c.execute("INSERT INTO account SELECT n, n FROM generate_series(1, 100) n ON CONFLICT DO NOTHING")
"""
READ = "done = c.execute('SELECT 1 FROM ledger').fetchone()\n"
STEP = """
if not done:
    c.execute("SELECT nextval('ledger_id_seq')")
    c.execute("UPDATE account SET cents = cents * 100")
    c.execute("DELETE FROM ledger")
    c.execute("INSERT INTO ledger (version) VALUES (1)")
"""
RIGHT = BEGIN + LOCK + TABLES + READ + STEP + UNLOCK
LEDGER_BEFORE_LOCK = BEGIN + LOCK + TABLES + UNLOCK + READ + "time.sleep(0.3)\n" + LOCK + STEP + UNLOCK
REFUSING = (
    BEGIN
    + (
        "if not c.execute('SELECT pg_try_advisory_lock(99)').fetchone()[0]:\n"
        "    raise SystemExit('Error: another migration is running\\n    at lock (migrate.js:7)')\n"
    )
    + TABLES
    + READ
    + STEP
)
NEVER_MEETING = (
    (
        "import os, sys, fcntl, psycopg\nlock = open(sys.argv[0])\n"
        "try:\n    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError:\n    raise SystemExit(0)\n"
        "c = psycopg.connect(os.environ['DB'], autocommit=True)\n"
    )
    + TABLES
    + READ
    + STEP
)
CRASHING = BEGIN + "c.execute('CREATE TABLE account (id int)')\n"
STANDING_STILL = (
    BEGIN + "time.sleep(0 if c.execute('SELECT pg_try_advisory_lock(99)').fetchone()[0] else 60)\n" + TABLES
)


def storm(cluster: Cluster, folder: Path, name: str, section: str, processes: int = 3) -> StormReport:
    """Of a profile that has nothing but the section of the storm."""
    profile = folder / "storms.toml"
    profile.write_text(f"[storms.{name}]\n{section}", encoding="utf-8")
    loaded = load_profile(profile, storms_suffice=True)
    (folder / "pack").mkdir(exist_ok=True)
    environment = StormEnvironment(cluster, loaded, folder, dict(os.environ), folder / "pack")
    (report,) = run_storm(environment, name, StormOptions(processes))
    assert isinstance(report, StormReport)
    return report


def migrated(cluster: Cluster, folder: Path, script: str, more: str = "") -> dict[str, tuple[str, str]]:
    (folder / "migrate.py").write_text(script, encoding="utf-8")
    section = 'command = ["{python}", "{profile_dir}/migrate.py"]\nenv = { DB = "{admin_dsn}" }\n' + more
    report = storm(cluster, folder, "migration-race", section)
    return {gate.id.rpartition(".")[2]: (gate.verdict.value, gate.reason) for gate in gates_of(report)}


@pytest.mark.full
def test_a_migrator_that_is_right_passes_whatever_times_random_ids_and_sequences_it_stores(
    cluster: Cluster, tmp_path: Path
) -> None:
    found = migrated(cluster, tmp_path, RIGHT)
    assert {verdict for verdict, _ in found.values()} == {"PASS"}, found


@pytest.mark.full
def test_a_data_step_that_is_applied_by_every_replica_is_named_with_table_and_row(
    cluster: Cluster, tmp_path: Path
) -> None:
    found = migrated(cluster, tmp_path, LEDGER_BEFORE_LOCK, "races = 1")
    assert found["once"] == ("FAIL", "public.account: 100 other rows, (1,1000000,) instead of (1,100,)")
    assert (found["exit"][0], found["second-run"][0]) == ("PASS", "PASS")


@pytest.mark.full
@pytest.mark.parametrize(
    ("more", "verdict", "reason"),
    [
        ("", "FAIL", "2 of 3 replicas failed: Error: another migration is running"),
        ("exit_ok = [1]", "PASS", ""),
        ('refuses_with = ["another migration"]', "PASS", ""),
        ("exit_ok = [75]", "FAIL", "2 of 3 replicas failed"),
        ('exit_ok = [1]\nrefuses_with = ["no such words"]', "FAIL", "2 of 3 replicas failed"),
    ],
)
def test_a_replica_that_refuses_by_design_is_told_from_one_that_crashes(
    cluster: Cluster, tmp_path: Path, more: str, verdict: str, reason: str
) -> None:
    found = migrated(cluster, tmp_path, REFUSING, f"races = 1\n{more}")
    assert (found["exit"][0], found["once"][0]) == (verdict, "PASS")
    assert found["exit"][1].startswith(reason)


@pytest.mark.full
def test_replicas_that_never_met_have_not_raced(cluster: Cluster, tmp_path: Path) -> None:
    found = migrated(cluster, tmp_path, NEVER_MEETING, "races = 2")
    assert found["once"][0] == found["exit"][0] == "INVALID"
    assert "in none of 2 races a second replica was there" in found["once"][1]


@pytest.mark.full
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (CRASHING, "psycopg.errors."),
        (STANDING_STILL, "did not end within 4 s"),
    ],
)
def test_what_a_replica_failed_of_is_quoted(cluster: Cluster, tmp_path: Path, script: str, reason: str) -> None:
    found = migrated(cluster, tmp_path, script, "races = 1\ntimeout_s = 4")
    assert found["exit"][0] == "FAIL"
    assert f"2 of 3 replicas failed: {reason}" in found["exit"][1]


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("sqlalchemy.exc.ProgrammingError: (psycopg.Error) x\n[SQL: y]\n(Background on this error at: https://z)\n", 0),
        ("> Migrating\nError: Another migration is running\n    at lock (a.js:1)\n    at async runner (b.js:2)\n", 1),
        ("a.js:5\n    throw e;\n    ^\n\nerror: duplicate key\n    at x\n  severity: 'ERROR',\n}\n\nNode.js v20\n", 4),
        ("psycopg.errors.UniqueViolation: duplicate key\nDETAIL:  Key (a)=(b) already exists.\n", 0),
        ("Applying: 1.sql\nError: pq: duplicate key\n", 1),
        ("migration failed with error: exists\n- Error\nnpm error Lifecycle script failed\n", 0),
        ("did something\nand was killed\n", 1),
        ("Traceback (most recent call last):\n  File x\nAssertionError\n", 2),
        ("Umzug.Error [X]: Migration 2 failed\n" + "    at x\n" * 50 + "{\n  code: '23505'\n}\n", 0),
        ("UniqueError: exists\n  cause: error: duplicate\n    at x\n  severity: 'ERROR',\n}\n", 0),
    ],
)
def test_the_line_that_names_the_error_is_found(written: str, line: int) -> None:
    assert error_line(last_lines_of(f"\x1b[31m{written}")) == written.splitlines()[line].strip()


@pytest.mark.parametrize("head", ["", "Error\n"])
@pytest.mark.parametrize("key", ["original", "[cause]"])
def test_where_only_an_object_names_the_error_it_is_found_there(head: str, key: str) -> None:
    written = f"{head}    at x\n  }},\n  {key}: Error: duplicate key\n      at x {{\n    severity: 'ERROR'\n  }}\n}}\n"
    assert error_line(last_lines_of(written)) == "Error: duplicate key"


# --- queues -------------------------------------------------------------------------------------------------------

QUEUE = """
import os, sys, time, psycopg
c = psycopg.connect(os.environ["DB"], autocommit=True)
me, lease = os.environ.get("REPLICA", ""), sys.argv[2:]
if sys.argv[1] == "prepare":
    c.execute("CREATE TABLE job (name text, done bool DEFAULT false, holder text, until timestamptz DEFAULT now())")
    c.execute("CREATE TABLE effect (name text)")
elif sys.argv[1] == "enqueue":
    c.execute("INSERT INTO job (name) SELECT n::text FROM generate_series(1, %s) n", (int(sys.argv[2]),))
else:
    while True:
        row = c.execute("UPDATE job SET holder = %s, until = now() + %s * interval '1 s' WHERE name = (SELECT name "
            "FROM job WHERE NOT done AND until < now() LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING name",
            (me, float(lease[0]))).fetchone()
        time.sleep(0.02)
        if row:
            c.execute("INSERT INTO effect VALUES (%s)", row)
            c.execute("UPDATE job SET done = true WHERE name = %s", row)
        elif lease[1:]:
            raise SystemExit(0)
"""


def queued(cluster: Cluster, folder: Path, *lease: str, jobs: int = 40, more: str = "") -> StormReport:
    (folder / "jobs.py").write_text(QUEUE, encoding="utf-8")
    arguments = ", ".join(f'"{one}"' for one in lease)
    script = '"{python}", "{profile_dir}/jobs.py"'
    return storm(
        cluster,
        folder,
        "scheduler-claim",
        f"""
prepare = [{script}, "prepare"]
command = [{script}, "work", {arguments}]
enqueue = [{script}, "enqueue", "{{jobs}}"]
env = {{ DB = "{{admin_dsn}}" }}
effects_sql = "SELECT name FROM effect"
unfinished_sql = "SELECT count(*) FROM job WHERE NOT done"
held_sql = "SELECT name FROM job WHERE NOT done AND holder = %(replica)s AND until > now()"
jobs = {jobs}
{more}
""",
    )


def verdict_of_all(report: StormReport) -> tuple[str, str]:
    (gate,) = (gate for gate in gates_of(report) if gate.id.endswith(".all"))
    return gate.verdict.value, gate.reason


@pytest.mark.full
@pytest.mark.parametrize("ends", [(), ("drain",)])
def test_a_job_comes_back_after_its_lease_though_nobody_waited_for_it(
    cluster: Cluster, tmp_path: Path, ends: tuple[str, ...]
) -> None:
    report = queued(cluster, tmp_path, "1.5", *ends, more="lease_s = 4")
    assert verdict_of_all(report) == ("PASS", "")
    assert 0.5 < report.figures["recovered_after_s"] < 4


@pytest.mark.full
def test_a_job_that_never_comes_back_is_told_from_one_in_its_lease(cluster: Cluster, tmp_path: Path) -> None:
    verdict, reason = verdict_of_all(queued(cluster, tmp_path, "1000", more="lease_s = 1.5"))
    assert (verdict, reason) == (
        "FAIL",
        "never done: 1 job is not done, 1 had no effect, and none was done for 1.5 s",
    )
    verdict, reason = verdict_of_all(queued(cluster, tmp_path, "1000", "drain"))
    assert verdict == "FAIL"
    assert "the killed replicas held 1; if they come back after a time, say so in lease_s" in reason


@pytest.mark.full
@pytest.mark.parametrize("more", ["", "lease_s = 4\n"])
def test_a_drain_that_takes_longer_than_its_time_says_nothing_of_the_queue(
    cluster: Cluster, tmp_path: Path, more: str
) -> None:
    report = queued(cluster, tmp_path, "1000", *([] if more else ["drain"]), jobs=5000, more=f"{more}timeout_s = 3")
    verdict, reason = verdict_of_all(report)
    assert (verdict, reason.startswith("in 1 races jobs were still being done")) == ("INVALID", True), reason


def test_a_program_that_may_not_create_its_tables_is_told_how_it_may() -> None:
    says = ["sh", "-c", "echo 'ERROR: permission denied for schema public' >&2; exit 1"]
    with pytest.raises(Unavailable, match=r"schema public; DATABASE_URL is the service's role, .* MIGRATION_DATABASE_"):
        prepare(says, {}, "storms.scheduler-claim.prepare")


@pytest.mark.parametrize("ways", [{}, {"enqueue_sql": "SELECT 1", "enqueue": ["true"]}])
def test_jobs_are_made_in_one_way(ways: dict[str, Any]) -> None:
    section = {"command": ["true"], "effects_sql": "SELECT 1", "unfinished_sql": "SELECT 1", **ways}
    with pytest.raises(ValueError, match="give enqueue_sql or enqueue, one of them"):
        SchedulerClaim.model_validate(section)


def test_a_profile_of_storms_alone_is_for_storms_alone(tmp_path: Path) -> None:
    path = tmp_path / "storms.toml"
    path.write_text('[storms.migration-race]\ncommand = ["true"]\n')
    assert load_profile(path, storms_suffice=True).storms.migration_race is not None
    with pytest.raises(ConfigError, match="routes: required, but missing"):
        load_profile(path)
