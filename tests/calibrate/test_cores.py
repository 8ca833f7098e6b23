"""Who runs where: the plan for machines of every size, and a process that is put on its cores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from rig.calibrate.cores import CorePlan, confine, plan_cores
from rig.engine.pool import Pool


@pytest.mark.parametrize(
    ("cores", "workers", "plan"),
    [
        # Fewer than four: nothing is apart, and it is said.
        ([0], 1, CorePlan(not_separated=("client, server and database share 1 core",))),
        ([0, 1], 1, CorePlan(not_separated=("client, server and database share 2 cores",))),
        ([0, 1, 2], 2, CorePlan(not_separated=("client, server and database share 3 cores",))),
        ([0, 1, 2, 3], 1, CorePlan((0,), (1, 2), (3,))),
        ([0, 1, 2, 3], 2, CorePlan((0, 1), (2,), (3,))),
        # More workers than half of the cores share that half.
        ([0, 1, 2, 3], 3, CorePlan((0, 1), (2,), (3,), ("3 client workers share 2 cores",))),
        (range(8), 1, CorePlan((0,), (1, 2, 3, 4), (5, 6, 7))),
        (range(8), 2, CorePlan((0, 1), (2, 3, 4), (5, 6, 7))),
        (range(64), 8, CorePlan(tuple(range(8)), tuple(range(8, 36)), tuple(range(36, 64)))),
        # The cores that are allowed need not begin at 0, nor follow each other.
        ([9, 4, 30, 7], 1, CorePlan((4,), (7, 9), (30,))),
    ],
)
def test_the_plan(cores: list[int], workers: int, plan: CorePlan) -> None:
    assert plan_cores(cores, workers) == plan


@pytest.mark.parametrize("count", [4, 5, 8, 13, 64])
@pytest.mark.parametrize("workers", [1, 2, 7, 64])
def test_every_core_has_one_party_and_every_party_a_core(count: int, workers: int) -> None:
    plan = plan_cores(range(count), workers)
    assert sorted((*plan.client, *plan.server, *plan.database)) == list(range(count))
    assert plan.client
    assert plan.database
    assert len(plan.server) >= len(plan.database)


def test_what_turns_out_not_to_be_separable_is_added() -> None:
    plan = plan_cores(range(8), 1).without("server: the rig did not start it")
    assert plan.as_record()["not_separated"] == ["server: the rig did not start it"]
    assert plan.as_record()["client"] == [0]


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process with a child."""
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print('up', flush=True); input(); child.communicate()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.communicate("\n")


def test_a_process_and_its_children_are_confined(sleeper: psutil.Process) -> None:
    before = sleeper.cpu_affinity()
    confine(sleeper.pid, ())
    assert sleeper.cpu_affinity() == before
    first = min(os.sched_getaffinity(0))
    confine(sleeper.pid, (first,))
    (child,) = sleeper.children()
    assert sleeper.cpu_affinity() == child.cpu_affinity() == [first]


def test_a_process_that_is_gone_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    confine(process.pid, (0,))


def test_a_process_of_another_user_is_left_where_it_is(
    sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(process: psutil.Process, cores: list[int]) -> None:
        raise psutil.AccessDenied(process.pid)

    assert confine(sleeper.pid, (0,))
    monkeypatch.setattr(psutil.Process, "cpu_affinity", refused)
    assert not confine(sleeper.pid, (0,))
    assert confine(sleeper.pid, ())


def test_a_pool_keeps_to_its_cores_also_after_a_death() -> None:
    first = min(os.sched_getaffinity(0))
    with Pool(2, (first,)) as pool:
        assert [os.sched_getaffinity(pid) for pid in pool.pids] == [{first}, {first}]
