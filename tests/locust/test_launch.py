"""The end of a locust run: of one that is prepared still, and of processes that do nothing but end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.locust_bridge.launch import _failures, _wait_for_end
from tests.cli.commands import command
from tests.locust.locust_processes import processes

LISTENS = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit({})); print(flush=True); signal.pause()"
)


def started(stack: ExitStack, code: str) -> subprocess.Popen[bytes]:
    process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
    stack.callback(process.kill)
    return process


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def master(stack: ExitStack, ends_in: int) -> subprocess.Popen[bytes]:
    process = started(stack, LISTENS.format(ends_in))
    assert process.stdout is not None
    process.stdout.readline()  # it listens for the signal now
    return process


def test_workers_that_all_fail_end_the_master_and_say_why(stack: ExitStack) -> None:
    workers = [started(stack, "raise SystemExit(69)") for _ in range(2)]
    assert _wait_for_end(master(stack, ExitCode.INTERRUPTED), workers) == ExitCode.UNAVAILABLE


def test_a_verdict_says_more_than_how_the_workers_ended(stack: ExitStack) -> None:
    assert _wait_for_end(master(stack, ExitCode.FAIL), [started(stack, "raise SystemExit(70)")]) == ExitCode.FAIL


def test_a_worker_that_lives_or_was_told_to_quit_ends_nothing(stack: ExitStack) -> None:
    quitter, broken = started(stack, "pass"), started(stack, "raise SystemExit(70)")
    for worker in (quitter, broken):
        worker.wait()
    assert _failures([broken, broken]) == [70, 70]
    assert _failures([quitter, broken]) == []
    assert _failures([master(stack, 0), broken]) == []


def test_what_is_ended_while_it_is_prepared_leaves_nobody_waiting(tmp_path: Path) -> None:
    with processes(command("mix", "--out", str(tmp_path)), logs=tmp_path) as (mix,):
        mix.wait_for("null benchmark: warm-up")
        mix.popen.send_signal(signal.SIGTERM)
        assert mix.end() == ExitCode.INTERRUPTED, mix.said
    assert "nothing was judged" in mix.said
    assert not [each for each in ("Traceback", "was still running", "been silent") if each in mix.said], mix.said
