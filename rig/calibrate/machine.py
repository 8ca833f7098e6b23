"""What the machine did in between two looks: busy cores, steal, time that a CPU quota took away.

Flow: ``Watch()`` looks once; ``Watch.since()`` gives the difference as shares. Read from the kernel's own counters
(psutil, ``rig.machine.cgroup``).
"""

from __future__ import annotations

import psutil

from rig.evidence.scenario_runs import Interval
from rig.machine.cgroup import CpuGroup


class Watch:
    """A look at the machine's counters, to be compared with a later one."""

    def __init__(self) -> None:
        self._group = CpuGroup.of_this_process()
        self._cores = psutil.cpu_times(percpu=True)
        self._throttled_s = self._group.throttled_s()

    def since(self) -> Interval:
        """What happened since this watch was made."""
        busy, stolen = [], []
        for before, after in zip(self._cores, psutil.cpu_times(percpu=True), strict=True):
            total = sum(after) - sum(before)
            idle = (after.idle - before.idle) + getattr(after, "iowait", 0) - getattr(before, "iowait", 0)
            steal = getattr(after, "steal", 0) - getattr(before, "steal", 0)
            busy.append(max(0.0, 1 - idle / total) if total > 0 else 0.0)
            stolen.append(max(0.0, steal / total) if total > 0 else 0.0)
        return Interval(tuple(busy), sum(stolen) / len(stolen), max(0.0, self._group.throttled_s() - self._throttled_s))
