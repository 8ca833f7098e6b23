"""From the books of a locust run to scenario runs: literal accounts in, scenario runs out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rig.evidence.locust_run import BatchAccount, LocustRun, MasterAccount, WorkerAccount, WorkerSeen
from rig.evidence.scenario_runs import WorkerReport
from rig.locust_bridge.coordinator import CoordinatedTest
from rig.locust_bridge.gather import _scenario_runs
from rig.profile import bundled_profile, load_profile
from scenarios.s8 import perf_gate

FIXED = perf_gate("stripe", "S8-1", requests=2)
REPORT = WorkerReport(0, 2, 2, 0, 1, 1, 2, 0.1, 0.1, 1.0, 0.0, 0.0, 1)


def scenario_runs(folder: Path, *workers: WorkerSeen) -> list[Any]:
    """Of S8 alone; worker 0 has given its account, and its rows were not kept (there were none)."""
    part = BatchAccount(FIXED, REPORT, rows=0, sha256="")
    account = WorkerAccount(0, "a", "host", 1, 1, 2, 0, 0.1, 1.0, batches=(part,))
    late = WorkerAccount(1, "b", "host", 1, 1, 0, 0, 0.1, 1.0)
    master = MasterAccount("native", workers, 2, 0, "stripe", "A", 10.0, fixed=FIXED)
    record: Any = SimpleNamespace(history=SimpleNamespace(rows_file=lambda scenario, number: folder / "raw" / "none"))
    return list(_scenario_runs(LocustRun(master, (account, late)), record))


def test_a_worker_that_came_late_is_not_missed_in_what_was_shared_out_before(tmp_path: Path) -> None:
    (scenario_run,) = scenario_runs(tmp_path, WorkerSeen(0, "a"), WorkerSeen(1, "b", late=True))
    assert (scenario_run.workers, scenario_run.notes) == ((REPORT,), ())


def test_a_worker_that_was_there_in_time_is(tmp_path: Path) -> None:
    (scenario_run,) = scenario_runs(tmp_path, WorkerSeen(0, "a"), WorkerSeen(1, "b"))
    assert scenario_run.workers == (REPORT, None)


class Notebook:
    """A record as far as notes go."""

    def __init__(self, locust_run: LocustRun) -> None:
        self.manifest = SimpleNamespace(scenario_runs=(), notes=(), cut_short="not yet")
        self.profile = load_profile(bundled_profile())
        unheard = dict.fromkeys(("write_probes", "write_pool", "write_account"), lambda _: None)
        self.pack = SimpleNamespace(samples_folder=Path(), locust_run=lambda: locust_run, **unheard)

    def amend(self, **changes: Any) -> None:
        vars(self.manifest).update(changes)

    def note(self, text: str) -> None:
        self.amend(notes=(*self.manifest.notes, text))

    def mark_complete(self) -> None:
        self.amend(cut_short="")

    def seal_all_rows(self) -> None: ...

    def judge(self) -> tuple[str, ...]:
        notes: tuple[str, ...] = self.manifest.notes
        return notes


def test_a_note_of_the_masters_is_written_once() -> None:
    master = MasterAccount("native", (), 0, 0, "stripe", "A", 10.0, notes=("ended at its ceiling",))
    record: Any = Notebook(LocustRun(master, ()))
    job = SimpleNamespace(profile=record.profile)
    reporter = SimpleNamespace(stage=lambda _: None)
    opened: Any = SimpleNamespace(record=record, job=job, reporter=reporter)
    store: Any = SimpleNamespace(truth_dsn="", runtime_dsn="")
    test = CoordinatedTest(opened, store, target=None)  # type: ignore[arg-type]
    test._prober = SimpleNamespace(frame=lambda: None, pool=lambda: None)  # type: ignore[assignment]
    assert test.finish(master) == ("ended at its ceiling",)
    assert record.manifest.cut_short == ""
