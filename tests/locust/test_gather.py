"""From the books of a crowd to drives: literal accounts in, drives out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rig.accounts import BlockAccount, Crowd, MasterAccount, WorkerAccount, WorkerSeen
from rig.locust_bridge.gather import _drives
from rig.model import WorkerReport
from scenarios.s8_perf_gate import perf_gate

FIXED = perf_gate("stripe", "S8-1", requests=2)
REPORT = WorkerReport(0, 2, 2, 0, 1, 1, 2, 0.1, 0.1, 1.0, 0.0, 0.0, 1)


def drives(folder: Path, *workers: WorkerSeen) -> list[Any]:
    """Of S8 alone; worker 0 has given its account, and its rows were not kept (there were none)."""
    part = BlockAccount(FIXED, REPORT, rows=0, sha256="")
    account = WorkerAccount(0, "a", "host", 1, 1, 2, 0, 0.1, 1.0, blocks=(part,))
    late = WorkerAccount(1, "b", "host", 1, 1, 0, 0, 0.1, 1.0)
    master = MasterAccount("native", workers, 2, 0, "stripe", "A", 10.0, fixed=FIXED)
    record: Any = SimpleNamespace(history=SimpleNamespace(rows_file=lambda scenario, number: folder / "raw" / "none"))
    return list(_drives(Crowd(master, (account, late)), record))


def test_a_worker_that_came_late_is_not_missed_in_what_was_shared_out_before(tmp_path: Path) -> None:
    (drive,) = drives(tmp_path, WorkerSeen(0, "a"), WorkerSeen(1, "b", late=True))
    assert (drive.workers, drive.notes) == ((REPORT,), ())


def test_a_worker_that_was_there_in_time_is(tmp_path: Path) -> None:
    (drive,) = drives(tmp_path, WorkerSeen(0, "a"), WorkerSeen(1, "b"))
    assert drive.workers == (REPORT, None)
