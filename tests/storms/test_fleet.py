"""The fleet: held together, let loose together, and nobody's end goes unnoticed. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rig.machine.processes import alive
from rig.storms.fleet import Fleet
from tests.storms import works
from tests.waiting import wait_until


def test_all_members_report_and_go_after_the_instant_of_release() -> None:
    with Fleet(4, works.number, {"some": "thing"}) as fleet:
        fleet.start()
        at_ns = fleet.release()
        members = fleet.collect(30.0)
        skew_ns = fleet.skew_ns
    assert [member.result for member in members] == [(n, {"some": "thing"}, []) for n in range(4)]
    assert [member.error for member in members] == [""] * 4
    released = [member.released_ns or 0 for member in members]
    assert min(released) >= at_ns
    assert skew_ns == max(released) - min(released)


def test_thirty_two_members_run_on_whatever_cores_there_are() -> None:
    with Fleet(32, works.number) as fleet:
        fleet.start()
        fleet.release()
        members = fleet.collect(30.0)
    assert [member.result[0] for member in members if member.result] == list(range(32))


def test_every_kind_of_end_is_reported_and_the_others_go_on() -> None:
    with Fleet(7, works.mixed) as fleet:
        fleet.start()
        fleet.release()
        members = fleet.collect(3.0)
        pids = fleet.pids
    assert [members[n].result for n in (0, 6)] == ["well", "well"]
    assert members[1].error == "ValueError: before" and members[1].released_ns is None
    assert members[2].error == "ValueError: after" and members[2].released_ns is not None
    assert members[3].error == "died of SIGKILL"
    assert members[4].error == "gave no result within 3 s"
    assert members[5].error.startswith("its result cannot be pickled")
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_death_ends_the_wait_at_once() -> None:
    with Fleet(2, works.until_file, "/nonexistent/file") as fleet:
        fleet.start()
        fleet.release()
        fleet.kill(0)
        fleet.kill(1)
        began = time.monotonic()
        members = fleet.collect(60.0)
        assert time.monotonic() - began < 30
    assert {member.error for member in members} == {"died of SIGKILL"}


def test_a_stopped_member_is_silent_and_goes_on_when_told_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with Fleet(1, works.until_file, str(file)) as fleet:
        fleet.start()
        fleet.release()
        fleet.stop(0)
        file.touch()
        assert fleet.collect(0.3)[0].error == "gave no result within 0.3 s"
        assert fleet.poll() == [0]
        fleet.cont(0)
        assert fleet.collect(30.0)[0].result == "seen"
        assert fleet.poll() == []


def test_who_is_not_ready_in_time_takes_no_part() -> None:
    with Fleet(2, works.unready) as fleet:
        fleet.start(1.5)
        fleet.release()
        late, ready = fleet.collect(30.0)
    assert late.error == "was not ready within 1.5 s"
    assert ready.error == "" and ready.released_ns is not None


def test_the_barrier_opens_once() -> None:
    with Fleet(1, works.twice) as fleet:
        fleet.start()
        fleet.release()
        assert fleet.collect(30.0)[0].error == "RuntimeError: the barrier opens once"


def test_a_member_ignores_sigint(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with Fleet(1, works.until_file, str(file)) as fleet:
        fleet.start()
        os.kill(fleet.pids[0], signal.SIGINT)
        fleet.release()
        file.touch()
        assert fleet.collect(30.0)[0].result == "seen"


def test_members_end_when_the_fleet_dies(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.storms.works", str(tmp_path)], timeout=60)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    wait_until(lambda: not any(alive(pid) for pid in pids), what="members outlive their fleet")


def test_what_a_member_started_ends_with_it(tmp_path: Path) -> None:
    with Fleet(1, works.parent, str(tmp_path)) as fleet:
        fleet.start()
        fleet.release()
        child = psutil.Process(int((tmp_path / "child").read_text()))
    wait_until(lambda: not alive(child), what="the member's child outlives it")


def test_a_fleet_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Fleet(0, works.number)
