"""A server of one's own: started, stopped, removed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from rig.errors import ExitCode, Unavailable
from rig.machine.child import wait_until
from rig.machine.processes import alive
from rig.machine.shared_memory import files_of, remove, segments_of
from rig.machine.supervisor import Supervisor
from rig.run.leak_check import look_after
from rig.target.postgres import Cluster, Database, installation, open_cluster, postmaster
from tests.target.postgres.servers import PATH_ONLY, as_root, scalar


@pytest.fixture(scope="module")
def durable_cluster(supervisor: Supervisor) -> Iterator[Cluster]:
    with open_cluster(supervisor, environ=PATH_ONLY) as opened:
        yield opened


def test_a_judged_run_is_durable(durable_cluster: Cluster) -> None:
    dsn = durable_cluster.create_database("durable").admin_dsn
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert scalar(dsn, f"SHOW {name}") == "on" == durable_cluster.settings[name]
    assert durable_cluster.durable == (durable_cluster.data_filesystem != "tmpfs")


def test_a_cluster_for_tests_says_that_it_is_not_durable(cluster: Cluster, database: Database) -> None:
    if cluster.source == "dsn":
        pytest.skip("an existing server is as it is")
    assert scalar(database.admin_dsn, "SHOW fsync") == "off" == cluster.settings["fsync"]
    assert not cluster.durable


def test_what_the_evidence_says_of_a_server(durable_cluster: Cluster) -> None:
    assert durable_cluster.version.split(".")[0].isdigit()
    assert durable_cluster.settings["max_connections"] == "100"
    assert durable_cluster.settings["shared_buffers"].endswith("MB")
    assert durable_cluster.data_filesystem
    assert durable_cluster.log_file is not None and "ready to accept" in durable_cluster.log_file.read_text()


def test_the_server_listens_on_loopback_alone_and_in_its_own_session(durable_cluster: Cluster) -> None:
    assert durable_cluster.pid is not None
    process = psutil.Process(durable_cluster.pid)
    listening = {each.laddr for each in process.net_connections("all") if each.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", durable_cluster.port)}
    assert not [each.laddr for each in process.net_connections("unix") if each.laddr]
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_no_password_is_seen(durable_cluster: Cluster) -> None:
    database = durable_cluster.create_database("secretive")
    assert durable_cluster.pid is not None and durable_cluster.log_file is not None
    shown = [repr(durable_cluster), repr(database), durable_cluster.log_file.read_text()]
    shown += psutil.Process(durable_cluster.pid).cmdline()
    shown.append(str(scalar(database.admin_dsn, "SELECT string_agg(query, ' ') FROM pg_stat_statements")))
    for dsn in (database.admin_dsn, database.runtime_dsn):
        password = urlsplit(dsn).password
        assert password and not any(password in text for text in shown)


def test_statement_statistics_are_kept(durable_cluster: Cluster) -> None:
    dsn = durable_cluster.create_database("statistics").admin_dsn
    assert scalar(dsn, "SELECT count(*) > 0 FROM pg_stat_statements") is True
    assert scalar(dsn, "SHOW track_io_timing") == "on"


@as_root
def test_root_becomes_an_unprivileged_account(durable_cluster: Cluster) -> None:
    account = installation.server_account({})
    assert account is not None and account.uid != 0 and durable_cluster.pid is not None
    uids, gids = psutil.Process(durable_cluster.pid).uids(), psutil.Process(durable_cluster.pid).gids()
    assert set(uids) == {account.uid} and set(gids) == {account.gid}


def test_the_end_leaves_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    log_file = tmp_path / "postgres.log"
    with open_cluster(supervisor, environ=PATH_ONLY, durable=False, log_file=log_file) as opened:
        dsn = opened.create_database("busy").runtime_dsn
        connection = psycopg.connect(dsn)  # a client that stays does not delay the stop
        assert opened.pid is not None and opened.data_dir is not None
        family = [opened.pid, *(each.pid for each in psutil.Process(opened.pid).children())]
    connection.close()
    assert not any(alive(pid) for pid in family)
    assert not opened.data_dir.parent.exists()
    assert "database system is shut down" in log_file.read_text()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", opened.port)) != 0


OWNER_SCRIPT = """
import json, os, signal
from rig.machine.supervisor import Supervisor
from rig.target.postgres import open_cluster
with Supervisor() as supervisor, open_cluster(supervisor, environ={"PATH": os.environ["PATH"]}) as cluster:
    print(json.dumps({"pid": cluster.pid, "data_dir": str(cluster.data_dir)}), flush=True)
    signal.pause()
"""


def test_a_killed_owner_leaves_no_server_and_no_directory() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER_SCRIPT], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    told = json.loads(owner.stdout.readline())
    home = Path(told["data_dir"]).parent
    family = [told["pid"], *(each.pid for each in psutil.Process(told["pid"]).children())]
    assert alive(told["pid"]) and home.exists()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert wait_until(lambda: not home.exists() and not any(alive(pid) for pid in family), None, 30.0)


def test_a_taken_port_is_passed_over(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    free_port = postmaster.free_port
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        offered = iter([taken, taken])
        monkeypatch.setattr(postmaster, "free_port", lambda: next(offered, None) or free_port())
        with open_cluster(supervisor, environ=PATH_ONLY, durable=False) as opened:
            assert opened.port != taken
    assert next(offered, None) is None


def test_a_server_that_does_not_start_is_quoted(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as open_directory:
        Path(open_directory).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", open_directory)
        with (
            pytest.raises(Unavailable, match="shared_buffers") as caught,
            open_cluster(supervisor, environ=PATH_ONLY, settings={"shared_buffers": "it's nonsense"}),
        ):
            pass
        assert caught.value.exit_code == ExitCode.UNAVAILABLE
        assert list(Path(open_directory).iterdir()) == []


@pytest.mark.full
def test_the_shared_memory_of_a_server_that_was_killed_is_counted_as_left_and_removed() -> None:
    with Supervisor() as own, open_cluster(own, environ=os.environ, durable=False) as cluster:
        assert cluster.control is not None
        assert cluster.pid is not None
        mapped = files_of([cluster.pid])
        assert mapped
        assert own.shared_memory() == []
        cluster.control.kill()
        (segment,) = own.shared_memory()
        (finding,) = [each for each in look_after(own) if each.what == "shared memory"]
        assert finding.detail == f"segment {segment}"
        remove([], mapped)  # their owner is known by its memory map only, while it lives
    assert own.shared_memory() == []


@pytest.mark.full
def test_a_rig_that_is_killed_leaves_no_shared_memory() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SERVING_PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        mapped = files_of([pid])
        server = psutil.Process(pid)
        parent.kill()
        assert wait_until(lambda: not alive(server), None, 20.0)
        assert wait_until(lambda: not any(file.exists() for file in mapped), None, 20.0)
        assert wait_until(lambda: not segments_of([pid]), None, 20.0)


SERVING_PARENT = """
import os, sys
from rig.machine.supervisor import Supervisor
from rig.target.postgres import open_cluster
with Supervisor() as supervisor, open_cluster(supervisor, environ=os.environ, durable=False) as cluster:
    print(cluster.pid, flush=True)
    sys.stdin.read()
"""
