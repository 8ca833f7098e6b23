"""A lane of a proof."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from rig.errors import RigError, Unavailable
from rig.machine.child import wait_until
from rig.selftest.lane import Lane


def _add(one: int, other: int) -> tuple[int, int]:
    return one + other, os.getpid()


def _fail() -> None:
    raise Unavailable("no server")


def _die() -> None:
    os._exit(3)


def _sleep(file: Path) -> None:
    file.write_text(str(os.getpid()))
    time.sleep(60)


def test_its_work_is_done_in_a_process_of_its_own_that_stays_until_the_end() -> None:
    with Lane(_add, 1, 2) as lane:
        lane.begin()
        total, pid = lane.finish()
        assert total == 3
        assert pid != os.getpid()
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    assert not psutil.pid_exists(pid)


def test_what_is_wrong_there_is_raised_here() -> None:
    with Lane(_fail) as lane, pytest.raises(Unavailable, match="no server"):
        lane.finish()
    with Lane(_die) as lane, pytest.raises(RigError, match="died"):
        lane.finish()


def test_it_ends_with_its_context_and_starts_nothing_before_it_begins(tmp_path: Path) -> None:
    with Lane(_sleep, tmp_path / "pid"):
        pass
    assert not (tmp_path / "pid").exists()
    with Lane(_sleep, file := tmp_path / "pid") as lane:
        lane.begin()
        assert wait_until(lambda: file.exists() and bool(file.read_text()), None, 20.0)
    assert not psutil.pid_exists(int(file.read_text()))
