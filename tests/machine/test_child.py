"""How the rig's children begin and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rig.errors import RigError
from rig.machine import child
from rig.machine.child import end, listening, read_first_line, start, wait_until
from rig.machine.processes import alive

LONG_S = 10.0
SHORT_S = 0.05
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
WAIT = "print('here', flush=True); sys.stdin.read()"
PARENT = (
    f"import subprocess; child = subprocess.Popen([sys.executable, '-c', {DEAF + WAIT!r}], stdin=subprocess.PIPE,"
    "stdout=subprocess.PIPE, text=True); child.stdout.readline(); print(child.pid, flush=True); child.wait()"
)


@contextmanager
def running(code: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and what it said once it had come up."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_one_that_listens_to_a_signal_ends_by_it() -> None:
    with running(WAIT) as (process, _):
        assert end(process, LONG_S) == -signal.SIGTERM
        assert end(process, LONG_S) == -signal.SIGTERM  # once more does no harm


def test_one_that_was_stopped_ends_by_it_too() -> None:
    with running(WAIT) as (process, _):
        os.kill(process.pid, signal.SIGSTOP)
        assert end(process, LONG_S) == -signal.SIGTERM


def test_one_that_ended_by_itself_keeps_its_exit_code() -> None:
    with running("sys.exit(3)") as (process, _):
        process.wait(LONG_S)
        assert end(process, LONG_S, session=True) == 3


def test_a_deaf_one_is_killed_with_all_of_its_session() -> None:
    with running(DEAF + PARENT) as (process, child):
        deaf = psutil.Process(int(child))
        assert end(process, SHORT_S, session=True) == -signal.SIGKILL
        psutil.wait_procs([deaf], LONG_S)
        assert not alive(deaf)


def test_what_a_leader_leaves_in_its_session_is_asked_to_end_too(tmp_path: Path) -> None:
    """A shell without `exec`, or `php -S` with workers: they end at once, and the server behind them runs on; php-fpm
    even makes a session of its own.
    """
    told = tmp_path / "told"
    worker = (
        f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(open({str(told)!r}, 'w').close()));"
    )
    for begins, timeout_s in ((worker, LONG_S), (f"import os; os.setsid(); {worker}", LONG_S), (DEAF, SHORT_S)):
        with running(
            PARENT.replace(repr(DEAF + WAIT), repr(f"{begins} print(1, flush=True); signal.sigtimedwait([], 60)"))
        ) as (process, said):
            left = psutil.Process(int(said))
            assert end(process, timeout_s, session=True) == -signal.SIGTERM
            left.wait(LONG_S)
        assert told.exists() == (begins != DEAF)
        told.unlink(missing_ok=True)


def test_one_that_never_listens_is_told_by_its_exit_code() -> None:
    with (
        pytest.raises(RigError, match=r"stub_server\.null ended with exit code 2 before it listened"),
        listening("stub_server.null", "--no-such-option"),
    ):
        pass


def test_it_ends_with_its_input() -> None:
    with listening("stub_server.null") as (process, port):
        assert port > 0
        assert process.poll() is None
    assert process.returncode == 0


def test_what_a_dead_one_was_told_last_does_not_hide_why() -> None:
    with pytest.raises(KeyError, match="the cause"), listening("stub_server.null") as (process, _):
        assert process.stdin is not None
        process.stdin.write("never flushed while it lived")
        process.kill()
        process.wait(LONG_S)
        raise KeyError("the cause")


def test_a_child_that_never_says_its_port_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "READY_S", 0.2)
    monkeypatch.setattr(child, "python_module", lambda name: [sys.executable, "-c", "input()"])
    with pytest.raises(RigError, match=r"silent does not listen after 0\.2 s"), listening("silent"):
        pass


def test_waiting_ends_when_it_is_ready_or_over_or_late(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with start([sys.executable, "-c", "print('here', flush=True); input()"], output=log, stdin=subprocess.PIPE) as one:
        assert wait_until(lambda: "here" in log.read_text(), one, LONG_S)
        assert not wait_until(lambda: False, one, SHORT_S)
        end(one, LONG_S)
        assert not wait_until(lambda: True, one, LONG_S)
    assert log.read_text() == "before\nhere\n"


def test_a_first_line_is_whole_or_empty_or_missing() -> None:
    with start([sys.executable, "-c", "print('a' * 70000)"], stdout=subprocess.PIPE) as talker:
        assert read_first_line(talker, LONG_S) == b"a" * 70000 + b"\n"
    with start([sys.executable, "-c", ""], stdout=subprocess.PIPE) as quiet:
        assert read_first_line(quiet, LONG_S) == b""
    with start(["sleep", "600"], stdout=subprocess.PIPE) as late:
        assert read_first_line(late, SHORT_S) is None
        late.kill()
