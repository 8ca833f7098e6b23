"""The crowd's gates against their defect: a short mix that locust leads, whole, and with a worker killed in the middle.

Flow: a headless master and two native workers run as ``rig mix`` starts them, their output in a file; once all users
are there one worker may be killed with SIGKILL. The pack that the master leaves is judged from its files.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rig.checks.judge import judge
from rig.errors import RigError
from rig.evidence.gate import Gate
from rig.evidence.pack import Pack
from rig.locust_bridge.launch import Crowd
from rig.machine.child import end
from rig.machine.ports import free_port
from rig.machine.supervisor import Supervisor, temporary_folder
from rig.run.job import Job
from rig.selftest.defects import Defect

SECONDS, USERS, WORKERS = 4, 10, 2
KILLED_SECONDS = 8
"""A master notices that a worker is gone after some seconds of silence: the mix has to last longer."""
_SPAWNED = "All users spawned"
_START_S, _END_S = 60.0, 120.0
_POLL_S = 0.05


def crowd(job: Job, defect: Defect, environ: Mapping[str, str]) -> tuple[Path, dict[str, Gate]]:
    """Run the mix, with the defect; its pack and gates. RigError when the master leaves none in time."""
    killed = defect.name == "crowd-worker-killed"
    out = job.settings.out / f"prove-{defect.name}"
    before = set(out.glob("*/manifest.json"))
    mix = Crowd((*_words(killed), "--rig-out", str(out), "--rig-seed", str(job.settings.seed)), WORKERS)
    with Supervisor() as supervisor, temporary_folder("rig-crowd-") as logs, ExitStack() as stack:
        port = free_port()
        log_file = logs / "master.log"
        with log_file.open("wb") as log:
            commands = [mix.master_command(port), *[mix.worker_command(port)] * WORKERS]
            processes = [_started(command, {**environ, **supervisor.marker}, log.fileno()) for command in commands]
        stack.callback(_end, processes)
        if killed:
            _wait_for(_SPAWNED, log_file, processes[0])
            processes[-1].kill()
        try:
            processes[0].wait(_END_S)
        except subprocess.TimeoutExpired:
            raise RigError(f"the crowd's master did not end: {_tail(log_file)}") from None
        if not (made := sorted(set(out.glob("*/manifest.json")) - before)):
            raise RigError(f"the crowd's master left no pack: {_tail(log_file)}")
    pack = Pack.open(made[-1].parent)
    return pack.path, {gate.id: gate for gate in judge(pack.load())}


def _words(killed: bool) -> tuple[str, ...]:
    seconds = KILLED_SECONDS if killed else SECONDS
    # Nothing is claimed about speed here: a weak null benchmark is enough, and quick.
    return ("-u", str(USERS), "-r", "50", "-t", f"{seconds}s", "--only-summary", "--rig-null-seconds", "0.1")


def _started(command: Sequence[str], environ: Mapping[str, str], log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _wait_for(text: str, log_file: Path, master: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while text not in log_file.read_text(errors="replace"):
        if master.poll() is not None or time.monotonic() > deadline:
            raise RigError(f"the crowd did not come together: {_tail(log_file)}")
        time.sleep(_POLL_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """The master has told its workers to quit; whoever is still there was not told, or does not listen."""
    for process in processes:
        end(process, _END_S / 8)


def _tail(log_file: Path) -> str:
    return " | ".join(log_file.read_text(errors="replace").strip().splitlines()[-3:])
