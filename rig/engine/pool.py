"""The worker processes of a run: spawn, barrier, collect.

Flow: ``scenario_run`` hands each worker its share, waits until all are ready, releases them at one instant and collects
their reports, with a deadline for everything. A worker that dies, fails or stays silent has no report; the drive goes
on without it and says so, and the next drive gets a fresh process in its place.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from rig.engine.scenario_run import Assignment, Drive
from rig.engine.worker import Abort, Failed, Go, Progress, Ready, main
from rig.evidence.scenario_runs import ScenarioRun, WorkerReport
from rig.model import RunKey, Scenario
from rig.profile import Profile
from rig.requests.targeter import Credentials
from rig.target.endpoint import Endpoint

BARRIER_LEAD_NS = 30_000_000
_PREPARE_BASE_S = 60.0
_PREPARE_PER_REQUEST_S = 200e-6
_GRACE_S = 5.0
_STOP_S = 5.0
_REAP_S = 2.0


@dataclass(frozen=True, slots=True, repr=False)
class Load:
    """One drive as the run asks for it; ``rows_file(worker)`` says where a worker's rows go."""

    scenario: Scenario
    profile: Profile
    run: RunKey
    credentials: Mapping[str, Credentials]
    endpoint: Endpoint
    rows_file: Callable[[int], Path]
    scenario_run: type[Drive] | None = None


@dataclass
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Pipe
    ready: bool = False
    report: WorkerReport | None = None
    lost: str = ""
    rows: int = field(default=0)

    @property
    def over(self) -> bool:
        return self.report is not None or bool(self.lost)


class Pool:
    """``size`` load processes, kept for all drives of a run. A context manager: they end with it.

    ``cores``: the only ones that they may run on; empty for all that this process may use.
    """

    def __init__(self, size: int, cores: Collection[int] = ()) -> None:
        if size < 1:
            raise ValueError("a pool needs at least one worker")
        self.size = size
        self._cores = tuple(cores)
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        self._workers = [self._spawn(number) for number in range(self.size)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
        deadline = time.monotonic() + _STOP_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid]

    def run_scenario(
        self,
        load: Load,
        *,
        started: Callable[[], None] = lambda: None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> ScenarioRun:
        """Run one drive to its end. KeyboardInterrupt aborts it; the report then says ``interrupted``.

        ``started`` is called when all workers are ready and the clock is about to start, ``progress`` with the number
        of requests that have ended so far.
        """
        self._workers = [self._renewed(worker) for worker in self._workers]
        interrupted = False
        try:
            self._assign(load)
            expected_s = _PREPARE_BASE_S + load.scenario.count * _PREPARE_PER_REQUEST_S
            self._collect(time.monotonic() + expected_s, until_ready=True, progress=progress)
            started()
            start_ns = time.monotonic_ns() + BARRIER_LEAD_NS
            self._tell(Go(start_ns))
            limit_s = load.scenario.deadline_s + load.scenario.timeout_s + _GRACE_S
            self._collect(time.monotonic() + limit_s, until_ready=False, progress=progress)
        except KeyboardInterrupt:
            interrupted = True
            self._tell(Abort())
            self._collect(time.monotonic() + _GRACE_S, until_ready=False, progress=progress)
        return ScenarioRun(
            scenario=load.scenario,
            workers=tuple(worker.report for worker in self._workers),
            interrupted=interrupted,
            notes=tuple(worker.lost for worker in self._workers if worker.lost),
        )

    def _spawn(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=main, args=(theirs,), name=f"rig-worker-{number}", daemon=True)
        process.start()
        theirs.close()
        if self._cores and process.pid is not None:
            os.sched_setaffinity(process.pid, self._cores)
        return _Worker(number, process, ours)

    def _renewed(self, worker: _Worker) -> _Worker:
        if worker.process.is_alive() and not worker.lost:
            return _Worker(worker.number, worker.process, worker.pipe)
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()
        return self._spawn(worker.number)

    def _assign(self, load: Load) -> None:
        for worker in self._workers:
            assignment = Assignment(
                load.scenario,
                load.profile,
                load.run,
                load.credentials,
                load.endpoint,
                worker.number,
                self.size,
                load.rows_file(worker.number),
                load.scenario_run,
            )
            self._send(worker, assignment)

    def _tell(self, message: object) -> None:
        for worker in self._workers:
            if not worker.over:
                self._send(worker, message)

    def _send(self, worker: _Worker, message: object) -> None:
        try:
            worker.pipe.send(message)
        except OSError:
            self._lose(worker, "died")

    def _collect(self, deadline: float, *, until_ready: bool, progress: Callable[[int], None]) -> None:
        """Hear the workers until each is over (or ready, where that is asked); what is silent then is lost."""
        while pending := [w for w in self._workers if not w.over and not (until_ready and w.ready)]:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                for worker in pending:
                    worker.process.kill()
                    self._lose(worker, "gave no sign of life within its time")
                return
            self._hear(pending, left_s)
            progress(sum(worker.rows for worker in self._workers))

    def _hear(self, pending: Iterable[_Worker], timeout_s: float) -> None:
        by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in pending}
        by_sentinel: dict[Any, _Worker] = {worker.process.sentinel: worker for worker in pending}
        events = wait([*by_pipe, *by_sentinel], timeout_s)
        for event in events:
            if event in by_pipe:
                self._take(by_pipe[event])
        for event in events:
            # Whatever a process said before it ended lies in its pipe and counts.
            if event in by_sentinel and not by_sentinel[event].over:
                worker = by_sentinel[event]
                while not worker.over:
                    self._take(worker)

    def _take(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._lose(worker, "died")
            return
        match message:
            case Ready():
                worker.ready = True
            case Progress(rows=rows):
                worker.rows = rows
            case WorkerReport():
                worker.report = message
                worker.rows = message.offered
            case Failed(reason=reason):
                worker.lost = reason

    def _lose(self, worker: _Worker, what: str) -> None:
        with contextlib.suppress(ValueError):
            # Dead or dying: what it ended with is worth a moment.
            worker.process.join(_REAP_S)
        code = worker.process.exitcode
        worker.lost = f"worker {worker.number} {what}" + (f" (exit code {code})" if code is not None else "")
