"""A full disk, on a real server: rows are refused with ENOSPC, and afterwards all is as before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import psycopg
import pytest
from psycopg import sql

from rig.chaos.disk import fill_disk, find_obstacle
from rig.chaos.fault import ChaosTarget
from rig.errors import RigError
from rig.machine.supervisor import Supervisor
from rig.target.postgres import Cluster, Database

TABLES = (
    "CREATE TABLE plain (key int PRIMARY KEY, body text)",
    "CREATE TABLE parted (key int PRIMARY KEY, body text) PARTITION BY RANGE (key)",
    "CREATE TABLE part_of_it PARTITION OF parted DEFAULT",
)
MANY_ROWS = "INSERT INTO {} SELECT number, repeat('x', 500) FROM generate_series(1000, 1100) AS number"


@pytest.fixture
def connection(cluster: Cluster, database: Database) -> Iterator[psycopg.Connection[Any]]:
    if cluster.control is None:
        pytest.skip("the tests did not start this PostgreSQL")
    if why := find_obstacle(cluster.control.data_dir):
        pytest.skip(why)
    with psycopg.connect(database.admin_dsn, autocommit=True) as opened:
        for statement in TABLES:
            opened.execute(statement.encode())
        yield opened


@pytest.mark.parametrize("table", ["plain", "parted"])
def test_rows_are_refused_while_the_disk_is_full(
    table: str, connection: psycopg.Connection[Any], cluster: Cluster, supervisor: Supervisor
) -> None:
    insert = MANY_ROWS.format(table).encode()
    target = cast(ChaosTarget, SimpleNamespace(store=SimpleNamespace(control=cluster.control), supervisor=supervisor))
    connection.execute(f"INSERT INTO {table} VALUES (1, 'before')".encode())
    with fill_disk(target, connection, sql.Identifier(table)):
        with pytest.raises(psycopg.errors.DiskFull):
            connection.execute(insert)
        assert connection.execute(f"SELECT body FROM {table}".encode()).fetchall() == [("before",)]
    connection.execute(insert)
    assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (102,)
    assert connection.execute("SELECT count(*) FROM pg_tablespace WHERE spcname = 'rig_disk'").fetchone() == (0,)
    assert not [each for each in psutil.disk_partitions(all=True) if each.device == "rig-disk"]


def test_a_view_cannot_be_struck(connection: psycopg.Connection[Any], cluster: Cluster, supervisor: Supervisor) -> None:
    """A fault that fills nothing must not count as one that struck."""
    target = cast(ChaosTarget, SimpleNamespace(store=SimpleNamespace(control=cluster.control), supervisor=supervisor))
    connection.execute("CREATE VIEW seen AS SELECT key FROM plain")
    with (
        pytest.raises(RigError, match="no table that can be moved"),
        fill_disk(target, connection, sql.Identifier("seen")),
    ):
        pass
    assert connection.execute("SELECT count(*) FROM pg_tablespace WHERE spcname = 'rig_disk'").fetchone() == (0,)


def test_without_the_rights_the_reason_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    refusing = programs / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert "takes the rights of root: unshare: unshare failed: Operation not permitted" in find_obstacle(tmp_path)
    refusing.unlink()
    monkeypatch.setenv("PATH", str(programs))
    assert "No such file or directory: 'unshare'" in find_obstacle(tmp_path)
