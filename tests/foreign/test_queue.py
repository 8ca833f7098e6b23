"""A receiver with a queue behind a 202, judged by its profile alone: rows are waited for, a dropped job is found."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ExitCode
from tests.cli.commands import QUICK, Ended, rig
from tests.foreign.running import FOLDER

PROFILE = FOLDER / "queue" / "rig.toml"
SECRET = "whsec_c2VjcmV0IG9mIHRoZSBvcmRlcnMsIDI0IQ=="


def run(folder: Path, *words: str, profile: Path = PROFILE, **environ: str) -> Ended:
    options = (*QUICK, "--json", "--out", str(folder))
    return rig("ladder", "--profile", str(profile), *words, *options, env={"ORDERS_SECRET": SECRET} | environ)


def gates(ended: Ended) -> dict[str, dict[str, Any]]:
    return {gate["id"]: gate for gate in ended.document()["gates"]}


def changed(folder: Path, answers: str) -> Path:
    """The profile with other answers, beside the receiver."""
    text = PROFILE.read_text()
    head, tail = text.index("[answers.valid]"), text.index("# What is wrong")
    text = text[:head] + answers + text[tail:]
    text = text[: text.index("# The last row")].replace("{profile_dir}", str(PROFILE.parent))
    tomllib.loads(text)
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def test_rows_that_a_queue_stores_later_are_waited_for_and_not_lost(tmp_path: Path) -> None:
    ended = run(tmp_path, "--only", "S1,S2", "--steps", "40", ORDERS_JOB_S="0.5", ORDERS_JOBS="5")
    assert ended.code == ExitCode.PASS, ended.err
    found = gates(ended)
    assert found["S2.rows"]["verdict"] == "PASS"
    assert found["S2.late"]["verdict"] == "NOT-RUN"
    assert found["S2.late"]["figures"]["lag_max_ms"] >= 400
    for name in ("S5.rows", "EG3.3", "privacy.rows"):
        assert found.get(name, {"verdict": "NOT-RUN"})["verdict"] == "NOT-RUN"


@pytest.mark.full
def test_one_dropped_job_in_a_hundred_is_found_by_its_key(tmp_path: Path) -> None:
    """Two processes, each drops its every 100th job; all rows that come at all come within seconds."""
    text = PROFILE.read_text().replace("{profile_dir}", str(PROFILE.parent))
    (tmp_path / "rig.toml").write_text(text.replace("within_s = 120", "within_s = 15"))
    drops = {"ORDERS_DROPS_ONE_IN": "100", "ORDERS_JOBS": "20"}
    ended = run(tmp_path, "--only", "S2", "--steps", "500", profile=tmp_path / "rig.toml", **drops)
    assert ended.code == ExitCode.FAIL, ended.err
    found = gates(ended)
    assert found["S2.answers"]["verdict"] == "PASS"
    assert "lost" in found["S2.rows"]["reason"]
    assert found["S2.rows"]["figures"]["keys"]


ONE = "[answers.valid]\nstatus = [{0}]\n[answers.replay]\nstatus = [{0}]\n{1}\n"


@pytest.mark.full
@pytest.mark.parametrize(
    ("mode", "answers", "verdicts"),
    [
        ("known", ONE.format(201, "again = [409]"), {"S1.answers": "PASS", "S1.rows": "PASS"}),
        ("same-body", ONE.format(200, "same_body = true"), {"S1.answers": "PASS"}),
        ("other-body", ONE.format(200, "same_body = true"), {"S1.answers": "FAIL", "S1.rows": "PASS"}),
        ("other-body", ONE.format(200, ""), {"S1.answers": "PASS"}),
        (
            "refuses",
            ONE.format(200, "[answers.conflict]\nstatus = [422]"),
            {"conflict.answers": "PASS", "conflict.rows": "PASS"},
        ),
        ("overwrites", ONE.format(200, "[answers.conflict]\nstatus = [422]"), {"conflict.answers": "FAIL"}),
    ],
)
def test_each_way_to_answer_a_known_order_is_judged(
    tmp_path: Path, mode: str, answers: str, verdicts: dict[str, str]
) -> None:
    profile = changed(tmp_path, answers)
    ended = run(tmp_path, "--only", "S1,S2", "--steps", "30", profile=profile, ORDERS_ANSWERS=mode)
    found = gates(ended)
    assert {name: found[name]["verdict"] for name in verdicts} == verdicts, ended.err
