"""Which target a command is about: found from the folder, said first, and never somebody's database by accident."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rig.cli import main
from rig.errors import ConfigError, ExitCode, UsageError
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.profile.discovery import NOTHING_FOUND, Origin, find_profile
from rig.run.job import Job
from rig.run.record import Record
from rig.settings import Settings
from rig.target.postgres import Database
from tests.cli.commands import QUICK, command, environment, rig

RUNNING = 'base_url = "http://127.0.0.1:9"'


def placed(folder: Path, name: str = "shop") -> Path:
    """A profile of a target that runs already, in a folder."""
    text = bundled_profile().read_text()
    before, _, after = text.partition("[launch]")
    text = before + f"[target]\n{RUNNING}\n\n" + after[after.index("[headers]") :]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rig.toml"
    path.write_text(text.replace('name = "reference"', f'name = "{name}"'))
    return path


def test_the_folder_comes_before_the_variable_and_both_after_the_option(tmp_path: Path) -> None:
    environ = {"RIG_PROFILE": str(placed(tmp_path / "named"))}
    found = placed(tmp_path / "project")
    deep = tmp_path / "project" / "src" / "app"
    deep.mkdir(parents=True)
    mine = tmp_path / "mine.toml"

    def origin(given: Path | None, folder: Path, **more: Any) -> tuple[Origin, Path]:
        choice = find_profile(given, reference=False, environ=environ | more, folder=folder)
        return choice.origin, choice.path

    assert origin(mine, deep) == (Origin.OPTION, mine)
    assert origin(None, deep) == (Origin.FOLDER, found)
    assert origin(None, tmp_path) == (Origin.VARIABLE, Path(environ["RIG_PROFILE"]))
    assert origin(None, tmp_path, RIG_PROFILE="")[0] is Origin.NOTHING


def test_the_folder_of_all_homes_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write there would choose what everybody loads."""
    home = tmp_path / "home" / "me"
    placed(tmp_path / "home")
    placed(tmp_path)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert find_profile(None, reference=False, environ={}, folder=home).origin is Origin.NOTHING
    placed(home)
    assert find_profile(None, reference=False, environ={}, folder=home / "work").origin is Origin.FOLDER


def test_the_reference_may_be_forced(tmp_path: Path) -> None:
    placed(tmp_path)
    choice = find_profile(None, reference=True, environ={"RIG_PROFILE": "x"}, folder=tmp_path)
    assert choice.path == bundled_profile()
    with pytest.raises(UsageError, match="not both"):
        find_profile(tmp_path, reference=True, environ={})


def test_a_variable_that_names_no_file_is_an_error_and_not_the_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RIG_PROFILE names gone\.toml"):
        find_profile(None, reference=False, environ={"RIG_PROFILE": "gone.toml"}, folder=tmp_path)


@pytest.mark.parametrize(
    "words",
    [("doctor", "--json"), ("run",), ("ladder",), ("perf",), ("calibrate",), ("mix",), ("ci",), ("up",), ("ui",),
     ("storm", "scheduler-claim"), ("prove", "--only-defect", "x")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_verb_names_target_url_and_profile_first(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr: stdout is for the document."""
    monkeypatch.setenv("RIG_TRUTH_DSN", "postgresql://nobody@127.0.0.1:1/none")
    path = placed(tmp_path)
    path.write_text(path.read_text().replace("version = 1", 'version = 1\npersonal_keys = ["a"]'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rig.cli.options.Invocation.job", _stop)
    monkeypatch.setattr("rig.run.job.Job.__post_init__", _stop)
    monkeypatch.setattr("rig.locust_bridge.launch.lead", lambda *_: 0)
    monkeypatch.setattr("rig.verbs.ci.run_ci", _stop)
    main(list(words))
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == f"target shop, at http://127.0.0.1:9, profile {path}"
    if "--json" in words:
        json.loads(said.out)


@pytest.mark.parametrize("verb", ["check", "settle", "clean", "compare", "report"])
def test_every_verb_about_a_pack_names_its_target_first(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever profile lies in the folder, and also where the verb then has nothing to do."""
    profile = load_profile(placed(tmp_path / "theirs", "theirs"))
    monkeypatch.chdir(placed(tmp_path / "mine", "mine").parent)
    record = Record.begin(Job("ladder", (), Settings(out=tmp_path), profile, tmp_path), RunKey(1, "run", 0), 0, {})
    record.pack.let_go()
    pack = str(record.path)
    main([verb, pack, *([pack] if verb == "compare" else []), *(["--out", "x"] if verb == "report" else [])])
    assert (
        capsys.readouterr().err.splitlines()[0] == f"target theirs, at http://127.0.0.1:9, profile of the pack {pack}"
    )


def _stop(*_: object, **__: object) -> None:
    raise ConfigError("far enough")


def test_a_broken_profile_is_named_and_then_explained(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text("name = 1")
    ended = rig("ladder", folder=tmp_path)
    assert ended.code == ExitCode.CONFIG
    assert ended.err.splitlines()[0] == f"profile {path}"


def test_without_a_profile_the_reference_is_judged_and_no_database_of_the_environment_touched(
    tmp_path: Path, database: Database
) -> None:
    doors = {"RIG_TRUTH_DSN": database.admin_dsn, "RIG_RUNTIME_DSN": database.runtime_dsn}
    words = ("ladder", "--only", "S1", "--steps", "5", *QUICK, "--json", "--out", str(tmp_path / "results"))
    ended = rig(*words, env=doors, folder=tmp_path)
    first, second = ended.err.splitlines()[:2]
    assert first == NOTHING_FOUND == "no rig.toml found: judging the built-in reference service"
    assert second.startswith("RIG_TRUTH_DSN is not used: ")
    assert ended.document()["verdict"] in ("PASS", "INVALID"), ended.err
    assert _tables(database) == 0
    ended = rig(*words, "--reference", env=doors, folder=tmp_path)
    assert "in the database of RIG_TRUTH_DSN" in ended.err.splitlines()[0]
    assert _tables(database) > 0


def _tables(database: Database) -> int:
    query = (
        "SELECT count(*)::int FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|info)'"
    )
    with psycopg.connect(database.admin_dsn) as connection:
        ((count,),) = connection.execute(query).fetchall()
    return int(count)


def test_a_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ended = subprocess.run(
        ["sh", "-c", 'mkdir "$0"; cd "$0"; rmdir "$0"; exec "$@"', gone, *command("doctor", "--reference")],
        env=environment({}), capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == ExitCode.CONFIG
    assert ended.stderr == "rig: the current folder was removed; go to another one (cd)\n"


def test_no_folder_of_the_tests_has_a_profile() -> None:
    """The repository's own commands judge the reference."""
    assert find_profile(None, reference=False, environ={}, folder=Path.cwd()).origin is Origin.NOTHING
