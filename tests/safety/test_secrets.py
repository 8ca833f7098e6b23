"""No secret of a run stands anywhere it leaves or shows: pack, logs, what it prints, process list. Also when it fails.

Every secret that the run's processes draw is written down by a spy on Python's ``secrets``; those that a user would set
are given here. Then everything is searched for each of them, byte by byte.
"""

from __future__ import annotations

import ipaddress
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.cli import main
from rig.errors import ExitCode
from rig.profile import bundled_profile
from rig.target.postgres import Database
from tests.cli.commands import QUICK
from tests.safety.running import Run, Watched, left_running
from tests.waiting import wait_until

SMALL = ("ladder", "--only", "S1,S4,S9", "--steps", "5", *QUICK)
CHOSEN = "chosen-by-the-user-0123456789"


def profile(folder: Path, *changes: tuple[str, str]) -> str:
    """The reference profile with some of its text replaced."""
    text = bundled_profile().read_text().replace("{profile_dir}", str(bundled_profile().parent))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A small run that passes, with a webhook secret of the user's."""
    folder = tmp_path_factory.mktemp("passed")
    named = ('secret = "shopify"\n', 'secret = "shopify"\nsecret_env = "MY_SHOPIFY_SECRET"\n')
    words = (*SMALL, "--profile", profile(folder, named))
    with Run(folder, words, {"MY_SHOPIFY_SECRET": CHOSEN}) as run:
        yield run.ended()


def test_a_run_tells_no_secret(passed: Watched) -> None:
    assert passed.code == ExitCode.PASS, passed.err.decode()
    drawn = set(passed.secrets.values())
    assert {"rig.target.tenants", "rig.target.postgres.cluster"} <= drawn, drawn  # the spy saw what there was to see
    assert not passed.told([CHOSEN])


def test_the_search_finds_what_there_is(passed: Watched) -> None:
    """The same search for something that does stand in the pack."""
    assert passed.told(["attribution_events"])
    assert any("report.html" in place for place in passed.told(["rig ladder"]))


def test_everything_listens_on_loopback_only(passed: Watched) -> None:
    programs = {program for program, _, _ in passed.listening}
    assert any("postgres" in program for program in programs), programs
    assert len(passed.listening) >= 3  # database, stub, target
    beyond = [each for each in passed.listening if not ipaddress.ip_address(each[1]).is_loopback]
    assert not beyond


def test_no_environment_is_readable_for_others(passed: Watched) -> None:
    assert passed.looks > 10
    assert len(passed.pids) > 5
    assert not passed.readable_environments


def test_the_pack_is_its_owners(passed: Watched) -> None:
    assert stat.S_IMODE(passed.pack.stat().st_mode) == 0o700
    for path in passed.pack.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH, path


def test_nothing_goes_on(passed: Watched) -> None:
    assert not left_running(passed)


# --- when it fails ------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_tenants_that_the_database_refuses(tmp_path: Path) -> None:
    """PostgreSQL logs the row that it refused, and the tenant's secrets stand in it."""
    refused = ("VALUES (%(tenant_id)s, %(name)s,", "VALUES (%(tenant_id)s, NULL,")
    with Run(tmp_path, (*SMALL, "--profile", profile(tmp_path, refused))) as run:
        seen = run.ended()
    assert seen.code == ExitCode.CONFIG, seen.err.decode()
    assert b"provision_sql" in seen.err
    assert "Failing row" in (seen.pack / "logs" / "postgresql.log").read_text()
    assert "rig.target.tenants" in seen.secrets.values()
    assert not seen.told()


TALKATIVE = """\
import os, sys
print(dict(os.environ), file=sys.stderr, flush=True)
sys.exit(3)
"""


