"""``rig capacity`` from end to end: against the reference service, whose rate one of its defects limits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.evidence.capacity import CAPACITY
from rig.evidence.pack import Pack
from rig.profile import bundled_profile
from tests.cli.commands import QUICK, rig
from tests.waiting import wait_until

pytestmark = pytest.mark.full


def test_a_search_ends_with_an_answer_and_a_pack_that_is_judged_alike_offline(tmp_path: Path) -> None:
    words = ("--seconds", "1.5", "--minutes", "0.3", "--first", "100", "--last-look", "0")
    ended = rig("capacity", "--reference", "--defect", "slow", *words, "--json", "--out", str(tmp_path))
    found = json.loads(ended.out)
    assert ended.code in (ExitCode.PASS, ExitCode.INVALID), ended.err  # a busy machine may be the limit
    assert {step["result"] for step in found["capacity"]["steps"]} <= {"held", "missed", "not driven"}
    assert 50 <= found["capacity"]["held_per_s"] <= 550
    pack = Pack.open(Path(found["pack"]))
    case = pack.load()
    assert case.capacity is not None
    assert case.capacity.ended
    assert len(case.scenario_runs_of(CAPACITY)) == len(found["capacity"]["steps"])
    assert (pack.path / "plots" / "capacity.png").is_file()
    checked = rig("check", found["pack"], "--json")
    assert checked.code == ended.code
    assert json.loads(checked.out)["verdict"] == found["verdict"]


def test_an_interrupt_keeps_the_steps_so_far_and_leaves_nothing_running(tmp_path: Path) -> None:
    words = ["capacity", "--reference", *QUICK, "--seconds", "2", "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "rig", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "step 3" in line:
            break
    wait_until(lambda: [rows for rows in tmp_path.glob("*/history/.raw/*-3.*.rows") if rows.stat().st_size])
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(60) == ExitCode.INTERRUPTED, said
    (path,) = tmp_path.iterdir()
    case = Pack.open(path).load()
    assert len(case.scenario_runs_of(CAPACITY)) == 3
    assert case.truth is not None
    assert [finding for finding in case.leak_findings if not finding.clean and finding.when == "after"] == []


def test_another_count_of_processes_needs_a_launch_command_that_takes_it(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(bundled_profile().read_text().replace('"{processes}"', '"2"'))
    ended = rig("capacity", "--profile", str(profile), "--processes", "1,2", "--out", str(tmp_path / "results"))
    assert ended.code == ExitCode.USAGE
    assert "no launch command with {processes}" in ended.err
    assert not (tmp_path / "results").exists()
