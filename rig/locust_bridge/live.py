"""What the live tabs show while a test goes on: the last seconds of the samplers, as rows of a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rig.diagnose import aas, cpu
from rig.diagnose.cpu import UNSEEN_PID
from rig.diagnose.strangers import Span, find_strangers
from rig.evidence.journal import JournalLine, JournalTail
from rig.evidence.sample_files import SUFFIX, samples_of

WINDOW_NS = 5_000_000_000
_KEPT_NS = 2 * WINDOW_NS
"""Counters are read off between the ticks around the window's start."""
_PROCESSES_MOST = 15
_IDLE_SHARE = 0.02
"""A process that uses less of a core is not shown."""
_KEPT_WHOLE = "processes"
"""Who the processes are is said once, when they are first seen."""


class Live:
    """What the samplers of one test write to ``folder``. Each look reads what is new, however long the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tails: dict[str, JournalTail] = {}
        self._lines: dict[str, list[JournalLine]] = {}

    def look(self) -> dict[str, Any]:
        """Average active sessions by wait event, cores by role, CPU by process, over the last few seconds."""
        end_ns = time.monotonic_ns()
        self._read(end_ns - _KEPT_NS)
        samples = samples_of(self._lines)
        start_ns = end_ns - WINDOW_NS
        seconds = WINDOW_NS / 1e9
        processes = cpu.by_process(samples, start_ns, end_ns)
        strangers = find_strangers(samples, [Span(start_ns, end_ns)])
        return {
            "strangers": str(strangers) if strangers and strangers.noticeable else "",
            "sessions": [
                {"event": str(name), "sessions": round(float(value), 2)}
                for name, value in aas.by_event(samples, start_ns, end_ns).items()
            ],
            "roles": [
                {"role": str(role), "cores": round(float(cores), 2)}
                for role, cores in cpu.by_role(samples, start_ns, end_ns).items()
            ],
            "processes": [
                *(
                    {"pid": _name(int(pid)), "role": str(role), "cores": round(float(cpu_s) / seconds, 2)}
                    for pid, role, cpu_s in processes.head(_PROCESSES_MOST).itertuples(index=False)
                    if cpu_s >= _IDLE_SHARE * seconds
                ),
                *(
                    {"pid": "", "role": f"other: {name}", "cores": round(cores, 2)}
                    for name, cores in (strangers.names if strangers else ())
                ),
            ],
        }

    def _read(self, since_ns: int) -> None:
        for path in sorted(self._folder.glob("*" + SUFFIX)):
            tail = self._tails.setdefault(path.stem, JournalTail(path))
            lines = [*self._lines.get(path.stem, ()), *tail.news()]
            self._lines[path.stem] = [line for line in lines if line[1] >= since_ns or line[0] == _KEPT_WHOLE]


def _name(pid: int) -> str:
    return "ended meanwhile" if pid == UNSEEN_PID else str(pid)
