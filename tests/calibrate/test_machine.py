"""Control groups of both versions, in folders that look like the kernel's; and a look at this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rig.calibrate.machine import CpuWatch
from rig.evidence.scenario_runs import Interval
from rig.machine import cgroup
from rig.machine.cgroup import CpuGroup

V2_STAT = "usage_usec 500\nuser_usec 400\nsystem_usec 100\nnr_periods 7\nnr_throttled 3\nthrottled_usec 2500000\n"
V1_STAT = "nr_periods 7\nnr_throttled 3\nthrottled_time 1500000000\n"


def group(tmp_path: Path, membership: str, files: Mapping[str, str]) -> CpuGroup:
    """The group of a process with this ``/proc/self/cgroup`` on a machine with these files below ``/sys/fs/cgroup``."""
    for name, content in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (tmp_path / "membership").write_text(membership)
    return CpuGroup.of_this_process(tmp_path / "cgroup", tmp_path / "membership")


@pytest.mark.parametrize(
    ("membership", "files", "throttled_s", "quota_cores", "alone"),
    [
        # v2 in a container: its own group is all it sees.
        ("0::/\n", {"cpu.stat": V2_STAT, "cpu.max": "150000 100000\n"}, 2.5, 1.5, False),
        # v2 without a limit, and the real root, which has neither limit nor throttling.
        ("0::/a\n", {"cpu.stat": "", "a/cpu.stat": V2_STAT, "a/cpu.max": "max 100000\n"}, 2.5, None, True),
        ("0::/\n", {"cpu.stat": "usage_usec 1\n"}, 0.0, None, False),
        # v2, limited by an outer group only: a service in a slice.
        (
            "0::/slice/service\n",
            {
                "cpu.stat": "usage_usec 1\n",
                "slice/cpu.stat": V2_STAT,
                "slice/cpu.max": "50000 100000\n",
                "slice/service/cpu.stat": "throttled_usec 0\n",
                "slice/service/cpu.max": "max 100000\n",
            },
            2.5,
            0.5,
            True,
        ),
        # v1, with the controllers mounted together or each alone, and the empty v2 line of a hybrid.
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/1\n0::/\n",
            {
                "cpu,cpuacct/docker/1/cpu.stat": V1_STAT,
                "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            1.5,
            2.0,
            True,
        ),
        (
            "2:cpuacct:/\n1:cpu:/\n0::/\n",
            {"cpu/cpu.stat": V1_STAT, "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            1.5,
            None,
            False,
        ),
        # v1 in a container: the path is the host's, the group itself is what is mounted.
        (
            "1:cpu,cpuacct:/docker/4fe5\n",
            {"cpu/cpu.stat": V1_STAT, "cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
            1.5,
            1.0,
            False,
        ),
        # A path with a colon in it; files that make no sense; no controller at all; nothing at all.
        ("0::/a:b\n", {"a:b/cpu.stat": V2_STAT}, 2.5, None, True),
        ("0::/\n", {"cpu.stat": "throttled_usec many\n", "cpu.max": "half\n"}, 0.0, None, False),
        ("1:memory:/\n0::/\n", {}, 0.0, None, False),
        ("", {}, 0.0, None, False),
    ],
)  # fmt: skip
def test_quota_and_throttling_are_found(
    tmp_path: Path,
    membership: str,
    files: Mapping[str, str],
    throttled_s: float,
    quota_cores: float | None,
    alone: bool,
) -> None:
    found = group(tmp_path, membership, files)
    assert (found.throttled_s(), found.quota_cores(), found.alone) == (throttled_s, quota_cores, alone)


def test_a_system_without_control_groups_limits_nothing(tmp_path: Path) -> None:
    found = CpuGroup.of_this_process(tmp_path, tmp_path / "missing")
    assert found == CpuGroup()
    assert (found.throttled_s(), found.quota_cores()) == (0.0, None)


def test_a_quota_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "quota_cores", lambda: None)
    affinity = cgroup.allowed_cores()
    assert affinity >= 1
    monkeypatch.setattr(cgroup, "quota_cores", lambda: 0.5)
    assert cgroup.allowed_cores() == 0.5
    monkeypatch.setattr(cgroup, "quota_cores", lambda: affinity + 10)
    assert cgroup.allowed_cores() == affinity


def test_this_machine_is_between_idle_and_full() -> None:
    watch = CpuWatch()
    sum(range(300_000))
    seen = watch.since()
    assert all(0 <= share <= 1 for share in (*seen.cores_busy, seen.steal, seen.busy))
    assert seen.throttled_s >= 0
    assert Interval((0.5, 1.0), 0.0, 0.0).busy == 0.75
    assert Interval((), 0.0, 0.0).busy == 0.0
