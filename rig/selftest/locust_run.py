"""A short mix that locust leads, whole or with a worker killed in the middle.

Flow: a headless master and two native workers run as ``rig mix`` starts them, their output in a file. ``apply`` may
make the mix longer, and may have something done once all users are there. The pack that the master leaves is judged as
any other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rig.errors import RigError
from rig.locust_bridge.launch import LocustCommand, worker_command
from rig.machine.child import end, start, wait_until
from rig.machine.ports import free_port
from rig.machine.supervisor import Supervisor, temporary_folder
from rig.run.job import Job
from rig.selftest.bench import Apply, beforehand
from rig.text import last_lines

USERS, WORKERS = 10, 2
KILLED_SECONDS = 8
"""A master notices that a worker is gone after some seconds of silence: the mix has to last longer."""
_SPAWNED = "All users spawned"
_START_S, _END_S = 60.0, 120.0

MixProcess = subprocess.Popen[bytes]


@dataclass(slots=True)
class Mix:
    """A mix before it begins. ``when_spawned`` gets the last worker as soon as all users are there."""

    seconds: int = 4
    when_spawned: Callable[[MixProcess], object] | None = None


@beforehand
def kill_mix_worker(mix: Mix) -> None:
    """Kill a worker with SIGKILL once all users are there."""
    mix.seconds, mix.when_spawned = KILLED_SECONDS, MixProcess.kill


def run_mix(job: Job, name: str, apply: Apply[Mix], environ: Mapping[str, str]) -> Path:
    """Run the mix under ``apply``; its pack. RigError when the master leaves none in time."""
    out = job.settings.out / f"prove-{name}"
    before = set(out.glob("*/manifest.json"))
    mix = Mix()
    with apply(mix), Supervisor() as supervisor, temporary_folder("rig-locust-run-") as logs, ExitStack() as stack:
        words = (*_words(mix), "--rig-out", str(out), "--rig-seed", str(job.settings.seed))
        log_file = logs / "master.log"
        master, *workers = _start(LocustCommand(words, WORKERS), {**environ, **supervisor.marker}, log_file, stack)
        if mix.when_spawned is not None:
            _wait_for(_SPAWNED, log_file, master)
            mix.when_spawned(workers[-1])
        try:
            master.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise RigError(f"locust's master did not end: {_last_words(log_file)}") from None
        if not (made := sorted(set(out.glob("*/manifest.json")) - before)):
            raise RigError(f"locust's master left no pack: {_last_words(log_file)}")
    return made[-1].parent


def _words(mix: Mix) -> tuple[str, ...]:
    # Nothing is claimed about speed here: a weak null benchmark is enough, and quick.
    return ("-u", str(USERS), "-r", "50", "-t", f"{mix.seconds}s", "--only-summary", "--rig-null-seconds", "0.1")


def _start(mix: LocustCommand, environ: Mapping[str, str], log_file: Path, stack: ExitStack) -> list[MixProcess]:
    """The master and its workers, which ``stack`` ends: the master has told them to quit, if it could."""
    port = free_port()
    processes = []
    for command in (mix.master_command(port), *[worker_command(port, None)] * WORKERS):
        processes.append(start(command, output=log_file, env={**os.environ, **environ}))
        stack.callback(end, processes[-1], _END_S / 8)
    return processes


def _wait_for(text: str, log_file: Path, master: MixProcess) -> None:
    if not wait_until(lambda: text in log_file.read_text(errors="replace"), master, _START_S):
        raise RigError(f"locust's workers did not come together: {_last_words(log_file)}")


def _last_words(log_file: Path) -> str:
    return last_lines(log_file.read_text(errors="replace"), 3)
