"""Child processes of the rig: one that listens on a port of its own, and how any of them is ended.

Each has a session of its own: Ctrl-C in a terminal is for the rig, which ends its children in its turn.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rig.errors import RigError

_STOP_S = 5.0


def python_module(name: str) -> list[str]:
    """The beginning of a command line that runs a module of ours, or of a library, in this Python.

    ``-P`` keeps the working directory off its path: a ``scenarios/`` or ``secrets.py`` of the user's is not meant.
    """
    return [sys.executable, "-P", "-m", name]


@contextmanager
def listening(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a module that says its port in its first line (``{"port": 8080}``) and ends with its input, and give both.

    RigError when it ends before it listens.
    """
    with subprocess.Popen(
        [*python_module(module), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RigError(f"{module} ended with exit code {ended(process, _STOP_S)} before it listened")
            yield process, json.loads(line)["port"]
        finally:
            with suppress(BrokenPipeError):  # it is gone, and did not hear what it was told last
                process.stdin.close()
            ended(process, _STOP_S)


def end(process: subprocess.Popen[Any], patience_s: float, *, session: bool = False) -> int:
    """SIGTERM and, past ``patience_s`` seconds, SIGKILL; its exit code.

    ``session``: it leads one, and all that is in it is killed with it.
    """
    if process.poll() is None:
        process.terminate()
        _tell(process, signal.SIGCONT, session=session)  # a stopped process would not see the first
    return ended(process, patience_s, session=session)


def ended(process: subprocess.Popen[Any], patience_s: float, *, session: bool = False) -> int:
    """As ``end``, for one that was told already to end, or knows by itself."""
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        _tell(process, signal.SIGKILL, session=session)
        return process.wait()


def _tell(process: subprocess.Popen[Any], number: signal.Signals, *, session: bool) -> None:
    if session and process.returncode is None:  # not waited for yet: the number is still its own
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
