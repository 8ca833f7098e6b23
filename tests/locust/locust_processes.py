"""Starting locust as a user does: masters, native workers and the web UI, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rig.locust_bridge.launch import locustfile
from rig.machine.child import free_port
from tests.cli.commands import command, environment

QUICK = ("--rig-null-seconds", "0.1", "--rig-last-look", "0")
_END_S = 180.0
_POLL_S = 0.05


def locust(*words: str, file: Path | None = None) -> list[str]:
    """The command line of locust with the rig's locustfile."""
    return [sys.executable, "-m", "locust", "-f", str(file or locustfile()), *words]


def worker(port: int, *words: str) -> list[str]:
    """The command line of a native worker."""
    return command("worker", "--master", f"127.0.0.1:{port}", *words)


class Process:
    """A process whose output goes to a file."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                list(words), env=environment({}), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, timeout_s: float = _END_S) -> None:
        """Poll its output until it holds ``text``."""
        deadline = time.monotonic() + timeout_s
        while text not in self.said:
            assert self.popen.poll() is None, self.said
            assert time.monotonic() < deadline, f"{text!r} never came: {self.said}"
            time.sleep(_POLL_S)

    def end(self, timeout_s: float = _END_S) -> int:
        """Wait for its own end; the exit code."""
        return self.popen.wait(timeout_s)

    def kill(self) -> None:
        """End it now, if it lives."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGTERM)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()


@contextmanager
def processes(*commands: Sequence[str], logs: Path) -> Iterator[list[Process]]:
    """Some processes; whatever still runs at the end is ended."""
    started: list[Process] = []
    try:
        for number, words in enumerate(commands):
            started.append(Process(words, logs / f"{number}.log"))
        yield started
    finally:
        for process in reversed(started):
            process.kill()


class Ui:
    """The web UI of a running ``rig ui``, by its addresses. ``address`` is the one that it printed, with the token."""

    def __init__(self, port: int, process: Process) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        process.wait_for("?token=")
        _, _, said = process.said.partition("?token=")
        self.token = said.split()[0]
        self.address = f"{self.url}/?token={self.token}"

    def _ask(self, path: str, form: bytes | None = None) -> bytes:
        asked = urllib.request.Request(self.url + path, form, {"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> bytes:
        """The body of an answer."""
        return self._ask(path)

    def state(self) -> Any:
        """What ``/rig/state`` says."""
        return json.loads(self.get("/rig/state"))

    def post(self, path: str, **form: object) -> Any:
        """Send a form, as the page does; the answer."""
        return json.loads(self._ask(path, urllib.parse.urlencode(form).encode()))

    def until(self, condition: Any, timeout_s: float = _END_S) -> Any:
        """Poll the state until a condition on it holds."""
        deadline = time.monotonic() + timeout_s
        while True:
            assert self.process.popen.poll() is None, self.process.said
            try:
                if condition(state := self.state()):
                    return state
            except urllib.error.URLError:
                state = None
            assert time.monotonic() < deadline, f"{state}\n{self.process.said}"
            time.sleep(_POLL_S)


@contextmanager
def web_ui(tmp_path: Path, *words: str) -> Iterator[Ui]:
    """``rig ui``, ready for a test."""
    port = free_port()
    options = (
        "--web-port",
        str(port),
        "--out",
        str(tmp_path / "results"),
        "--null-seconds",
        "0.1",
        "--last-look",
        "0",
        *words,
    )
    with processes(command("ui", *options), logs=tmp_path) as (process,):
        ui = Ui(port, process)
        ui.until(lambda state: state["status"] == "ready")
        yield ui
