"""What the machine did in between two looks: busy cores, steal, time that a CPU quota took away.

Flow: ``Watch()`` looks once; ``Watch.since()`` gives the difference as shares. Read from the kernel's own counters
(psutil, the cgroup's ``cpu.stat``); where there is no cgroup, nothing is throttled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened: busy share of each core, stolen share of all, seconds throttled."""

    cores_busy: tuple[float, ...]
    steal: float
    throttled_s: float

    @property
    def busy(self) -> float:
        """Busy share of the whole machine."""
        return sum(self.cores_busy) / len(self.cores_busy) if self.cores_busy else 0.0


class Watch:
    """A look at the machine's counters, to be compared with a later one."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_times(percpu=True)
        self._throttled_s = throttled_s()

    def since(self) -> Interval:
        """What happened since this watch was made."""
        busy, stolen = [], []
        for before, after in zip(self._cores, psutil.cpu_times(percpu=True), strict=True):
            total = sum(after) - sum(before)
            idle = (after.idle - before.idle) + getattr(after, "iowait", 0) - getattr(before, "iowait", 0)
            steal = getattr(after, "steal", 0) - getattr(before, "steal", 0)
            busy.append(max(0.0, 1 - idle / total) if total > 0 else 0.0)
            stolen.append(max(0.0, steal / total) if total > 0 else 0.0)
        return Interval(tuple(busy), sum(stolen) / len(stolen), max(0.0, throttled_s() - self._throttled_s))


def cgroup_folder() -> Path | None:
    """The folder with this process's CPU controller (cgroup v2, else v1), None where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if number == "0" and not controllers:
            folder = CGROUP_ROOT / path.lstrip("/")
        elif "cpu" in names:
            folder = CGROUP_ROOT / controllers / path.lstrip("/")
            folder = folder if folder.is_dir() else CGROUP_ROOT / "cpu" / path.lstrip("/")
        else:
            continue
        if (folder / "cpu.stat").is_file():
            return folder
    return None


def throttled_s() -> float:
    """Seconds for which this process's cgroup was held back by its quota so far."""
    folder = cgroup_folder()
    if folder is None:
        return 0.0
    try:
        pairs = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0.0
    if "throttled_usec" in pairs:
        return int(pairs["throttled_usec"]) / 1e6
    return int(pairs.get("throttled_time", 0)) / 1e9


def quota_cores() -> float | None:
    """How many cores the cgroup's quota allows, None where it sets no limit."""
    folder = cgroup_folder()
    if folder is None:
        return None
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def allowed_cores() -> float:
    """Cores that this process may use: its affinity, and its cgroup's quota where that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(float(affinity), quota_cores() or float(affinity))
