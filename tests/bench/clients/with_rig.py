"""The rig's engine: unique signed bodies, a recorded row per request, through pool, worker and history as in a run."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from rig.engine.executors import ClosedLoop, OpenLoop
from rig.engine.pool import Load, Pool
from rig.evidence.history import History
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import bundled_profile, load_profile
from rig.requests.sender import Credentials
from rig.target.endpoint import Endpoint
from tests.bench.clients.trial import CONNECTIONS, Trial


class Engine:
    """Drives the stub with one worker. A context manager; each drive has a number of its own."""

    def __init__(self) -> None:
        self._profile = load_profile(bundled_profile())
        self._route = self._profile.routes[0]
        self._pool = Pool(1)
        self._folder = tempfile.TemporaryDirectory(prefix="rig-bench-")
        self._history = History(Path(self._folder.name))
        self._number = 0

    def __enter__(self) -> Engine:
        self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__(None, None, None)
        self._folder.cleanup()

    def run_scenario(self, port: int, count: int, pace: Pace, path: str = "") -> tuple[ScenarioRun, Path]:
        """One drive of ``count`` requests, below ``path``: its report and the file of its raw rows."""
        self._number += 1
        scenario = Scenario(
            id="bench",
            title="Benchmark",
            step=count,
            route=self._route.name,
            tenants=("A",),
            shares=(Share(RequestClass.VALID, count),),
            pace=pace,
            trial=self._number,
        )
        load = Load(
            scenario,
            self._profile,
            RunKey(1, "benchmark", 1_700_000_000),
            {"A": Credentials("key", {self._route.secret: "secret"})},
            Endpoint("127.0.0.1", port, base_path=path),
            lambda worker: self._history.rows_file(scenario, worker),
            # As in the null benchmark: a stub's answers say nothing that could be judged.
            OpenLoop if pace.rate_per_s else ClosedLoop,
        )
        report = self._pool.run_scenario(load)
        if not report.complete:
            raise RuntimeError("; ".join(report.notes))
        return replace(report), self._history.rows_file(scenario, 0)

    def trial(self, port: int, seconds: float) -> Trial:
        """The closed loop over 50 connections."""
        count = round(80_000 * seconds)
        report, rows = self.run_scenario(port, count, Pace(CONNECTIONS))
        rows.unlink()
        (worker,) = report.present
        prepared_s = worker.build_cpu_s + worker.flush_cpu_s
        return Trial(worker.sent, report.elapsed_s, worker.cpu_user_s + worker.cpu_system_s, prepared_s)
