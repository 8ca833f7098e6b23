"""A short ``rig mix``, whole or with a worker killed in the middle.

Flow: the verb runs as a user starts it, its output in a file. ``apply`` may make the mix longer, and may kill a worker
once all users are there. The pack that the master leaves is judged as any other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rig.errors import RigError
from rig.machine.child import python_module, running, wait_until
from rig.machine.processes import children, words
from rig.machine.supervisor import Supervisor, temporary_folder
from rig.run.job import Job
from rig.selftest.bench import Apply, beforehand
from rig.text import last_lines

KILLED_SECONDS = 8
"""A master notices that a worker is gone after some seconds of silence: the mix has to last longer."""
_SPAWNED = "All users spawned"
_START_S, _END_S, _STOP_S = 60.0, 120.0, 15.0


@dataclass(slots=True)
class MixTrial:
    """A mix before it begins. ``worker_killed``: one of its workers is killed as soon as all users are there."""

    seconds: int = 4
    worker_killed: bool = False


@beforehand
def kill_mix_worker(mix: MixTrial) -> None:
    """Kill a worker with SIGKILL once all users are there."""
    mix.seconds, mix.worker_killed = KILLED_SECONDS, True


def run_mix(job: Job, name: str, apply: Apply[MixTrial], environ: Mapping[str, str]) -> Path:
    """Run the mix under ``apply``; its pack. RigError when it leaves none in time."""
    out = job.settings.out / f"prove-{name}"
    before = set(out.glob("*/manifest.json"))
    mix = MixTrial()
    with apply(mix), Supervisor() as supervisor, temporary_folder("rig-mix-") as logs:
        environ = {**environ, **supervisor.marker}
        with running(_command(job, mix, out), _STOP_S, output=logs / "log", env=environ) as verb:
            problem = _wait_for_end(mix, verb, logs / "log")
        made = sorted(set(out.glob("*/manifest.json")) - before)
        if problem or not made:
            tail = last_lines((logs / "log").read_text(errors="replace"), 3)
            raise RigError(f"{problem or 'rig mix left no pack'}: {tail}")
    return made[-1].parent


def _command(job: Job, mix: MixTrial, out: Path) -> list[str]:
    # Nothing is claimed about speed here: a weak null benchmark is enough, and quick.
    options: dict[str, float] = {"users": 10, "workers": 2, "seconds": mix.seconds, "seed": job.settings.seed}
    options |= {"null-seconds": 0.1, "last-look": 0}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [*python_module("rig"), "mix", "--reference", "--out", str(out), *arguments]


def _wait_for_end(mix: MixTrial, verb: subprocess.Popen[bytes], log_file: Path) -> str:
    """What went wrong; empty where the verb has ended."""
    if mix.worker_killed:
        if not wait_until(lambda: _SPAWNED in log_file.read_text(errors="replace"), verb, _START_S):
            return "the users of rig mix did not start"
        next(child for child in children(verb.pid) if "worker" in words(child)).kill()
    try:
        verb.wait(_END_S)
    except subprocess.TimeoutExpired:
        return "rig mix did not end"
    return ""
