"""``rig sample`` as a user runs it, and what hygiene sees of connections."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from rig.cli import main
from rig.errors import ExitCode, Unavailable
from rig.evidence.sample_files import read_samples
from rig.machine.processes import children, words
from rig.run.leak_check import Connections
from rig.target.postgres import Database
from tests.cli.commands import QUICK, Going, only_pack, rig
from tests.samplers.watching import connected

DSN = "SHOP_DSN"


def test_it_samples_until_interrupted_and_leaves_a_pack(database: Database, tmp_path: Path) -> None:
    with connected(database.admin_dsn) as session:
        words = ["sample", "--dsn-env", DSN, "--pid", str(os.getpid()), "--out", str(tmp_path), "--json"]
        going = Going(words, {DSN: database.admin_dsn})
        going.wait_for("sampling")
        session.execute("SELECT pg_sleep(1)")
        going.signal(signal.SIGINT)
        ended = going.end()
    assert ended.code == ExitCode.PASS, ended.err
    figures = ended.document()["gates"][0]["figures"]
    assert figures["active_sessions_by_event"]["Timeout:PgSleep"] > 0.2
    assert "server" in figures["cores_by_role"]
    pack = only_pack(tmp_path)
    assert (pack / "plots" / "timeline.png").exists()
    assert not any(database.admin_dsn.encode() in file.read_bytes() for file in pack.rglob("*") if file.is_file())
    assert read_samples(pack / "samples").sessions["active"].max() == 1
    assert rig("check", str(pack)).code == ExitCode.PASS


def test_one_that_was_killed_is_held_while_it_goes_and_finished_then(database: Database, tmp_path: Path) -> None:
    words = ["sample", "--dsn-env", DSN, "--out", str(tmp_path)]
    going = Going(words, {DSN: database.admin_dsn})
    going.wait_for("sampling")
    pack = str(only_pack(tmp_path))
    assert rig("settle", pack).code == ExitCode.USAGE  # it still goes
    going.signal(signal.SIGKILL)
    going.end()
    settled = rig("settle", pack, "--json")
    assert settled.code == ExitCode.INVALID, settled.err
    gates = {gate["id"]: gate for gate in settled.document()["gates"]}
    assert gates["completion"]["reason"] == "the run did not come to its end"
    finished = only_pack(tmp_path)
    assert finished.name == Path(pack).name.removesuffix(".partial")
    assert len(read_samples(finished / "samples").sessions)
    assert "INVALID" in (finished / "report.html").read_text()


@pytest.mark.full
def test_it_shows_a_table(database: Database, tmp_path: Path) -> None:
    ended = rig("sample", "--dsn-env", DSN, "--seconds", "1", "--out", str(tmp_path), env={DSN: database.admin_dsn})
    assert ended.code == ExitCode.PASS, ended.err
    assert "average active sessions" in ended.out
    assert "cores busy by role" in ended.out


@pytest.mark.parametrize(
    ("words", "dsn", "code", "said"),
    [
        (("--match", "("), "", ExitCode.USAGE, "no regular expression"),
        (("--pid", "4194303"), None, ExitCode.USAGE, "no such process"),
        ((), "", ExitCode.CONFIG, DSN),
        ((), "no dsn at all", ExitCode.CONFIG, "holds no PostgreSQL DSN"),
        ((), "postgresql://x:s3cr3t@127.0.0.1:9/x", ExitCode.UNAVAILABLE, "cannot be reached"),
    ],
)
def test_what_it_cannot_do_is_said(
    words: tuple[str, ...],
    dsn: str | None,
    code: ExitCode,
    said: str,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(DSN, database.admin_dsn if dsn is None else dsn)
    assert main(["sample", "--dsn-env", DSN, *words, "--out", str(tmp_path)]) == code
    complaint = capsys.readouterr().err
    assert said in complaint
    assert "s3cr3t" not in complaint
    assert not list(tmp_path.iterdir())


def test_hygiene_sees_connections_that_a_target_left(database: Database) -> None:
    with connected(database.admin_dsn, "before"):
        launched = Connections(database.admin_dsn, launched=True)
        running = Connections(database.admin_dsn, launched=False)
        assert launched.look_again().clean
        with connected(database.admin_dsn, "pooled") as left, connected(database.admin_dsn, "rig-own"):
            found = launched.look_again()
            assert (found.when, found.clean, found.detail.startswith("2, before 1: ")) == ("after", False, True)
            # A pool that goes on may be larger than before, but nothing may be open in it.
            assert running.look_again().clean
            left.execute("BEGIN")
            assert not running.look_again().clean
        assert launched.look_again().clean


def test_hygiene_sees_them_over_a_role_that_the_server_hides_others_from(database: Database) -> None:
    """A plain owner of tables is shown neither kind nor state of another role's session."""
    plain = Connections(database.runtime_dsn, launched=True)
    running = Connections(database.runtime_dsn, launched=False)
    with connected(database.admin_dsn, "left") as left:
        assert not plain.look_again().clean
        assert running.look_again().clean
        left.execute("BEGIN")
        assert not running.look_again().clean


def test_hygiene_without_a_database_says_so(database: Database) -> None:
    with pytest.raises(Unavailable):
        Connections("postgresql://x@127.0.0.1:9/x", launched=True)
    connections = Connections(database.admin_dsn, launched=True)
    with psycopg.connect(database.admin_dsn.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false'.encode())
        assert not connections.look_again().clean


@pytest.mark.full
def test_a_run_whose_sampler_is_killed_is_invalid(tmp_path: Path) -> None:
    going = Going(["perf", "-n", "3000", "--trials", "1", "--no-ruler", *QUICK, "--json", "--out", str(tmp_path)])
    going.wait_for("S8 PerfGate")
    (sampler,) = (p for p in children(going.process.pid) if "rig.samplers.pg_activity" in words(p))
    sampler.kill()
    ended = going.end()
    assert ended.code == ExitCode.INVALID, ended.err
    gates = {gate["id"]: gate for gate in ended.document()["gates"]}
    assert gates["samplers"]["verdict"] == gates["EG3.5"]["verdict"] == "INVALID"
    assert "pg_activity: it ended before the run did (signal 9)" in gates["samplers"]["reason"]
    # What the other one saw is there, and what this one saw until then.
    samples = read_samples(only_pack(tmp_path) / "samples")
    assert len(samples.sessions)
    assert samples.pids["role"].nunique() >= 4
