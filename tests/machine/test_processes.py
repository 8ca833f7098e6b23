"""Whoever ends between two looks is answered for."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from rig.machine.processes import alive, children, words

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


def test_what_runs() -> None:
    says_so = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
    with subprocess.Popen(says_so, stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        popen.stdout.readline()  # before, its words may not be there yet
        process = psutil.Process(popen.pid)
        assert alive(process) and alive(popen.pid)
        assert words(process)[-1] == says_so[-1]
        assert popen.pid in {child.pid for child in children(os.getpid())}
        popen.kill()


def test_a_zombie_runs_no_more_and_has_no_words() -> None:
    with subprocess.Popen(SLEEP) as popen:
        process = psutil.Process(popen.pid)
        popen.kill()
        os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has looked
        assert not alive(process) and not alive(popen.pid)
        assert words(process) == []
        assert children(popen.pid) == []


def test_what_is_gone() -> None:
    with subprocess.Popen(SLEEP) as popen:
        process = psutil.Process(popen.pid)
        popen.kill()
    assert not alive(process) and not alive(popen.pid)
    assert words(process) == []
    assert children(popen.pid) == []


def test_what_is_not_ours_to_look_at_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> str:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "status", denied)
    monkeypatch.setattr(psutil.Process, "cmdline", denied)
    process = psutil.Process()
    assert alive(process)
    assert words(process) == []
