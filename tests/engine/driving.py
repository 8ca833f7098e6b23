"""An executor in the test's own process, on the event loop that the workers use, with its books checked every time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import uvloop
from numpy.typing import NDArray

from rig.engine.bodies import executor_of
from rig.engine.scenario_executor import Assignment, ScenarioExecutor
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import RESULT, WorkerReport
from rig.model import Scenario
from rig.profile import Profile
from rig.target.endpoint import Endpoint
from tests.engine.scenes import RUN, credentials

T = TypeVar("T")
HANG_S = 20.0
"""Nothing here takes a second; past this, it hangs."""


def on_uvloop(scene: Coroutine[Any, Any, T]) -> T:
    """Run a scene to its end, TimeoutError when it hangs."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(scene, HANG_S))


@dataclass(frozen=True)
class Driven:
    """What came of a scenario run."""

    report: WorkerReport
    rows: NDArray[np.void]
    start_ns: int

    @property
    def ends(self) -> list[tuple[int, ErrorKind]]:
        """(status, error kind) of every request, by its number."""
        ordered = np.sort(self.rows, order="seq")
        return [(int(row["status"]), ErrorKind(row["error_kind"])) for row in ordered]


def assignment(profile: Profile, scene: Scenario, endpoint: Endpoint, rows_file: Path) -> Assignment:
    """The whole of a scenario for one worker."""
    return Assignment(scene, profile, RUN, credentials(profile, scene.tenants), endpoint, 0, 1, rows_file)


async def run_scenario(
    profile: Profile,
    scene: Scenario,
    endpoint: Endpoint,
    rows_file: Path,
    *,
    prepared: Callable[[ScenarioExecutor], Awaitable[None]] | None = None,
    running: Callable[[ScenarioExecutor], Awaitable[None]] | None = None,
) -> Driven:
    """Run a scenario; ``prepared`` runs before its start, ``running`` while it goes on."""
    given = assignment(profile, scene, endpoint, rows_file)
    driven = executor_of(given)(given, lambda rows: None)
    try:
        await driven.prepare()
        if prepared is not None:
            await prepared(driven)
        beside = asyncio.ensure_future(running(driven)) if running is not None else None
        start_ns = time.monotonic_ns() + 1_000_000
        report = await driven.run(start_ns)
        if beside is not None:
            await beside
    finally:
        await driven.close()
    rows = np.fromfile(rows_file, dtype=RESULT)
    check_books(scene, report, rows)
    return Driven(report, rows, start_ns)


def check_books(scene: Scenario, report: WorkerReport, rows: NDArray[np.void]) -> None:
    """offered = sent + skipped, a row for each, no number twice but for another attempt, times in their order."""
    assert sorted(set(rows["seq"])) == list(range(scene.count))
    assert report.repeats == len(rows) - scene.count
    assert report.repeats == 0 or scene.redelivery is not None
    skipped = rows[rows["error_kind"] == ErrorKind.SKIPPED]
    ended = rows[rows["error_kind"] != ErrorKind.SKIPPED]
    assert report.offered == len(rows) == report.sent + report.skipped
    assert (report.sent, report.skipped) == (len(ended), len(skipped))
    assert not skipped["sent_ns"].any()
    assert not skipped["done_ns"].any()
    assert (ended["sent_ns"] <= ended["done_ns"]).all()
    assert ((ended["status"] != 0) == (ended["error_kind"] == ErrorKind.NONE)).all()
    if len(ended):
        assert report.first_sent_ns == ended["sent_ns"].min()
        assert report.last_done_ns == ended["done_ns"].max()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition; ``on_uvloop`` bounds it."""
    while not condition():  # noqa: ASYNC110  # the other side is a real socket
        await asyncio.sleep(0.001)
