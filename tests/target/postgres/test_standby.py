"""A real standby, which replays three seconds late, and a role that may have few connections: neither is truth."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from rig.errors import ConfigError
from rig.init import new_rows
from rig.machine.child import free_port, running, wait_until
from rig.machine.supervisor import Supervisor
from rig.profile import Profile
from rig.target.postgres import Cluster, Database, open_cluster
from rig.target.postgres.installation import find_installation, make_reachable, server_account
from rig.target.store import existing_store
from tests.truth.world import profile

WAIT_S = 60.0


@pytest.fixture
def described() -> Profile:
    return profile()


@pytest.fixture
def standby(supervisor: Supervisor) -> Iterator[str]:
    """The DSN of a standby of a server of its own."""
    account = server_account(os.environ)
    options = {} if account is None else account.process_options()
    with (
        open_cluster(supervisor, environ=os.environ, durable=False, settings={"wal_level": "replica"}) as primary,
        tempfile.TemporaryDirectory(prefix="rig-test-standby-") as name,
    ):
        home, port = Path(name), free_port()
        if account is not None:
            os.chown(home, account.uid, account.gid)
        bin_dir = make_reachable(find_installation(os.environ), account, home).bin_dir
        if not (bin_dir / "pg_basebackup").exists():
            pytest.skip("this PostgreSQL has no pg_basebackup")
        dsn = primary.create_database("copied").admin_dsn
        data = home / "data"
        backup = [bin_dir / "pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast", "-d", dsn]
        subprocess.run(backup, check=True, cwd=home, **options)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("recovery_min_apply_delay = '3s'\nhot_standby = on\n")
        log, own = home / "log", make_conninfo(dsn, port=port)
        with running(
            [bin_dir / "postgres", "-D", data, "-p", str(port)], 20.0, output=log, cwd=home, **options
        ) as process:
            assert wait_until(lambda: _answers(own), process, WAIT_S), log.read_text()
            yield own


def _answers(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn):
            return True
    except psycopg.OperationalError:
        return False


@pytest.mark.full
def test_a_standby_is_refused_by_name_before_anything_is_sent(standby: str, described: Profile) -> None:
    for runtime in ({}, {"RIG_RUNTIME_DSN": standby}):
        with pytest.raises(ConfigError, match=r"the truth DSN is a standby .\$RIG_TRUTH_DSN.*name the primary"):
            existing_store(described, {"RIG_TRUTH_DSN": standby} | runtime)
    with pytest.raises(ConfigError, match="is a standby"), new_rows.watch(standby, "RIG_TRUTH_DSN"):
        pass


def test_a_role_with_too_few_connections_is_named(cluster: Cluster, database: Database, described: Profile) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        for most, is_enough in (("2", False), ("4", True), ("-1", True)):
            admin.execute(f"ALTER ROLE {database.runtime_role} CONNECTION LIMIT {most}".encode())
            doors = {"RIG_TRUTH_DSN": database.runtime_dsn}
            if is_enough:
                assert existing_store(described, doors).lasting
                continue
            with pytest.raises(ConfigError, match="may have 2 connections at once, and the rig needs 4"):
                existing_store(described, doors)
