"""Real processes: a parent that is killed, children that resist, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import rig.machine.abandoned
from rig.errors import RigError
from rig.machine.abandoned import left_directories, leftovers
from rig.machine.processes import alive, words
from rig.machine.registry import MARKER
from rig.machine.supervisor import Supervisor, current_supervisor
from rig.run.leak_check import look_before
from rig.storms.pooler import find_pooler
from tests.waiting import wait_until

PATIENCE_S = 20.0

PARENT = """
import json, os, signal, subprocess, sys, tempfile
from pathlib import Path
from rig.machine.supervisor import Supervisor, temporary_folder

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [SLEEP[0], "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"]

def orphan(supervisor):
    command = ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]
    return int(subprocess.check_output(command, env=supervisor.environ()))

with Supervisor() as supervisor, temporary_folder("rig-test-") as folder:
    directory = Path(tempfile.mkdtemp(prefix="rig-test-"))
    supervisor.remove_at_end(directory)
    (directory / "deep").mkdir()
    (directory / "deep" / "file").write_text("x")
    plain = subprocess.Popen(SLEEP, env=supervisor.environ())
    deaf = subprocess.Popen(DEAF, env=supervisor.environ(), stdout=subprocess.PIPE)
    deaf.stdout.readline()
    stopped = subprocess.Popen(SLEEP, env=supervisor.environ())
    stopped.send_signal(signal.SIGSTOP)
    other_uid = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    dropped = subprocess.Popen(["sleep", "600"], env=supervisor.environ(), cwd="/", **other_uid)
    shell = ["sh", "-c", "env -i sleep 600 & echo $!; wait"]
    shell = subprocess.Popen(shell, env=supervisor.environ(), stdout=subprocess.PIPE)
    bare = int(shell.stdout.readline())
    wiped = ["/bin/sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!; wait"]
    wiped = subprocess.Popen(wiped, env={}, cwd="/", stdout=subprocess.PIPE, **other_uid)
    supervisor.stop_at_end(wiped.pid)
    of_wiped = int(wiped.stdout.readline())
    pids = [plain.pid, deaf.pid, stopped.pid, dropped.pid, shell.pid, bare, orphan(supervisor), wiped.pid, of_wiped]
    directories = [str(directory), str(folder)]
    print(json.dumps({"token": supervisor.token, "directories": directories, "pids": pids}), flush=True)
    sys.stdin.read()
"""

POOLING_PARENT = """
import json, os, sys
from pathlib import Path
import psutil
from rig.machine.supervisor import Supervisor
from rig.storms.pooler import run_pooler

DSN = "postgresql://user:word@127.0.0.1:1/none"

with Supervisor() as supervisor:
    del os.environ["RIG_RUN"]  # as if the pooler's could not be read
    with run_pooler(DSN, os.environ, server_connections=2, log_file=Path(os.devnull)):
        (pooler,) = [child for child in psutil.Process().children() if child.name() == "pgbouncer"]
        config = Path(pooler.cmdline()[-1])
        report = {"token": supervisor.token, "directories": [str(config.parent)], "pids": [pooler.pid]}
        print(json.dumps(report), flush=True)
        sys.stdin.read()
"""

ADOPTING_PARENT = """
import json, subprocess, sys
from pathlib import Path
from rig.machine.child import start
from rig.machine.orphans import adopt_orphans
from rig.machine.supervisor import Supervisor, register_orphan

adopt_orphans(register_orphan)
with Supervisor() as supervisor:
    directory = Path(sys.argv[1], "registered")
    directory.mkdir()
    supervisor.remove_at_end(directory)
    leaves = "setsid true & env -i setsid sh -c 'echo $$; exec sleep 600' &"
    target = start(["sh", "-c", leaves], stdout=subprocess.PIPE)
    bare = int(target.stdout.readline())
    target.wait()
    print(json.dumps({"token": supervisor.token, "directories": [str(directory)], "pids": [bare]}), flush=True)
    sys.stdin.read()
    print(json.dumps([each.pid for each in supervisor.processes()]), flush=True)
"""

NESTING_PARENT = """
import subprocess, sys
from rig.machine.supervisor import Supervisor
with Supervisor() as outer:
    subprocess.run([sys.executable, "-c", sys.argv[1]], env=outer.environ())
"""


UNDOING_PARENT = """
import sys
import tempfile
from rig.machine.supervisor import Supervisor

def undo(name):
    program = "import os, sys; open(sys.argv[1], 'w').write(os.environ.get('SECRET', ''))"
    return [sys.executable, "-c", program, f"{sys.argv[1]}/{name}"]

with Supervisor() as supervisor:
    with supervisor.undone_at_end(undo("done")):
        pass
    open(f"{sys.argv[1]}/done", "w").write("undone once")
    with supervisor.undone_at_end(undo("left"), {"SECRET": "word"}):
        print("broken", flush=True)
        sys.stdin.read()
