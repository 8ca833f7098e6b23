"""What the live tabs show while a test goes on: the last seconds of the samplers, as rows of a table."""

from __future__ import annotations

import time
from typing import Any

from rig.errors import EvidenceError
from rig.evidence.pack import Pack
from rig.samplers import aas, cpu
from rig.samplers.cpu import UNSEEN_PID
from rig.samplers.frames import read_samples

WINDOW_NS = 5_000_000_000


def look(pack: Pack) -> dict[str, Any]:
    """Average active sessions by wait event, cores by role, CPU by process, over the last few seconds."""
    try:
        samples = read_samples(pack.samples_folder)
    except EvidenceError:  # read in the middle of a line: the next look sees it whole
        return {}
    end_ns = time.monotonic_ns()
    start_ns = end_ns - WINDOW_NS
    seconds = WINDOW_NS / 1e9
    processes = cpu.by_process(samples, start_ns, end_ns)
    return {
        "sessions": [
            {"event": str(name), "sessions": round(float(value), 2)}
            for name, value in aas.by_event(samples, start_ns, end_ns).items()
        ],
        "roles": [
            {"role": str(role), "cores": round(float(cores), 2)}
            for role, cores in cpu.by_role(samples, start_ns, end_ns).items()
        ],
        "processes": [
            {"pid": _name(int(pid)), "role": str(role), "cores": round(float(cpu_s) / seconds, 2)}
            for pid, role, cpu_s in processes.head(30).itertuples(index=False)
        ],
    }


def _name(pid: int) -> str:
    return "ended meanwhile" if pid == UNSEEN_PID else str(pid)
