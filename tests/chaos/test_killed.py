"""The rig is killed while a fault has struck: nothing stays stopped, cut, locked or running."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from rig.machine.abandoned import leftovers
from rig.machine.child import wait_until
from tests.cli.commands import QUICK, command, environment

WAIT_S = 60.0


def left() -> list[str]:
    """Processes, ports and folders of the rig, its control groups and its disks."""
    disks = [each.mountpoint for each in psutil.disk_partitions(all=True) if each.device == "rig-disk"]
    return [*map(str, leftovers()), *map(str, Path("/sys/fs/cgroup").glob("**/rig-quota-*")), *disks]


@pytest.mark.full
@pytest.mark.parametrize(
    "fault",
    [
        "process-killed", "process-stopped", "service-stopped", "rolling-deploy", "cpu-bound", "memory-bound",
        "database-killed", "slots-taken", "table-locked", "read-only", "disk-full", "sender-held", "database-cut",
        "database-half-open",
    ],
)  # fmt: skip
def test_nothing_is_left_of_a_fault_when_the_rig_is_killed(fault: str, tmp_path: Path) -> None:
    words = command("chaos", "--only", fault, "--minutes", "0.3", *QUICK, "--out", str(tmp_path))
    said = ""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment({})
    ) as rig:
        assert rig.stderr is not None
        while f"fault 1: {fault} strikes" not in said and (line := rig.stderr.readline()):
            said += line
        rig.kill()
    assert f"fault 1: {fault} strikes" in said, said
    assert wait_until(lambda: not left(), None, WAIT_S), left()
