"""A CPU quota on processes, by a control group of its own, as a container has one.

Flow: ``open_quota`` makes the group next to or below the one that this process is in. ``CpuQuota.hold`` puts processes
into it; what they start later is in it too. At the end all go back to the group of this process, and the new one is
removed. Control groups of version 1 and 2. ``QuotaUnavailable`` where this user may make none, as is usual without
privileges. Not for reading limits: ``rig.machine.cgroup`` does that.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rig.errors import RigError
from rig.machine.cgroup import CpuGroup
from rig.machine.supervisor import current_supervisor

_PERIOD_US = 100_000
_REMOVE_TIMEOUT_S = 2.0
_POLL_S = 0.01


class QuotaUnavailable(RigError):
    """This user, or this machine, cannot limit processes."""


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """A group with a limit."""

    folder: Path
    home: Path
    """The group that its processes came from."""

    def hold(self, pids: Iterable[int]) -> None:
        """Put processes with all their threads under the quota; one that is gone is left out."""
        _move(pids, self.folder)

    def release(self) -> None:
        """Put everything back that is in the group, also what was started meanwhile."""
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        while (pids := _members(self.folder)) and time.monotonic() < deadline:
            _move(pids, self.home)


@contextmanager
def open_quota(cores: float) -> Iterator[CpuQuota]:
    """A group that may use so many cores. QuotaUnavailable where none can be made."""
    home = next(iter(CpuGroup.of_this_process().folders), None)
    if home is None:
        raise QuotaUnavailable("no CPU quota can be set: there is no control group with a CPU controller")
    quota = CpuQuota(_make_group(home, cores), home)
    if (supervisor := current_supervisor()) is not None:
        supervisor.remove_at_end(quota.folder)
    try:
        yield quota
    finally:
        quota.release()
        _remove(quota.folder)


def _make_group(home: Path, cores: float) -> Path:
    """A new group with its limit. In version 2 a group with processes can have none below it, so try next to it."""
    quota_us = round(cores * _PERIOD_US)
    name = f"rig-quota-{secrets.token_hex(4)}"
    refusal: OSError | None = None
    for parent in (home, home.parent):
        folder = parent / name
        try:
            if (parent / "cgroup.subtree_control").is_file():
                (parent / "cgroup.subtree_control").write_text("+cpu")
            folder.mkdir()
            try:
                if (folder / "cpu.max").is_file():
                    (folder / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
                else:
                    (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                    (folder / "cpu.cfs_quota_us").write_text(str(quota_us))
            except OSError:
                folder.rmdir()
                raise
            return folder
        except OSError as error:
            refusal = refusal or error
    raise QuotaUnavailable(f"no CPU quota can be set: {refusal}")


def _move(pids: Iterable[int], folder: Path) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            (folder / "cgroup.procs").write_text(str(pid))


def _members(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "cgroup.procs").read_text().split()]


def _remove(folder: Path) -> None:
    """Remove a group that processes have just left: the kernel may need a moment."""
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
