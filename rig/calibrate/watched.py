"""A drive with the machine watched meanwhile: what it was busy with, what was taken away, what workers might use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rig.calibrate.machine import Watch
from rig.engine.pool import Load, Pool
from rig.evidence.scenario_runs import ScenarioRun
from rig.machine.cgroup import worker_cores


def run_watched(pool: Pool, load: Load, *, progress: Callable[[int], None] = lambda rows: None) -> ScenarioRun:
    """``Pool.scenario_run``, its report with ``machine`` and every worker's ``cores_allowed`` filled in."""
    watch = Watch()

    def started() -> None:
        # The counters start with the clock of the requests: preparation is not measured.
        nonlocal watch
        watch = Watch()

    report = pool.run_scenario(load, started=started, progress=progress)
    machine = watch.since()
    allowed = [worker_cores(pid) for pid in pool.pids]
    workers = tuple(
        worker and replace(worker, cores_allowed=cores) for worker, cores in zip(report.workers, allowed, strict=True)
    )
    return replace(report, machine=machine, workers=workers)
