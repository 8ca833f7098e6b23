"""A receiver with a queue behind a 202, judged by its profile alone: rows are waited for, a dropped job is found."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rig.doctor.examination import examine
from rig.errors import ExitCode
from rig.settings import Settings
from tests.cli.commands import QUICK, Ended, environment, rig
from tests.foreign.running import FOLDER

PROFILE = FOLDER / "queue" / "rig.toml"
SECRET = "whsec_c2VjcmV0IG9mIHRoZSBvcmRlcnMsIDI0IQ=="


def run(folder: Path, *words: str, profile: Path = PROFILE, timeout_s: float = 110, **environ: str) -> Ended:
    command = ("ladder", "--profile", str(profile), *words, *QUICK, "--json", "--out", str(folder))
    return rig(*command, env={"ORDERS_SECRET": SECRET} | environ, timeout_s=timeout_s)


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


def patient(folder: Path, within_s: int) -> Path:
    """The profile with another limit for the last row."""
    text = PROFILE.read_text().replace("{profile_dir}", str(PROFILE.parent))
    path = folder / "rig.toml"
    path.write_text(text.replace("within_s = 120", f"within_s = {within_s}"))
    return path


def test_the_doctor_waits_for_the_rows_and_finds_nothing_wrong() -> None:
    ended = rig("doctor", "--profile", str(PROFILE), "--json", env={"ORDERS_SECRET": SECRET, "ORDERS_JOB_S": "1"})
    assert ended.code == ExitCode.PASS, ended.out


@pytest.mark.full
@pytest.mark.parametrize("job_s", ["0", "1"])
def test_one_call_of_the_doctor_completes_the_shortest_profile(tmp_path: Path, job_s: str) -> None:
    """The sixteen lines of the guide, and how to start it."""
    text = PROFILE.read_text().replace("{profile_dir}", str(PROFILE.parent))
    text = re.sub(r"malformed = .*\n|\[answers\.valid\][^$]*?(?=\[truth\.canonical\]\n)", "", text)
    path = tmp_path / "rig.toml"
    path.write_text(text[: text.index("# What the columns")])
    environ = {**environment({}), "ORDERS_SECRET": SECRET, "ORDERS_JOB_S": job_s}
    found = examine(path, Settings(), environ, lambda _: None)
    assert found.exit_code == ExitCode.FAIL
    path.write_text(found.corrected)
    answers = tomllib.loads(found.corrected)
    assert answers["answers"] == {"valid": {"status": [202]}, "replay": {"status": [202]},
                                  "invalid_json": {"status": [400]}}  # fmt: skip
    assert ("arrival" in answers["truth"]) == (job_s == "1")
    assert examine(path, Settings(), environ, lambda _: None).exit_code == ExitCode.PASS


@pytest.mark.full
def test_locust_leaves_out_what_the_profile_cannot_say(tmp_path: Path) -> None:
    text = re.sub(r"malformed = .*\n", "", PROFILE.read_text()).replace("{profile_dir}", str(PROFILE.parent))
    path = tmp_path / "rig.toml"
    path.write_text(text)
    words = ("--profile", str(path), "--users", "12", "--seconds", "3", "--null-seconds", "0.1", "--last-look", "0")
    ended = rig("mix", *words, "--out", str(tmp_path), env={"ORDERS_SECRET": SECRET})
    assert ended.code == ExitCode.PASS, ended.err
    assert "the profile leaves out S3Malformed, S4Personal" in ended.err
    (pack,) = tmp_path.glob("*-locust-1")
    judged = {gate["id"]: gate["verdict"] for gate in json.loads((pack / "verdicts.json").read_text())["gates"]}
    assert (judged["S3.answers"], judged["S4.answers"], judged["S6.answers"]) == ("NOT-RUN", "NOT-RUN", "PASS")


def test_rows_that_a_queue_stores_later_are_waited_for_and_not_lost(tmp_path: Path) -> None:
    """It ends long before the ten minutes that the last row may take."""
    environ = {"ORDERS_JOB_S": "0.5", "ORDERS_JOBS": "5", "ORDERS_BEHIND": "10"}
    ended = run(tmp_path, "--only", "S1,S2,S3,S7", "--steps", "40", profile=patient(tmp_path, 600), **environ)
    assert ended.code == ExitCode.PASS, ended.err
    found = gates(ended)
    assert {found[name]["verdict"] for name in ("S1.rows", "S2.rows", "S3.answers", "S7.answers")} == {"PASS"}
    assert found["S2.late"]["verdict"] == "NOT-RUN"
    figures = found["S2.late"]["figures"]
    assert 400 <= figures["lag_p50_ms"] <= figures["lag_p99_ms"] <= figures["lag_max_ms"]
    for name in ("S5.rows", "EG3.3", "privacy.rows"):
        assert found.get(name, {"verdict": "NOT-RUN"})["verdict"] == "NOT-RUN"


@pytest.mark.full
@pytest.mark.timeout(300)
def test_two_seconds_a_job_and_fifty_jobs_behind_lose_nothing(tmp_path: Path) -> None:
    """Twenty jobs at once: the 250 of S2 alone take 25 s."""
    environ = {"ORDERS_JOB_S": "2", "ORDERS_JOBS": "10", "ORDERS_BEHIND": "50"}
    words = ("--only", "S1,S2", "--steps", "250")
    ended = run(tmp_path, *words, profile=patient(tmp_path, 1200), timeout_s=240, **environ)
    assert ended.code == ExitCode.PASS, ended.err
    found = gates(ended)
    assert {found[name]["verdict"] for name in ("S1.rows", "S2.rows", "totals", "duplicates")} == {"PASS"}
    assert found["S2.late"]["figures"]["lag_max_ms"] >= 20_000


@pytest.mark.full
def test_one_dropped_job_in_fifty_is_found_by_its_key(tmp_path: Path) -> None:
    """All rows that come at all come within a second."""
    drops = {"ORDERS_DROPS_ONE_IN": "50", "ORDERS_JOBS": "20"}
    ended = run(tmp_path, "--only", "S2", "--steps", "100", profile=patient(tmp_path, 8), **drops)
    assert_lost(ended, 2)


@pytest.mark.full
@pytest.mark.timeout(400)
def test_one_dropped_job_in_five_hundred_is_found_behind_a_slow_queue(tmp_path: Path) -> None:
    """Fifty jobs at once need 42 s for the 1,050 jobs; the 120 s of the profile are enough."""
    environ = {"ORDERS_JOB_S": "2", "ORDERS_JOBS": "25", "ORDERS_BEHIND": "50", "ORDERS_DROPS_ONE_IN": "500"}
    assert_lost(run(tmp_path, "--only", "S2", "--steps", "1000", timeout_s=300, **environ), 2)


def assert_lost(ended: Ended, count: int) -> None:
    """So many of S2 are lost, each named, and some of the events beside the forged requests; nothing else is wrong."""
    assert ended.code == ExitCode.FAIL, ended.err
    found = gates(ended)
    assert found["S2.answers"]["verdict"] == "PASS"
    assert f"{count} lost" in found["S2.rows"]["reason"]
    keys = found["S2.rows"]["figures"]["keys"]
    assert len(keys) == count
    assert all(re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-5", str(key)) for key in keys)
    assert {name for name, gate in found.items() if gate["verdict"] == "FAIL"} == {"S2.rows", "forged.rows", "totals"}


ONE = "[answers.valid]\nstatus = [{0}]\n[answers.replay]\nstatus = [{0}]\n{1}\n"


@pytest.mark.full
@pytest.mark.parametrize(
    ("mode", "answers", "verdicts"),
    [
        ("known", ONE.format(201, "again = [409]"), {"S1.answers": "PASS", "S1.rows": "PASS"}),
        ("denies", ONE.format(201, "again = [409]"), {"S1.answers": "FAIL", "S1.rows": "FAIL"}),
        ("same-body", ONE.format(200, "same_body = true"), {"S1.answers": "PASS"}),
        ("other-body", ONE.format(200, "same_body = true"), {"S1.answers": "FAIL", "S1.rows": "PASS"}),
        ("other-body", ONE.format(200, ""), {"S1.answers": "PASS"}),
        (
            "refuses",
            ONE.format(200, "[answers.conflict]\nstatus = [422]"),
            {"conflict.answers": "PASS", "conflict.rows": "PASS", "S2.content": "PASS"},
        ),
        (
            "overwrites",
            ONE.format(200, "[answers.conflict]\nstatus = [422]"),
            {"conflict.answers": "FAIL", "S2.content": "FAIL"},
        ),
        (
            "hides",
            ONE.format(200, "[answers.conflict]\nstatus = [422]"),
            {"conflict.answers": "PASS", "S2.rows": "PASS", "S2.content": "FAIL"},
        ),
    ],
)
def test_each_way_to_answer_a_known_order_is_judged(
    tmp_path: Path, mode: str, answers: str, verdicts: dict[str, str]
) -> None:
    profile = changed(tmp_path, answers)
    ended = run(tmp_path, "--only", "S1,S2", "--steps", "30", profile=profile, ORDERS_ANSWERS=mode)
    found = gates(ended)
    assert {name: found[name]["verdict"] for name in verdicts} == verdicts, ended.err