@pytest.mark.full
def test_a_target_that_dies_telling_its_environment(tmp_path: Path) -> None:
    script = tmp_path / "talkative.py"
    script.write_text(TALKATIVE)
    reference = Path(profile(tmp_path)).read_text()
    serving = reference.split("command = [")[1].split("]\nprocesses")[0]
    words = (*SMALL, "--profile", profile(tmp_path, (serving, f'"{{python}}", "{script}"')))
    with Run(tmp_path, words) as run:
        seen = run.ended()
    assert seen.code == ExitCode.UNAVAILABLE, seen.err.decode()
    assert b"exit code 3" in seen.err
    log = (seen.pack / "logs" / "target.log").read_text()
    assert "DATABASE_URL" in log  # it did tell
    assert "[secret of this run]" in log
    assert not seen.told()


TALKATIVE_REPLICA = """\
import os, sys
print(dict(os.environ), file=sys.stderr, flush=True)
if os.environ["REPLICA"] in sys.argv[1].split(","):
    sys.exit("cannot reach " + os.environ["DATABASE_URL"])
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])
"""


@pytest.mark.parametrize(
    ("storm", "failing", "code"),
    [
        ("rate-limit", "", ExitCode.PASS),
        pytest.param("migration-race", "0", ExitCode.UNAVAILABLE, marks=pytest.mark.full),
        ("migration-race", "1,2", ExitCode.FAIL),
    ],
)
def test_replicas_that_tell_their_environment(tmp_path: Path, storm: str, failing: str, code: ExitCode) -> None:
    script = tmp_path / "talkative.py"
    script.write_text(TALKATIVE_REPLICA)
    talking = [
        (
            f'"-m", "stub_server.race_subjects.{module}"',
            f'"{script}", "{failing}", "stub_server.race_subjects.{module}"',
        )
        for module in ("migrator", "limiter")
    ]
    prepared = 'prepare = ["{python}", "%s", "%s", "stub_server.race_subjects.limiter", "prepare"'
    silent = (
        prepared % (script, failing),
        'prepare = ["{python}", "-m", "stub_server.race_subjects.limiter", "prepare"',
    )
    with Run(tmp_path, ("storm", storm, "--profile", profile(tmp_path, *talking, silent))) as run:
        seen = run.ended()
    assert seen.code == code, seen.err.decode()
    told = b"".join(path.read_bytes() for path in seen.pack.rglob("*") if path.is_file()) + seen.out + seen.err
    assert b"[secret of this run]" in told  # it did tell
    assert "rig.target.postgres.cluster" in seen.secrets.values()
    assert not seen.told()


@pytest.mark.full
def test_a_run_with_a_defect(tmp_path: Path) -> None:
    with Run(tmp_path, (*SMALL, "--defect", "no-deduplication")) as run:
        seen = run.ended()
    assert seen.code == ExitCode.FAIL, seen.err.decode()
    assert not seen.told()


@pytest.mark.full
def test_a_run_that_was_killed_and_settled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(tmp_path, (*SMALL, "--steps", "1000")) as run:
        wait_until(lambda: list((tmp_path / "results").glob("*.partial/history/.raw/*.rows")), 60)
        run.process.send_signal(signal.SIGKILL)
        seen = run.ended()
    assert seen.pack.name.endswith(".partial")
    assert not seen.told()
    wait_until(lambda: not left_running(seen))
    assert main(["settle", str(seen.pack)]) == ExitCode.INVALID
    said = capsys.readouterr()
    seen.out, seen.err = said.out.encode(), said.err.encode()
    assert not seen.pack.name.endswith(".partial")
    assert not seen.told()


@pytest.mark.full
def test_a_database_of_the_users(tmp_path: Path, database: Database) -> None:
    """Its DSNs come from the environment, with their passwords, and so does what the target is started with."""
    env = {"RIG_TRUTH_DSN": database.admin_dsn, "RIG_RUNTIME_DSN": database.runtime_dsn}
    passwords = [dsn.split(":")[2].split("@")[0] for dsn in env.values()]
    with Run(tmp_path, (*SMALL, "--reference"), env) as run:
        seen = run.ended()
    assert seen.code == ExitCode.PASS, seen.err.decode()
    assert not seen.told([*passwords, *env.values()])
