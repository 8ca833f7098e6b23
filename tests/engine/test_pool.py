"""Real worker processes against the null stub: their shares, their deaths, their replacement."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import rig.engine.pool
from rig.calibrate.stub import Stub, null_stub
from rig.engine.pool import Load, Pool
from rig.engine.scenario_executor import Assignment
from rig.engine.worker import main
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import RESULT, ScenarioRun, WorkerReport
from rig.evidence.worker_files import SUFFIXES
from rig.machine.fleet import Go, Progress, Ready
from rig.machine.processes import alive
from rig.model import RequestClass, Scenario, Share
from rig.profile import Profile
from tests.engine.scenes import RUN, credentials, scenario

HANG_S = 30.0
COUNT = 6000


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with null_stub() as running:
        yield running


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as running:
        yield running


Drives = Callable[..., ScenarioRun]


@pytest.fixture
def run(pool: Pool, stub: Stub, profile: Profile, tmp_path: Path) -> Drives:
    """Run a scenario on the shared pool; rows of worker n go to ``tmp_path / "n"``."""

    def run_scenario(scene: Scenario, progress: Callable[[int], None] = lambda rows: None) -> ScenarioRun:
        load = Load(scene, profile, RUN, credentials(profile), stub.endpoint, lambda worker: tmp_path / f"{worker}")
        return pool.run_scenario(load, progress=progress)

    return run_scenario


def rows(folder: Path, worker: int) -> NDArray[np.void]:
    """The whole rows that a worker wrote."""
    data = (folder / f"{worker}").read_bytes()
    return np.frombuffer(data[: len(data) // RESULT.itemsize * RESULT.itemsize], RESULT)


def steady(deadline_s: float = 2.0) -> Scenario:
    """A scenario that lasts until its deadline, so that something can happen in its middle."""
    return scenario(COUNT, connections=4, rate_per_s=200.0, deadline_s=deadline_s, timeout_s=0.5)


def test_a_worker_that_cannot_write_what_it_kept_says_so(run: Drives, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / "1").with_suffix(suffix).mkdir()
    report = run(scenario(100, shares=(Share(RequestClass.PERSONAL, 100),), connections=10))
    assert [worker.worker for worker in report.present] == [0]
    assert any("worker 1: IsADirectoryError" in note for note in report.notes)


def test_workers_share_the_requests(run: Drives, tmp_path: Path) -> None:
    report = run(scenario(1001, connections=10))
    assert report.complete
    assert not report.notes
    assert [worker.worker for worker in report.present] == [0, 1]
    assert [sorted(rows(tmp_path, worker)["seq"]) for worker in (0, 1)] == [
        list(range(0, 1001, 2)),
        list(range(1, 1001, 2)),
    ]
    for worker, told in enumerate(report.present):
        written = rows(tmp_path, worker)
        assert (written["status"] == 200).all()
        assert (written["worker"] == worker).all()
        assert (told.offered, told.sent, told.skipped, told.connects) == (len(written), len(written), 0, 5)
    assert report.elapsed_s > 0
    assert report.all_in_us_per_request > report.cpu_us_per_request > 0


def test_there_are_never_more_connections_than_asked_for(run: Drives, tmp_path: Path) -> None:
    report = run(scenario(10, connections=1))
    assert [worker.connects for worker in report.present] == [1, 0]
    assert [worker.offered for worker in report.present] == [10, 0]
    assert len(rows(tmp_path, 0)) == 10
    assert len(rows(tmp_path, 1)) == 0


def test_progress_counts_requests(run: Drives) -> None:
    seen: list[int] = []
    run(scenario(200, connections=4, rate_per_s=200.0), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 200


def test_a_killed_worker_has_no_report_and_is_replaced(run: Drives, pool: Pool, tmp_path: Path) -> None:
    victim, other = pool.pids

    def kill_once_under_way(done: int) -> None:
        if done and alive(victim):
            os.kill(victim, signal.SIGKILL)

    report = run(steady(), progress=kill_once_under_way)
    assert report.workers[0] is None
    assert report.workers[1] is not None
    assert not report.complete
    assert not report.interrupted
    assert report.notes == ("worker 0: died of SIGKILL",)
    assert sorted(rows(tmp_path, 1)["seq"]) == list(range(1, COUNT, 2))
    # What the victim had handed to the system is there, in whole rows, each request once.
    kept = rows(tmp_path, 0)["seq"].tolist()
    assert len(kept) < COUNT // 2
    assert set(kept) <= set(range(0, COUNT, 2))
    assert len(set(kept)) == len(kept)

    for file in tmp_path.iterdir():
        file.unlink()
    again = run(scenario(100, connections=4))
    assert again.complete
    assert sum(worker.sent for worker in again.present) == 100
    assert pool.pids[0] != victim
    assert pool.pids[1] == other
    assert not alive(victim)


def test_a_worker_that_is_killed_between_two_scenario_runs_is_replaced_and_noted(run: Drives, pool: Pool) -> None:
    pool.renew()
    os.kill(pool.pids[1], signal.SIGKILL)
    pool.members[1].process.join()
    report = run(scenario(20, connections=4))
    assert report.complete
    assert report.notes == ("worker 1: died of SIGKILL before this scenario run; a new one took its place",)


def test_a_worker_that_falls_silent_is_given_up(run: Drives, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.engine.pool, "_GRACE_S", 0.5)
    victim = pool.pids[1]

    def stop_once_under_way(done: int) -> None:
        if done and alive(victim):
            os.kill(victim, signal.SIGSTOP)

    report = run(steady(), progress=stop_once_under_way)
    assert report.workers[0] is not None
    assert report.workers[1] is None
    assert "worker 1: gave no sign of life within its time" in report.notes[0]
    assert not alive(victim)


def test_an_interrupt_ends_the_drive_and_keeps_the_books(run: Drives, tmp_path: Path) -> None:
    fired: list[int] = []

    def interrupt_once_under_way(done: int) -> None:
        if done and not fired:
            fired.append(done)
            raise KeyboardInterrupt

    report = run(steady(60.0), progress=interrupt_once_under_way)
    assert report.interrupted
    assert report.complete
    assert not report.notes
    both = np.concatenate([rows(tmp_path, worker) for worker in (0, 1)])
    assert sorted(both["seq"]) == list(range(COUNT))
    skipped = int((both["error_kind"] == ErrorKind.SKIPPED).sum())
    assert sum(worker.skipped for worker in report.present) == skipped > 0
    assert sum(worker.sent for worker in report.present) == COUNT - skipped > 0


@pytest.mark.parametrize("obstacle", ["file exists", "no folder"])
def test_rows_that_cannot_be_written_end_the_drive_with_a_reason(
    pool: Pool, stub: Stub, profile: Profile, tmp_path: Path, obstacle: str
) -> None:
    folder = tmp_path if obstacle == "file exists" else tmp_path / "missing"
    if obstacle == "file exists":
        (folder / "0").write_bytes(b"an earlier run's")
        (folder / "1").write_bytes(b"an earlier run's")
    load = Load(scenario(10), profile, RUN, credentials(profile), stub.endpoint, lambda worker: folder / f"{worker}")
    report = pool.run_scenario(load)
    assert report.workers == (None, None)
    assert [note.partition(":")[0] for note in report.notes] == ["worker 0", "worker 1"]
    assert all(str(folder) in note for note in report.notes)


def test_a_fault_in_one_workers_requests_is_told_by_it(run: Drives) -> None:
    report = run(scenario(10, connections=2, tenants=("A", "nobody's")))
    assert report.workers[0] is not None
    assert report.workers[1] is None
    assert report.notes == ('worker 1: KeyError: "nobody\'s"',)


def test_a_pool_leaves_no_process(stub: Stub) -> None:
    with Pool(2) as brief:
        pids = brief.pids
        assert len(pids) == 2
    assert all(not alive(pid) for pid in pids)
    with pytest.raises(ValueError, match="at least one"):
        Pool(0)


@pytest.mark.parametrize("when", ["idle", "under way"])
def test_a_worker_ends_with_its_parent(stub: Stub, profile: Profile, tmp_path: Path, when: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=main, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    try:
        if when == "under way":
            scene = scenario(COUNT, connections=2, rate_per_s=50.0, deadline_s=600.0)
            files = tmp_path / "rows"
            ours.send(Assignment(scene, profile, RUN, credentials(profile), stub.endpoint, 0, 1, files))
            assert isinstance(ours.recv(), Ready)
            ours.send(Go(time.monotonic_ns()))
            assert isinstance(ours.recv(), Progress)
        # All that a parent's death looks like from here.
        ours.close()
        worker.join(HANG_S)
        assert worker.exitcode is not None
        assert worker.exitcode >= 0
    finally:
        worker.kill()
        worker.join()


def test_two_drives_of_one_worker_do_not_meet(run: Drives, tmp_path: Path) -> None:
    for number in range(3):
        report = run(scenario(50, connections=5, trial=number))
        assert isinstance(report.workers[0], WorkerReport)
        assert sum(worker.sent for worker in report.present) == 50
        for file in tmp_path.iterdir():
            file.unlink()


def test_a_worker_starts_without_pandas() -> None:
    """It would take twice as long, in every process."""
    code = "import sys, rig.engine.worker; print(sorted({'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
