"""The workers of a run: each gets its share of a scenario run, all start at one instant, and all report.

Flow: ``run_scenario`` hands each worker its share, waits until all are ready, releases them at one instant and collects
their reports, with a deadline for everything. A worker that dies, fails or stays silent has no report. The scenario run
goes on without it and says so. Where the workers are and how they are spoken to is the subclass's part: a ``Pool`` has
processes of this machine, and the next scenario run gets a fresh one in place of one that died.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rig.engine.scenario_executor import Assignment, MakeExecutor, prepare_limit_s
from rig.engine.worker import main
from rig.evidence.scenario_runs import ScenarioRun
from rig.machine.fleet import Abort, FleetMember, FleetProcess, Go, MemberFailure, MemberResult, ProcessFleet
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
    """One scenario run as the run asks for it; ``rows_file(worker)`` says where a worker's rows go.

    ``share``: the number of the first of these workers among all that send the scenario, and how many those are; None
    where there are no others. ``await_start``: waits until the time to start is known and gives it (monotonic ns); None
    for as soon as possible.
    """

    scenario: Scenario
    profile: Profile
    run: RunKey
    credentials: Mapping[str, Credentials]
    endpoint: Endpoint
    rows_file: Callable[[int], Path]
    executor: MakeExecutor | None = None
    share: tuple[int, int] | None = None
    await_start: Callable[[], int] | None = None


class LoadWorkers(ABC):
    """``size`` workers, kept for all scenario runs of a run. ``lead_ns``: from the word to start to the start."""

    size: int
    members: Sequence[FleetMember]
    lead_ns = BARRIER_LEAD_NS

    @property
    def lacks(self) -> str:
        """Why they can send no other scenario; empty where they can."""
        return ""

    @property
    @abstractmethod
    def pids(self) -> Sequence[int]:
        """The processes of this machine that send."""

    @abstractmethod
    def renew(self) -> Mapping[int, str]:
        """Make all ready for another scenario run; how those died that were replaced, by number."""

    @abstractmethod
    def assign(self, load: Load) -> None:
        """Hand each its share."""

    @abstractmethod
    def send_all(self, message: Go | Abort) -> None:
        """Send a message to each that has not ended."""

    @abstractmethod
    def listen(
        self, timeout_s: float, *, until_ready: bool = False, on_message: Callable[[], None] = lambda: None
    ) -> Sequence[FleetMember]:
        """See ``ProcessFleet.listen``."""

    @abstractmethod
    def give_up(self, number: int, reason: str) -> None:
        """Wait for a worker no longer."""

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
                self.give_up(worker.number, "gave no sign of life within its time")

        died = self.renew()
        interrupted = False
        try:
            self.assign(load)
            wait_for_workers(prepare_limit_s(load.scenario.count), until_ready=True)
            at_ns = load.await_start() if load.await_start is not None else 0
            started()
            self.send_all(Go(at_ns or time.monotonic_ns() + self.lead_ns))
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


class Pool(ProcessFleet, LoadWorkers):
    """Load processes of this machine. A context manager: they end with it.

    ``cores``: the only ones that they may run on; empty for all that this process may use.
    """

    members: list[FleetProcess]

    def __init__(self, size: int, cores: Collection[int] = ()) -> None:
        super().__init__(size, main, "rig-worker", cores)
        self.lead_ns = BARRIER_LEAD_NS if size > 1 else _LEAD_ALONE_NS

    def __enter__(self) -> Self:
        self.spawn()
        return self

    def assign(self, load: Load) -> None:
        first, workers = load.share or (0, self.size)
        for worker in self.members:
            number = first + worker.number
            assignment = Assignment(
                load.scenario,
                load.profile,
                load.run,
                load.credentials,
                load.endpoint,
                number,
                workers,
                load.rows_file(number),
                load.executor,
            )
            self.send(worker, assignment)

    def give_up(self, number: int, reason: str) -> None:
        self.kill(number)
        self.lose(self.members[number], reason)


def _count_rows(worker: FleetMember) -> int:
    return worker.end.result.offered if isinstance(worker.end, MemberResult) else worker.progress
