"""Starts a locust master with the rig's locustfile and native workers beside it: what ``rig ui`` and ``rig mix`` do.

Master and workers are processes of their own; locust is only ever imported by the master.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rig.errors import ExitCode, worst_exit
from rig.locust_bridge.keys import WORKER_KEY, new_key
from rig.machine.child import end, free_port, python_module, start
from rig.machine.extras import require
from rig.machine.supervisor import Supervisor
from rig.profile.discovery import ProfileChoice
from rig.settings import Settings

_STOP_S = 90.0
"""A master that is asked to end still collects accounts and reads the truth."""
_WORKER_STOP_S = 15.0
_QUIT_S = 5.0
"""A worker that is told to quit has given its account before."""
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class LocustCommand:
    """What is started. ``arguments`` go to locust; ``web_port`` None is headless."""

    arguments: tuple[str, ...]
    workers: int = 1
    web_port: int | None = None
    allow_host: str | None = None

    def master_command(self, port: int) -> list[str]:
        web = (
            ("--headless",) if self.web_port is None else ("--web-host", "127.0.0.1", "--web-port", str(self.web_port))
        )
        here = ("--master-bind-host", "127.0.0.1", "--master-bind-port", str(port))
        waiting = ("--expect-workers", str(self.workers), "--expect-workers-max-wait", "120")
        return [
            *(*python_module("locust"), "-f", str(locustfile()), "--master", *here, *waiting, *web),
            *self.arguments,
        ]


def locustfile() -> Path:
    """Where the locustfile lies; found without importing it, for that would import locust."""
    spec = find_spec("scenarios")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("locustfile.py")


def worker_command(port: int, allow_host: str | None) -> list[str]:
    """The command line of a native worker on the master's machine."""
    allowed = ("--allow-host", allow_host) if allow_host else ()
    return [*python_module("rig"), "worker", "--master", f"127.0.0.1:{port}", *allowed]


def options_of_session(choice: ProfileChoice, settings: Settings) -> tuple[str, ...]:
    """The rig's options on locust's command line (``rig.locust_bridge.master_options``)."""
    names = ("out", "seed", "null_seconds", "last_look_s", "max_requests", "allow_host", "defects")
    return (*settings.words(*names, prefix="rig-"), *choice.words("--rig-"))


def lead(command: LocustCommand) -> int:
    """Start master and workers, wait for the master's end, see that everything ends; the master's exit code.

    UsageError where locust is not installed. Ctrl-C ends the master as it would alone: what was gathered is judged.
    """
    require("locust", "locust")
    port = free_port()
    with Supervisor() as supervisor:
        environ = supervisor.environ() | {WORKER_KEY: new_key()}
        # Sessions of their own: Ctrl-C in a terminal is for this process, which ends the others in their turn.
        master = start(command.master_command(port), env=environ)
        workers = [start(worker_command(port, command.allow_host), env=environ) for _ in range(command.workers)]
        try:
            code = _wait_for_end(master, workers)
        except KeyboardInterrupt:
            code = end(master, _STOP_S)
            if code < 0:  # it was told before it could listen
                code = ExitCode.INTERRUPTED
        finally:
            _end(workers, _QUIT_S if (master.returncode or 0) >= 0 else 0.0)
    return code if code >= 0 else ExitCode.INTERNAL


def _wait_for_end(master: subprocess.Popen[bytes], workers: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for the master's end; where all workers failed before it, end it: its verdict, else how they ended."""
    while True:
        try:
            return master.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            failed = _failures(workers)
        if failed:
            code = end(master, _STOP_S)
            judged = code in (ExitCode.FAIL, ExitCode.INVALID)
            return code if judged else worst_exit(failed)


def _failures(workers: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """How all of them ended; empty while one lives, or where one was told to quit."""
    codes = [worker.poll() for worker in workers]
    return [code for code in codes if code] if all(codes) else []


def _end(workers: Sequence[subprocess.Popen[bytes]], quit_s: float) -> None:
    """The master has told them to quit, unless it died: then they have no time to do so by themselves."""
    for worker in workers:
        try:
            worker.wait(quit_s)
        except subprocess.TimeoutExpired:
            end(worker, _WORKER_STOP_S)
