"""How much CPU a process may use, and what a quota took away: its control group, its affinity.

``find_group`` is for both controllers that the rig sets limits with.

All is read from the kernel's files. Where there is no control group, nothing is limited or throttled. Only the
standard library is imported, so that a sampler starts quickly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
Controller = Literal["cpu", "memory"]


@dataclass(frozen=True, slots=True)
class CpuGroup:
    """The control group that limits this process's CPU: the folders of its CPU controller, from the inside out.

    ``alone`` is True when there are groups outside this one, so that the limit may not be the whole machine's.
    """

    folders: tuple[Path, ...] = ()
    alone: bool = False

    @classmethod
    def of_this_process(cls, root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> CpuGroup:
        """Find it (cgroup v1, else v2). It has no folders where there is none."""
        folders = find_group("cpu", root, membership)
        return cls(folders, alone=len(folders) > 1)

    def throttled_s(self) -> float:
        """Seconds for which its own quota or an outer one has held it back so far."""
        return max((_throttled_s(folder) for folder in self.folders), default=0.0)

    def quota_cores(self) -> float | None:
        """How many cores its quotas allow, None where none sets a limit."""
        quotas = (_quota_cores(folder) for folder in self.folders)
        return min((quota for quota in quotas if quota is not None), default=None)


def find_group(controller: Controller, root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> tuple[Path, ...]:
    """The folders of this process's group and those around it, from the inside out; none where there is no group."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return ()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        file = f"{controller}.stat" if controllers else "cpu.stat"  # in version 2 each group has that
        for top in (root / controllers, root / controller) if controllers else (root,):
            # In a container the path may be the host's, while only the group itself is mounted.
            own = next((each for each in (top / path.lstrip("/"), top) if (each / file).is_file()), None)
            if own is not None:
                return (own, *(each for each in own.parents if each.is_relative_to(top)))
    return ()


def _throttled_s(folder: Path) -> float:
    try:
        pairs = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        if "throttled_usec" in pairs:
            return int(pairs["throttled_usec"]) / 1e6
        return int(pairs.get("throttled_time", 0)) / 1e9
    except (OSError, ValueError):
        return 0.0


def _quota_cores(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def worker_cores(pid: int) -> float:
    """How many cores one thread of a process may use: its quota where that is less than one, else 1."""
    group = CpuGroup.of_this_process(membership=Path(f"/proc/{pid}/cgroup"))
    return min(1.0, group.quota_cores() or 1.0)


def throttled_s() -> float:
    """Seconds for which a quota held this process's group back so far."""
    return CpuGroup.of_this_process().throttled_s()


def quota_cores() -> float | None:
    """How many cores the quotas of this process's group allow, None where there is no limit."""
    return CpuGroup.of_this_process().quota_cores()


def allowed_cores() -> float:
    """Cores that this process may use: its affinity, and its group's quota where that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(float(affinity), quota_cores() or float(affinity))
