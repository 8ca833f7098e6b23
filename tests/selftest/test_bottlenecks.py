"""Bottlenecks outside the service do what they say: a slow commit, a quota, foreign load. All of them end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest

from rig.machine.cgroup import CpuGroup
from rig.machine.processes import alive
from rig.machine.quota import open_cpu_quota
from rig.run.reporter import Reporter
from rig.selftest.bench import ScenarioWatch
from rig.selftest.bottlenecks import SEEDS
from rig.selftest.foreign_load import foreign_load
from rig.selftest.throttle import throttle
from rig.target.postgres import Cluster
from rig.target.store import new_store
from scenarios.s8 import perf_gate, warm_up
from tests.waiting import wait_until

DEADLINE_S = 20.0
COMPUTE = [sys.executable, "-c", "while True: pass"]


@contextmanager
def computing() -> Iterator[psutil.Process]:
    process = subprocess.Popen(COMPUTE)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_a_slow_commit_is_the_databases_own(cluster: Cluster) -> None:
    seed = next(seed for seed in SEEDS if seed.name == "slow-commit")
    store = new_store(cluster, "slow_commit")
    other = new_store(cluster, "quick_commit")
    run: Any = SimpleNamespace(store=store)
    with seed.apply(run):
        shown = {}
        for name, dsn in (("slow", store.runtime_dsn), ("quick", other.runtime_dsn)):
            with psycopg.connect(dsn or "") as session:
                shown[name] = [
                    session.execute(f"SHOW {key}".encode()).fetchone() for key in ("commit_delay", "commit_siblings")
                ]
    assert shown["slow"] == [("25000",), ("0",)]
    assert shown["quick"] == [("0",), ("5",)]


def test_the_client_is_throttled_while_the_storm_is_under_way_and_not_while_it_prepares() -> None:
    watch = ScenarioWatch(Reporter(), "S8")
    watch.run_scenario(warm_up("r", "A"), 1, 2)
    watch.progress(50)
    assert not watch.under_way
    watch.run_scenario(perf_gate("r", "A"), 2, 2)
    watch.progress(0)
    assert not watch.under_way
    watch.progress(1)
    assert watch.under_way
    watch.stage("reading the truth")
    assert not watch.under_way


def test_a_throttled_process_is_stopped_and_runs_again_afterwards() -> None:
    with computing() as process:
        with throttle(lambda: (process.pid,)):
            wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
        assert process.status() != psutil.STATUS_STOPPED


def quotas_can_be_set() -> bool:
    """Whether this user may make a group with the CPU controller, in this process's own or beside it: files say so."""
    home = next(iter(CpuGroup.of_this_process().folders), None)
    return home is not None and any(
        os.access(parent, os.W_OK) and handed_down(parent) for parent in (home, home.parent)
    )


def handed_down(parent: Path) -> bool:
    """Whether a group made in this one would have the CPU controller."""
    controllers = parent / "cgroup.subtree_control"
    if controllers.is_file():
        return "cpu" in controllers.read_text().split()
    return (parent / "cpu.cfs_quota_us").is_file()


@pytest.mark.skipif(not quotas_can_be_set(), reason="this user can set no CPU quota here")
def test_a_quota_holds_what_is_put_under_it_and_leaves_no_group() -> None:
    home = CpuGroup.of_this_process().folders[0]
    with computing() as process:
        with open_cpu_quota(0.2) as quota:
            quota.hold([process.pid])
            group = CpuGroup.of_this_process(membership=Path(f"/proc/{process.pid}/cgroup"))
            assert group.quota_cores() == pytest.approx(0.2)
            wait_until(lambda: group.throttled_s() > 0.0, what="it was never held back")
        assert not quota.folder.exists()
        assert process.pid in [int(pid) for pid in (home / "cgroup.procs").read_text().split()]


def test_foreign_work_is_nobodys_child_and_ends() -> None:
    with foreign_load(2) as pids:
        assert len(pids) == 2
        assert not {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} & set(pids)
        processes = [psutil.Process(pid) for pid in pids]
        wait_until(lambda: all(sum(process.cpu_times()[:2]) > 0 for process in processes))
    assert not any(alive(process) for process in processes)


def test_foreign_work_is_not_adopted_by_a_rig_that_adopts_orphans() -> None:
    """It would be counted as the target's, and no diagnosis could find it."""
    code = """
import os, psutil
from rig.machine.orphans import adopt_orphans
from rig.selftest.foreign_load import foreign_load
adopt_orphans(lambda pid: None)
with foreign_load(1) as pids:
    print(psutil.Process(pids[0]).ppid() == os.getpid())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
