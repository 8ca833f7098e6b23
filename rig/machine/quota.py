"""Bounds on processes, by a control group of its own, as a container has one: a CPU quota, a memory limit.

Flow: ``open_cpu_quota`` or ``open_memory_limit`` makes the group next to or below the one that this process is in.
``Quota.hold`` puts processes into it; what they start later is in it too. At the end all go back to the group of this
process, and the new one is removed. Control groups of version 1 and 2. ``QuotaUnavailable`` where this user may make
none, as is usual without privileges. Not for reading limits: ``rig.machine.cgroup`` does that.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rig.errors import RigError
from rig.machine.cgroup import Controller, find_group
from rig.machine.supervisor import current_supervisor

_PERIOD_US = 100_000
_REMOVE_TIMEOUT_S = 2.0
_POLL_S = 0.01


class QuotaUnavailable(RigError):
    """This user, or this machine, cannot limit processes."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A group with a limit."""

    folder: Path
    home: Path
    """The group that its processes came from."""

    def hold(self, pids: Iterable[int]) -> None:
        """Put processes with all their threads under the quota; one that is gone is left out.

        The memory that they have stays where it is: a limit is one on what they take from now on.
        """
        _move(pids, self.folder)

    def release(self) -> None:
        """Put everything back that is in the group, also what was started meanwhile."""
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        while (pids := _members(self.folder)) and time.monotonic() < deadline:
            _move(pids, self.home)

    def count_killed(self) -> int:
        """How many of its processes the kernel has killed because they needed more memory."""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                pairs = dict(line.split() for line in (self.folder / name).read_text().splitlines())
                return int(pairs.get("oom_kill", 0))
        return 0


def open_cpu_quota(cores: float) -> AbstractContextManager[Quota]:
    """A group that may use so many cores. QuotaUnavailable where none can be made."""
    quota_us = str(round(cores * _PERIOD_US))
    old = {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": quota_us}
    return _open_group("cpu", {"cpu.max": f"{quota_us} {_PERIOD_US}"}, old)


def open_memory_limit(megabytes: float) -> AbstractContextManager[Quota]:
    """A group that may take so much memory. QuotaUnavailable where none can be made."""
    limit = str(round(megabytes * (1 << 20)))
    return _open_group("memory", {"memory.max": limit}, {"memory.limit_in_bytes": limit})


@contextmanager
def _open_group(controller: Controller, limits: Mapping[str, str], old_limits: Mapping[str, str]) -> Iterator[Quota]:
    """``limits``: what is written into which files of the group; ``old_limits``: of one of version 1."""
    home = next(iter(find_group(controller)), None)
    if home is None:
        raise QuotaUnavailable(f"there is no control group with a {controller} controller")
    quota = Quota(_make_group(home, controller, limits, old_limits), home)
    if (supervisor := current_supervisor()) is not None:
        supervisor.remove_at_end(quota.folder)
    try:
        yield quota
    finally:
        quota.release()
        _remove(quota.folder)


def _make_group(home: Path, controller: Controller, limits: Mapping[str, str], old_limits: Mapping[str, str]) -> Path:
    """A new group with its limit. In version 2 a group with processes can have none below it, so try next to it."""
    name = f"rig-quota-{secrets.token_hex(4)}"
    refusal: OSError | None = None
    for parent in (home, home.parent):
        folder = parent / name
        try:
            is_new = (parent / "cgroup.subtree_control").is_file()
            if is_new:
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
            folder.mkdir()
            try:
                for file, limit in (limits if is_new else old_limits).items():
                    (folder / file).write_text(limit)
            except OSError:
                folder.rmdir()
                raise
            return folder
        except OSError as error:
            refusal = refusal or error
    raise QuotaUnavailable(f"no control group with a {controller} limit can be made: {refusal}")


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