"""


class Run:
    """A rig-like parent in its own process, and what it says that it started."""

    def __init__(self, *command: str) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.token = ""
        self.directories: list[Path] = []
        self.processes: list[psutil.Process] = []
        """Its children, two that lost the marker with a child of one, one that lost its parent, and the reaper."""

    def read(self) -> None:
        assert self.parent.stdout is not None
        report = json.loads(self.parent.stdout.readline())
        self.token = report["token"]
        self.directories = [Path(directory) for directory in report["directories"]]
        assert all(directory.exists() for directory in self.directories)
        self.processes = [*map(psutil.Process, report["pids"]), reaper_of(self.token)]

    def end(self) -> int:
        """Tell the parent to end normally; its exit code."""
        assert self.parent.stdin is not None
        self.parent.stdin.close()
        return self.parent.wait(PATIENCE_S)

    def close(self) -> None:
        """End what a failed test leaves."""
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.parent.kill()
        self.parent.wait()
        for pipe in (self.parent.stdin, self.parent.stdout):
            assert pipe is not None
            pipe.close()
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def started() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*command: str) -> Run:
        run = Run(*command)
        runs.append(run)
        run.read()
        return run

    yield start
    for run in runs:
        run.close()


def reaper_of(token: str) -> psutil.Process:
    """Its command line is empty for a moment: the kernel closes what execve(2) closes before it sets the arguments."""
    found: list[psutil.Process] = []

    def look() -> bool:
        ending = ["-m", "rig.machine.supervisor", token]
        found[:] = [each for each in psutil.process_iter() if words(each)[-3:] == ending]
        return bool(found)

    wait_until(look)
    (reaper,) = found
    return reaper


def all_ended(processes: list[psutil.Process]) -> bool:
    return not any(alive(each) for each in processes)


def test_nothing_is_left_when_the_parent_is_killed(started: Callable[..., Run]) -> None:
    run = started(PARENT)
    run.parent.kill()
    wait_until(lambda: all_ended(run.processes))
    assert not any(directory.exists() for directory in run.directories)


def test_nothing_is_left_after_a_normal_exit(started: Callable[..., Run]) -> None:
    run = started(PARENT)
    assert run.end() == 0
    assert all_ended(run.processes)
    assert not any(directory.exists() for directory in run.directories)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the signals of a process are read from /proc")
def is_in_the_journal(run: Run, pid: int) -> bool:
    journal = Path(tempfile.gettempdir(), f"rig-run-{run.token}.jsonl")
    return any(json.loads(line)[:2] == ["process", pid] for line in journal.read_text().splitlines())


def test_what_left_session_environment_and_parent_is_found_and_ended(
    started: Callable[..., Run], tmp_path: Path
) -> None:
    run = started(ADOPTING_PARENT, str(tmp_path))
    wait_until(lambda: not [each for each in psutil.Process(run.parent.pid).children() if not alive(each)])
    bare = run.processes[0]
    assert bare.ppid() == run.parent.pid
    assert run.parent.stdin is not None
    run.parent.stdin.close()
    assert run.parent.stdout is not None
    assert bare.pid in json.loads(run.parent.stdout.readline())
    assert run.parent.wait(PATIENCE_S) == 0
    assert all_ended(run.processes)


def test_it_is_ended_when_the_parent_is_killed_too(started: Callable[..., Run], tmp_path: Path) -> None:
    run = started(ADOPTING_PARENT, str(tmp_path))
    bare = run.processes[0]
    wait_until(lambda: is_in_the_journal(run, bare.pid))
    run.parent.kill()
    wait_until(lambda: all_ended(run.processes))
    wait_until(lambda: not Path(tempfile.gettempdir(), f"rig-run-{run.token}.jsonl").exists())


def test_what_is_left_when_rig_and_reaper_are_killed_is_named_by_the_next_run(
    started: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = started(ADOPTING_PARENT, str(tmp_path))
    bare, reaper = run.processes
    wait_until(lambda: is_in_the_journal(run, bare.pid))
    assert not leftovers_of(run.token)
    reaper.kill()
    run.parent.kill()
    run.parent.wait()
    wait_until(lambda: bare.pid in leftovers_of(run.token))
    assert run.directories[0] in left_directories()
    (finding,) = look_before()
    assert f"{bare.pid} (sleep)" in finding.detail
    assert f"remove {run.directories[0]}" in caplog.text
    bare.kill()
    run.directories[0].rmdir()
    wait_until(lambda: run.directories[0] not in left_directories())
    assert not leftovers_of(run.token)


def test_the_reaper_outlives_interrupt_and_terminate(started: Callable[..., Run]) -> None:
    run = started(PARENT)
    reaper = reaper_of(run.token)
    ignored = sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    # Not before it listens: a reaper that is still starting would die of the signal.
    wait_until(lambda: ignored_signals(reaper) & ignored == ignored)
    for number in (signal.SIGINT, signal.SIGTERM):
        reaper.send_signal(number)
    run.parent.kill()
    wait_until(lambda: all_ended(run.processes))


def ignored_signals(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("SigIgn:")]
    return int(line.split()[1], 16)


def test_a_run_inside_a_run_is_left_to_its_own_reaper(started: Callable[..., Run]) -> None:
    run = started(NESTING_PARENT, PARENT)
    run.parent.kill()
    wait_until(lambda: all_ended(run.processes))
    wait_until(lambda: not any(directory.exists() for directory in run.directories))


@pytest.mark.skipif(find_pooler(os.environ) is None, reason="pgbouncer is not installed")
def test_a_pooler_and_the_password_in_its_folder_go_when_the_parent_is_killed(started: Callable[..., Run]) -> None:
    run = started(POOLING_PARENT)
    run.parent.kill()
    wait_until(lambda: all_ended(run.processes))
    assert not any(directory.exists() for directory in run.directories)


def test_the_supervisor_entered_last_is_the_current_one() -> None:
    with Supervisor() as outer:
        with Supervisor() as inner:
            assert current_supervisor() is inner
        assert current_supervisor() is outer
    assert current_supervisor() is not outer


def test_a_registered_process_that_still_runs_at_the_end_is_named() -> None:
    with Supervisor() as supervisor:
        child = subprocess.Popen(["/bin/sleep", "600"], env={})
        assert supervisor.processes() == []
        supervisor.stop_at_end(child.pid)
        assert [each.pid for each in supervisor.processes()] == [child.pid]
    assert child.wait(PATIENCE_S) == -signal.SIGTERM


def test_processes_lists_what_runs_and_leaves_out_the_reaper() -> None:
    with Supervisor() as supervisor:
        assert supervisor.processes() == []
        child = subprocess.Popen(["sleep", "600"], env=supervisor.environ())
        assert [(each.pid, each.run) for each in supervisor.processes()] == [(child.pid, supervisor.token)]
        assert leftovers_of(supervisor.token) == []  # its run still stands
        child.kill()
        child.wait()
        assert supervisor.processes() == []


def test_leftovers_are_the_processes_of_runs_that_are_over() -> None:
    token = f"over-{os.getpid()}"
    forgotten = subprocess.Popen(["sleep", "600"], env=dict(os.environ) | {MARKER: token})
    try:
        assert leftovers_of(token) == [forgotten.pid]
    finally:
        forgotten.kill()
        forgotten.wait()
    assert leftovers_of(token) == []


def test_a_run_that_ends_meanwhile_leaves_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    token = f"ending-{os.getpid()}"
    ending = subprocess.Popen(["sleep", "600"], env=dict(os.environ) | {MARKER: token})

    def ends() -> Iterator[str]:
        """It ends between the look for processes and the one for reapers."""
        ending.kill()
        ending.wait()
        yield from ()

    monkeypatch.setattr(rig.machine.abandoned, "_unfinished_runs", ends)
    try:
        assert leftovers_of(token) == []
    finally:
        ending.kill()
        ending.wait()


def leftovers_of(token: str) -> list[int]:
    return [each.pid for each in leftovers() if each.run == token]


def test_the_environment_carries_the_marker_and_gets_its_own_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKER, "outer")
    with Supervisor() as supervisor:
        assert os.environ[MARKER] == supervisor.environ()[MARKER] == supervisor.marker[MARKER] == supervisor.token
    assert os.environ[MARKER] == "outer"


def test_only_absolute_paths_below_the_root_are_registered() -> None:
    with Supervisor() as supervisor:
        for path in (Path("relative"), Path("/")):
            with pytest.raises(RigError, match="absolute"):
                supervisor.remove_at_end(path)


def test_what_was_changed_is_undone_once_and_also_when_the_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNDOING_PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "broken\n"
        assert not (tmp_path / "left").exists()
        parent.kill()
    wait_until(lambda: (tmp_path / "left").exists() and (tmp_path / "left").read_text() == "word")
    assert (tmp_path / "done").read_text() == "undone once"


def test_what_cannot_be_undone_is_an_error_that_repeats_no_words() -> None:
    failing = ["sh", "-c", "echo secret; exit 3"]
    with (
        Supervisor() as supervisor,
        pytest.raises(RigError, match="could not be undone by sh: exit code 3") as raised,
        supervisor.undone_at_end(failing),
    ):
        pass
    assert "secret" not in str(raised.value)


def test_a_dead_reaper_is_noticed(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        reaper = reaper_of(supervisor.token)
        reaper.kill()
        reaper.wait(PATIENCE_S)
        with pytest.raises(RigError, match="reaper"):
            supervisor.remove_at_end(tmp_path / "anything")


def test_it_must_be_entered_first(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="before it was entered"):
        Supervisor().remove_at_end(tmp_path)
