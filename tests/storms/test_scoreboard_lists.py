"""Scoreboards: a list of subjects, each run against one storm, and the table of what they came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.checks.subject_table import as_markdown, row_of
from rig.errors import ConfigError, UsageError
from rig.evidence.storm import StormReport
from rig.storms.subject_list import open_subject, published_list, read_list
from tests.checks.test_race_tests import FIGURES
from tests.cli.commands import only_pack, rig

ROOT = Path(__file__).parents[2]
SUBJECTS = """
title = "Two"
processes = 3
section = { races = 1, env = { DB = "{admin_dsn}" } }

[[subjects]]
name = "Right one"
note = "nothing to do"
section = { command = ["{python}", "{profile_dir}/one.py", "lock"] }

[[subjects]]
name = "Wrong one"
section = { command = ["{python}", "{profile_dir}/one.py"] }

[[subjects]]
name = "No one"
section = { command = ["{python}", "{profile_dir}/none.py"] }
"""
MIGRATOR = """
import os, sys, psycopg
c = psycopg.connect(os.environ["DB"], autocommit=True)
if sys.argv[1:]:
    c.execute("SELECT pg_advisory_lock(1)")
if not c.execute("SELECT to_regclass('account')").fetchone()[0]:
    c.execute("CREATE TABLE account (id int)")
"""


def list_in(folder: Path, text: str = SUBJECTS) -> Path:
    path = folder / "subjects.toml"
    path.write_text(text)
    (folder / "one.py").write_text(MIGRATOR)
    return path


@pytest.mark.full
def test_a_list_ends_in_a_table_with_a_verdict_for_each_and_in_none_for_the_run(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = rig("storm", "migration-race", "--scoreboard", str(list_in(tmp_path)), "--out", str(results), "--json")
    assert done.code == 0, done.err
    rows = {row["name"]: row for row in done.document()["scoreboard"]}
    assert [row["verdict"] for row in rows.values()] == ["PASS", "FAIL", "NOT-RUN"]
    assert rows["Wrong one"]["wrong"][0].startswith("migration-race.exit: 2 of 3 replicas failed: psycopg.errors.")
    assert "a lone replica does not migrate" in rows["No one"]["wrong"][0]
    pack = only_pack(results)
    assert json.loads((pack / "scoreboard.json").read_text())["subjects"] == list(rows.values())
    assert "| Right one | - | PASS | 3 of 3 |" in (pack / "scoreboard.md").read_text()
    assert not [gate["id"] for gate in done.document()["gates"] if gate["id"].startswith("storm.")]
    assert rig("check", str(pack)).code == 0


def test_what_passes_was_tried_and_what_was_not_tried_is_named() -> None:
    good = StormReport(storm="migration-race", case="migration-race", figures={**FIGURES["migration-race"], "met": [8]})
    row = row_of("one", "1.0", "a note", [good])
    assert (row.verdict, row.passed, row.tried, row.wrong) == ("PASS", 3, 3, ())
    assert row.figures == "met 8 of 8; exit codes 8 × 0; rows 508 of 508"
    assert row_of("none", "", "", [], "it could not be installed: why").verdict == "NOT-RUN"
    assert "it could not be installed: why" in as_markdown(
        "T", "s", "", "", [row_of("none", "", "", [], "it could not be installed: why")]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "cannot be read"),
        ('title = "x"', "subjects: required, but missing"),
        ('title = "x"\n[[subjects]]\nname = "y"\ncolour = "z"', "subjects.0.colour: unknown key"),
    ],
)
def test_a_list_that_is_wrong_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_list(list_in(tmp_path, text))


def test_a_section_that_is_wrong_is_bad_configuration(tmp_path: Path) -> None:
    listed = read_list(path := list_in(tmp_path))
    with pytest.raises(ConfigError, match=r"storms\.rate-limit"):
        open_subject(listed, listed.subjects[0], "rate-limit", path)


PUBLISHED = sorted((ROOT / "docs" / "scoreboards").glob("*.toml"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_lists_of_the_published_scoreboards_can_be_read(path: Path) -> None:
    listed = read_list(path)
    assert all(subject.note for subject in listed.subjects)
    assert len({subject.name for subject in listed.subjects}) == len(listed.subjects)
    assert path.with_suffix(".md").exists()


def test_without_a_file_a_scoreboard_is_the_published_one() -> None:
    storms = ("rate-limit", "migration-race", "scheduler-claim", "unknown-kid")
    assert [published_list(storm) for storm in storms] == PUBLISHED
    with pytest.raises(UsageError, match="no list is published for tenant-leak; name a file"):
        published_list("tenant-leak")


def test_a_subject_without_a_folder_for_its_environment_says_so(tmp_path: Path) -> None:
    path = list_in(tmp_path, 'title = "x"\n[[subjects]]\nname = "y"\npip = ["z"]')
    (tmp_path / ".environments").write_text("in the way")
    listed = read_list(path)
    problem = open_subject(listed, listed.subjects[0], "migration-race", path).problem
    assert problem.startswith("it could not be installed: ")
    assert "copy the list" in problem


@pytest.mark.parametrize(
    ("package", "version"), [("@scope/one@^2", "2.1.0"), ("git+https://example.com/one.git", ""), ("two", "")]
)
def test_the_version_of_a_package_of_node_is_told_where_it_says_one(tmp_path: Path, package: str, version: str) -> None:
    text = f'title = "T"\n[[subjects]]\nname = "one"\nnpm = ["{package}"]\nsection = {{ command = ["true"] }}\n'
    listed = read_list(path := list_in(tmp_path, text))
    folder = tmp_path / ".environments" / "one"
    for name, document in (("@scope/one", {"version": "2.1.0"}), ("two", {})):
        (folder / "node_modules" / name).mkdir(parents=True)
        (folder / "node_modules" / name / "package.json").write_text(json.dumps(document))
    (folder / "installed.json").write_text(json.dumps({"pip": [], "npm": [package]}))
    assert open_subject(listed, listed.subjects[0], "migration-race", path).version == version
