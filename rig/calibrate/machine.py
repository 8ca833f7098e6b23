"""What the machine did between two moments: busy cores, steal, time that a CPU quota took away.

Flow: ``CpuWatch()`` reads the kernel's counters (psutil, ``rig.machine.cgroup``); ``CpuWatch.since()`` reads them again
and gives the difference as shares. ``run_and_watch`` does so around the timed part of a scenario run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psutil

from rig.engine.pool import Load, LoadWorkers
from rig.evidence.scenario_runs import Interval, ScenarioRun
from rig.machine.cgroup import CpuGroup


class CpuWatch:
    """The machine's counters at one moment, to be compared with a later one."""

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


def run_and_watch(
    pool: LoadWorkers,
    load: Load,
    *,
    on_start: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda rows: None,
) -> ScenarioRun:
    """``Pool.run_scenario``, its report with ``machine`` filled in.

    The machine is watched from the moment that the clock of the requests starts: preparation is not measured.
    ``on_start`` is called at the same moment.
    """
    watch = CpuWatch()

    def start_watch() -> None:
        nonlocal watch
        watch = CpuWatch()
        on_start()

    report = pool.run_scenario(load, started=start_watch, progress=progress)
    return replace(report, machine=watch.since())
