"""Child processes of the rig: how any of them is started, waited for, and ended.

Each has a session of its own: Ctrl-C in a terminal is for the rig, which ends its children in its turn.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import psutil

from rig.errors import RigError
from rig.machine import open_files
from rig.machine.processes import alive, children, find_session

READY_S = 15.0
"""From the start of a module of ours to its first line; a machine under load takes its time for the imports."""
started: set[int] = set()
"""Pids of the children with a session of their own; those of the others show in their session."""
_STOP_S = 5.0
_POLL_S = 0.02


def python_module(name: str) -> list[str]:
    """The beginning of a command line that runs a module of ours, or of a library, in this Python.

    ``-P`` keeps the working directory off its path, so that no ``scenarios/`` or ``secrets.py`` of the user is
    imported.
    """
    return [sys.executable, "-P", "-m", name]


def start(
    command: Sequence[str | Path], *, output: Path | int | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a child that reads nothing.

    ``output`` is where it writes: a log file, which is appended to, or a file descriptor; None is where this process
    writes. ``options`` go to ``Popen``. OSError where it cannot be started.
    """
    with ExitStack() as stack:
        sink = stack.enter_context(output.open("ab")) if isinstance(output, Path) else output
        streams = {"stdin": subprocess.DEVNULL, "stdout": sink, "stderr": sink} | options
        return cast("subprocess.Popen[bytes]", _popen(list(command), **streams))


def start_with_pipes(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a child that reads lines of text from a pipe and answers through another."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options
    return cast("subprocess.Popen[str]", _popen(command, text=True, **streams))


def run_to_end(command: Sequence[str | Path], timeout_s: float, **options: Any) -> subprocess.CompletedProcess[Any]:
    """As ``subprocess.run``, for a command of others: it reads nothing, and all that is in its session ends with a
    timeout or an interrupt.
    """
    with _popen(list(command), **{"stdin": subprocess.DEVNULL} | options) as process:
        try:
            said, complained = process.communicate(timeout=timeout_s)
        except BaseException:
            _signal_session(process, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


def _popen(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    process = subprocess.Popen(command, start_new_session=True, **options)
    started.add(process.pid)
    return process


@contextmanager
def running(
    command: Sequence[str | Path], stop_timeout_s: float, *, output: Path | int | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """As ``start``, for the time of the context: then the child and all that is in its session are ended."""
    process = start(command, output=output, **options)
    try:
        yield process
    finally:
        end(process, stop_timeout_s, session=True)


@contextmanager
def listening(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a module that writes its port as its first line (``{"port": 8080}``) and ends when its input does.

    Gives the process and the port. RigError when it ends before it listens, or does not listen in time.
    """
    with start_with_pipes([*python_module(module), *arguments]) as process:
        assert process.stdin is not None
        try:
            with suppress(OSError):  # it has ended
                open_files.raise_limit(process.pid)
            line = read_first_line(process, READY_S)
            if line is None:
                raise RigError(f"{module} does not listen after {READY_S:g} s")
            if not line:
                code = wait_for_end(process, _STOP_S)
                raise RigError(f"{module} ended with exit code {code} before it listened")
            yield process, json.loads(line)["port"]
        finally:
            with suppress(BrokenPipeError):  # it is gone and did not read the last line that was sent to it
                process.stdin.close()
            wait_for_end(process, _STOP_S)


def read_first_line(process: subprocess.Popen[Any], timeout_s: float) -> bytes | None:
    """The first line of its output: empty where it ended without one, None where it has not come in time."""
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([process.stdout], [], [], left_s)[0]:
            return None
        read = os.read(process.stdout.fileno(), 1 << 16)
        if not read:
            return b""
        line += read
    return line


def wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[Any] | None, timeout_s: float) -> bool:
    """Ask until it is ready; False where the process ended first, or where ``timeout_s`` seconds have passed."""
    deadline = time.monotonic() + timeout_s
    while process is None or process.poll() is None:
        if is_ready():
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return False


def end(process: subprocess.Popen[Any], timeout_s: float, *, session: bool = False) -> int:
    """Send SIGTERM and, after ``timeout_s`` seconds, SIGKILL; its exit code.

    ``session``: it leads one. What it leaves of its session and of its descendants (the workers of ``php -S``, the
    server behind a shell) is ended in the same way, within the same time.
    """
    if session and process.returncode is None:
        return _end_with_session(process, time.monotonic() + timeout_s)
    if process.poll() is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a stopped process would not see the first
    return wait_for_end(process, timeout_s)


def wait_for_end(process: subprocess.Popen[Any], timeout_s: float) -> int:
    """As ``end``, for a process that ends by itself, or was already asked to."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _end_with_session(leader: subprocess.Popen[Any], deadline_s: float) -> int:
    """Its exit code is taken last: until then its number is its own, and so is its session."""
    below = children(leader.pid, recursive=True)  # some have a session of their own, as php-fpm does
    os.kill(leader.pid, signal.SIGTERM)
    _signal_session(leader, signal.SIGCONT)
    if not _has_ended(leader, deadline_s):
        _signal_session(leader, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = _find_left(leader.pid, below)
        for each in left:
            with suppress(psutil.Error):
                each.send_signal(number)
                each.resume()  # a stopped one would not see it
        while number is signal.SIGTERM and any(map(alive, left)) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
    return leader.wait()


def _has_ended(process: subprocess.Popen[Any], deadline_s: float) -> bool:
    """Wait until a process has ended, without taking its exit code; False where it runs on."""
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _find_left(leader: int, below: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Who still runs of its descendants and of its session, without itself."""
    found = {each.pid: each for each in (*below, *find_session(leader))}
    return [each for pid, each in found.items() if pid != leader and alive(each)]


def _signal_session(leader: subprocess.Popen[Any], number: signal.Signals) -> None:
    if leader.returncode is None:  # not waited for yet: the number is still its own
        os.killpg(leader.pid, number)


def is_listening(port: int) -> bool:
    """Whether somebody takes connections at a port of 127.0.0.1."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now. Another process may take it before the caller's child does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
