"""The worker processes of a run: each gets its share of a scenario run, all start at one instant, and all report.

Flow: ``run_scenario`` hands each worker its share, waits until all are ready, releases them at one instant and collects
their reports, with a deadline for everything. A worker that dies, fails or stays silent has no report. The scenario run
goes on without it and says so, and the next one gets a fresh process in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rig.engine.scenario_executor import Assignment, MakeExecutor, prepare_limit_s
from rig.engine.worker import main
from rig.evidence.scenario_runs import ScenarioRun
from rig.machine.fleet import Abort, FleetProcess, Go, MemberFailure, MemberResult, ProcessFleet
from rig.model import RunKey, Scenario
from rig.profile import Profile
from rig.requests.sender import Credentials
from rig.target.endpoint import Endpoint

BARRIER_LEAD_NS = 30_000_000
"""From the word to start to the start: so that all workers have heard it. One alone waits for nobody."""
_LEAD_ALONE_NS = 10_000_000
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True, repr=False)
class Load:
    """One scenario run as the run asks for it; ``rows_file(worker)`` says where a worker's rows go."""

    scenario: Scenario
    profile: Profile
    run: RunKey
    credentials: Mapping[str, Credentials]
    endpoint: Endpoint
    rows_file: Callable[[int], Path]
    executor: MakeExecutor | None = None


class Pool(ProcessFleet):
    """``size`` load processes, kept for all scenario runs of a run. A context manager: they end with it.

    ``cores``: the only ones that they may run on; empty for all that this process may use.
    """

    def __init__(self, size: int, cores: Collection[int] = ()) -> None:
        super().__init__(size, main, "rig-worker", cores)

    def __enter__(self) -> Self:
        self.spawn()
        return self

    def run_scenario(
        self,
        load: Load,
        *,
        started: Callable[[], None] = lambda: None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> ScenarioRun:
        """Run a scenario to its end. KeyboardInterrupt aborts it; the report then says ``interrupted``.

        ``started`` is called when all workers are ready and the clock is about to start, ``progress`` with the number
        of requests that have ended so far.
        """

        def wait_for_workers(limit_s: float, *, until_ready: bool = False) -> None:
            def add_up() -> None:
                progress(sum(_count_rows(worker) for worker in self.members))

            for worker in self.listen(limit_s, until_ready=until_ready, on_message=add_up):
                self.kill(worker.number)
                self.lose(worker, "gave no sign of life within its time")

        died = self.renew()
        interrupted = False
        try:
            self._assign(load)
            wait_for_workers(prepare_limit_s(load.scenario.count), until_ready=True)
            started()
            self.send_all(Go(time.monotonic_ns() + (BARRIER_LEAD_NS if self.size > 1 else _LEAD_ALONE_NS)))
            wait_for_workers(load.scenario.deadline_s + load.scenario.timeout_s + _GRACE_S)
        except KeyboardInterrupt:
            interrupted = True
            self.send_all(Abort())
            wait_for_workers(_GRACE_S)
        ends = [worker.end for worker in self.members]
        return ScenarioRun(
            scenario=load.scenario,
            workers=tuple(end.result if isinstance(end, MemberResult) else None for end in ends),
            interrupted=interrupted,
            notes=(
                *(f"worker {n}: {why} before this scenario run; a new one took its place" for n, why in died.items()),
                *(f"worker {n}: {end.reason}" for n, end in enumerate(ends) if isinstance(end, MemberFailure)),
            ),
        )

    def _assign(self, load: Load) -> None:
        for worker in self.members:
            assignment = Assignment(
                load.scenario,
                load.profile,
                load.run,
                load.credentials,
                load.endpoint,
                worker.number,
                self.size,
                load.rows_file(worker.number),
                load.executor,
            )
            self.send(worker, assignment)


def _count_rows(worker: FleetProcess) -> int:
    return worker.end.result.offered if isinstance(worker.end, MemberResult) else worker.progress
