"""A whole run against a database that outlives it, taken back."""

from __future__ import annotations

from pathlib import Path

import psycopg

from rig.errors import ExitCode
from rig.target.postgres import Database
from tests.cli.commands import QUICK, only_pack, rig

TABLES = ("attribution_events", "dead_events", "tenants")


def rows(database: Database) -> list[int]:
    with psycopg.connect(database.admin_dsn) as connection:
        return [connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()[0][0] for table in TABLES]


def test_a_run_is_taken_back_with_its_tenants(tmp_path: Path, database: Database) -> None:
    doors = {"RIG_TRUTH_DSN": database.admin_dsn, "RIG_RUNTIME_DSN": database.runtime_dsn}
    words = ("ladder", "--only", "S2,S3,S5", "--steps", "5", *QUICK, "--reference", "--json", "--out")
    kept, taken = tmp_path / "kept", tmp_path / "taken"
    assert rig(*words, str(kept), env=doors, folder=tmp_path).document()["gates"]
    before = rows(database)
    assert rig(*words, str(taken), env=doors, folder=tmp_path).document()["gates"]
    pack = str(only_pack(taken))
    shown = rig("clean", pack, env=doors)
    assert shown.err.splitlines()[0] == f"target reference, launched by the rig, profile of the pack {pack}"
    assert shown.code == ExitCode.PASS
    assert rows(database) == [2 * count for count in before]
    assert rig("clean", pack, "--yes", env=doors).out.splitlines()[-1] == f"{sum(before)} rows were removed"
    assert rows(database) == before
    assert rig("clean", pack, "--yes", env=doors).out.splitlines() == ["nothing left"]
    assert rig("check", pack).code in (ExitCode.PASS, ExitCode.INVALID)
