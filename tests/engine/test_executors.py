"""How requests meet connections: both loops against connections without a wire, the open one also without a clock."""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rig.engine.executors
import rig.engine.scenario_executor
from rig.engine.connection import Connection
from rig.engine.executors import ClosedLoop, OpenLoop, RepeatingLoop
from rig.engine.pacer import NS, Constant
from rig.engine.scenario_executor import Assignment, ScenarioExecutor
from rig.errors import ErrorKind
from rig.evidence.scenario_runs import RESULT, RESULT_STRUCT, WorkerReport
from rig.profile import Profile
from rig.target.endpoint import Endpoint
from tests.engine.driving import assignment, eventually, on_uvloop
from tests.engine.peer import peer
from tests.engine.scenes import RUN, credentials, scenario

START_NS = 1_000_000
EVERY_NS = 1_000
FEWEST_SENT = 200


class Wireless(Connection):
    """A connection that writes down what it is given to send: its number, the sequence number, the intended time."""

    sent: list[tuple[int, int, int]]

    def send(self, seq: int, payload: bytes, intended_ns: int = 0) -> None:
        assert self.reusable
        self.seq, self.intended_ns, self.sent_ns = seq, intended_ns, START_NS
        self.sent.append((self.number, seq, intended_ns))


class World:
    """An executor whose connections have no wire; every other sequence number is this worker's."""

    def __init__(
        self, kind: type[ScenarioExecutor], profile: Profile, folder: Path, *, count: int, connections: int
    ) -> None:
        self.sent: list[tuple[int, int, int]] = []
        self.connecting: list[int] = []
        link = type("Link", (Wireless,), {"sent": self.sent})
        rate_per_s = 2e9 / EVERY_NS if kind is OpenLoop else None
        scene = scenario(2 * count, connections=2 * connections, rate_per_s=rate_per_s)
        given = Assignment(
            scene, profile, RUN, credentials(profile), Endpoint("127.0.0.1", 1), 0, 2, folder / "rows"
        )  # fmt: skip
        self.executor: Any = type("Unwired", (kind,), {"connection_class": link, "connect": self._connect})(
            given, lambda _: None
        )
        self.executor._payload = lambda _: b""
        self.executor._started = True
        self.links = self.executor._connections
        for connection in self.links:
            connection.reusable = True

    def _connect(self, connection: Connection) -> None:
        if self.executor.needs(connection):
            self.connecting.append(connection.number)
            self.executor._attempts[connection] = None

    def connected(self, number: int) -> None:
        """The attempt of a connection succeeded."""
        connection = self.links[number]
        del self.executor._attempts[connection]
        connection.reusable = True
        self.executor.resume(connection)

    def answer(self, number: int, *, reusable: bool = True) -> None:
        connection = self.links[number]
        connection.reusable = reusable
        self.executor.end_request(connection, 200, ErrorKind.NONE, START_NS)

    def lose(self, number: int) -> None:
        self.links[number].reusable = False
        self.executor.lose_idle(self.links[number])

    @property
    def rows(self) -> list[tuple[int, int, ErrorKind]]:
        """Sequence number, intended time and end of what was booked."""
        found = [struct.unpack(RESULT_STRUCT, row) for row in self.executor._rows.pending]
        return [(row[0], row[1], ErrorKind(row[6])) for row in found]

    @property
    def skipped(self) -> list[tuple[int, int]]:
        return [(seq, intended_ns) for seq, intended_ns, kind in self.rows if kind is ErrorKind.SKIPPED]

    @property
    def finished(self) -> bool:
        return bool(self.executor._finished.done())


class Paced(World):
    """An open loop and a clock that stands still until it is told to move."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, profile: Profile, folder: Path, count: int, connections: int, **more: Any
    ) -> None:
        self.now_ns = START_NS - 1
        self.due_ns = 0
        monkeypatch.setattr(rig.engine.executors, "time", SimpleNamespace(monotonic_ns=lambda: self.now_ns))
        monkeypatch.setattr(rig.engine.scenario_executor, "time", SimpleNamespace(monotonic_ns=lambda: self.now_ns))
        monkeypatch.setattr(rig.engine.executors, "QUEUE_LIMIT", more.get("queue_limit", 100))
        monkeypatch.setattr(rig.engine.executors, "Timer", lambda _: self)
        super().__init__(OpenLoop, profile, folder, count=count, connections=connections)
        # Every 1,000 ns a request of this worker.
        self.executor._pacer = Constant(2e9 / EVERY_NS)
        for connection in self.links[more.get("open", connections) :]:
            connection.reusable = False
        for connection in self.links[: more.get("open", connections)]:
            del self.executor._unopened[connection]
        self.executor.start(START_NS)

    def at(self, when_ns: int) -> None:
        """As the timer does."""
        self.due_ns = when_ns

    def move_to(self, requests_due: int) -> None:
        """Move the clock to where so many are due, waking as the timer asks."""
        self.now_ns = START_NS + (requests_due - 1) * EVERY_NS
        while self.due_ns and self.due_ns <= self.now_ns:
            self.due_ns = 0
            self.callback()


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch, profile: Profile, tmp_path: Path) -> Any:
    """Makes a ``Paced`` of so many requests and connections; its test is a coroutine, for the loop that it runs on."""
    return lambda *words, **named: Paced(monkeypatch, profile, tmp_path, *words, **named)


def due(index: int) -> tuple[int, int]:
    return 2 * index, START_NS + index * EVERY_NS


# --- the open loop -----------------------------------------------------------------------------------------------


async def test_nothing_is_sent_before_it_is_due(paced: Any) -> None:
    world = paced(3, 2)
    assert (world.sent, world.due_ns, world.executor.needs(world.links[0])) == ([], due(0)[1], True)
    world.move_to(1)
    assert world.sent == [(1, *due(0))]
    assert world.due_ns == due(1)[1]


async def test_the_connection_that_was_used_last_is_used_next(paced: Any) -> None:
    world = paced(5, 3)
    world.move_to(2)
    world.answer(1)
    world.answer(2)
    world.move_to(5)
    assert [number for number, _, _ in world.sent] == [2, 1, 2, 1, 0]


async def test_a_connection_that_is_not_needed_for_a_second_is_closed_but_for_the_last(paced: Any) -> None:
    world = paced(4, 3)
    closed: list[int] = []
    for link in world.links:
        link.free_ns = START_NS
        type(link).close = lambda connection: closed.append(connection.number)
    world.move_to(1)
    world.links[2].free_ns = START_NS + NS  # answered later than the others
    world.answer(2)
    world.now_ns = START_NS + NS
    world.executor.sample(0)
    assert closed == []
    world.now_ns = START_NS + 3 * NS
    world.executor.sample(0)
    assert closed == [0, 1]


async def test_connections_are_opened_as_they_are_needed_and_one_ahead(paced: Any) -> None:
    world = paced(6, 5, open=1)
    assert world.connecting == []
    world.move_to(1)
    assert ([number for number, _, _ in world.sent], world.connecting) == ([0], [1])
    world.move_to(3)
    assert (world.executor.queue_length, world.connecting) == (2, [1, 2, 3])
    for number in (1, 2, 3):
        world.connected(number)
    assert [number for number, _, _ in world.sent] == [0, 1, 2]
    world.move_to(4)
    assert ([number for number, _, _ in world.sent], world.connecting) == ([0, 1, 2, 3], [1, 2, 3, 4])
    for number in (1, 2, 3):
        world.answer(number)
    world.move_to(6)
    assert world.connecting == [1, 2, 3, 4]


async def test_what_finds_no_connection_waits_and_keeps_its_time(paced: Any) -> None:
    world = paced(4, 1)
    world.move_to(4)
    assert world.sent == [(0, *due(0))]
    assert world.executor.queue_length == 3
    for _ in range(3):
        world.answer(0)
    assert world.sent == [(0, *due(index)) for index in range(4)]
    assert not world.executor.queue_length
    assert not world.skipped
    assert not world.finished
    world.answer(0)
    assert world.finished


async def test_what_does_not_fit_the_queue_is_skipped_with_its_time(paced: Any) -> None:
    world = paced(6, 1, queue_limit=2)
    world.move_to(5)
    assert world.skipped == [due(3), due(4)]
    world.answer(0)
    world.move_to(6)
    assert [seq for _, seq, _ in world.sent] == [0, 2]
    assert len(world.skipped) == 2


async def test_stop_skips_what_waits_and_what_is_not_due(paced: Any) -> None:
    world = paced(5, 1)
    world.move_to(3)
    world.executor.stop()
    assert world.skipped == [due(1), due(2), due(3), (8, 0)]
    # Two were in the queue. One is due just now; the other has waited for as long as lies between two.
    assert world.executor._unsent_waited_ns == EVERY_NS
    assert not world.executor.queue_length
    world.callback()
    assert not world.finished, "one is still in flight"
    world.answer(0)
    assert world.finished
    assert len(world.sent) == 1
    world.lose(0)
    assert world.connecting == []


async def test_a_failed_attempt_takes_the_request_that_waited_longest(paced: Any) -> None:
    world = paced(3, 1)
    connection = world.links[0]
    world.executor.fail_attempt(connection)
    assert world.rows == []
    world.move_to(3)
    for _ in range(3):
        world.executor.fail_attempt(connection)
    assert world.rows == [(*due(1), ErrorKind.CONNECT), (*due(2), ErrorKind.CONNECT)]


async def test_a_connection_lost_while_idle_is_opened_again_and_used_once(paced: Any) -> None:
    world = paced(4, 2)
    world.lose(1)
    assert world.connecting == [], "another one is idle"
    for _ in range(3):
        world.lose(0)
        number = world.connecting[-1]
        world.connected(number)
        world.lose(1 - number)
    assert len(world.connecting) == 3
    world.move_to(2)
    assert len(world.sent) == 1


async def test_a_connection_about_to_close_is_passed_over(paced: Any) -> None:
    world = paced(2, 2)
    world.links[0].reusable = False
    world.move_to(1)
    assert [number for number, _, _ in world.sent] == [1]


# --- the closed loop ---------------------------------------------------------------------------------------------


async def test_every_connection_sends_when_it_was_answered_and_no_sooner(profile: Profile, tmp_path: Path) -> None:
    world = World(ClosedLoop, profile, tmp_path, count=5, connections=2)
    world.executor.start(START_NS)
    for number in (1, 1, 0, 0):
        world.answer(number)
    assert world.sent == [(0, 0, 0), (1, 2, 0), (1, 4, 0), (1, 6, 0), (0, 8, 0)]
    assert not world.finished
    world.answer(1)
    assert world.finished


async def test_a_dead_connection_is_opened_again_and_its_attempt_may_claim_a_request(
    profile: Profile, tmp_path: Path
) -> None:
    world = World(ClosedLoop, profile, tmp_path, count=1, connections=1)
    world.links[0].reusable = False
    world.executor.start(START_NS)
    assert world.connecting == [0]
    for _ in range(2):
        world.executor.fail_attempt(world.links[0])
    assert [(seq, kind) for seq, _, kind in world.rows] == [(0, ErrorKind.CONNECT)]


async def test_nothing_is_sent_opened_or_claimed_after_the_stop(profile: Profile, tmp_path: Path) -> None:
    world = World(ClosedLoop, profile, tmp_path, count=5, connections=2)
    world.links[1].reusable = False
    world.executor.start(START_NS)
    world.executor.stop()
    world.answer(0)
    world.lose(1)
    world.executor.fail_attempt(world.links[1])
    assert (len(world.sent), world.connecting) == (1, [1])
    assert [seq for seq, _ in world.skipped] == [2, 4, 6, 8]
    assert world.finished


@contextmanager
def own_calls(into: list[CodeType]) -> Iterator[None]:
    """Collect every call of a Python function of the rig's own."""
    package = str(Path(rig.__file__).parent)

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            into.append(frame.f_code)

    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_a_request_of_the_closed_loop_passes_at_most_five_calls_between_bytes_in_and_bytes_out(
    profile: Profile, tmp_path: Path
) -> None:
    """Over a real exchange; what happens less than once in ten requests (sweeps, flushes) is not on its way."""
    count = FEWEST_SENT * 2
    calls: list[CodeType] = []

    async def scene() -> None:
        async with peer() as server:
            given = assignment(profile, scenario(count), Endpoint("127.0.0.1", server.port), tmp_path / "rows")
            executor = ClosedLoop(given, lambda _: None)
            try:
                await executor.prepare()
                with own_calls(calls):
                    await executor.run(time.monotonic_ns())
            finally:
                await executor.close()

    on_uvloop(scene())
    often = {code: calls.count(code) for code in set(calls) if calls.count(code) >= count / 10}
    assert {code.co_name for code in often} == {
        "data_received", "on_message_begin", "on_message_complete", "end_request", "send",
    }  # fmt: skip
    assert sum(often.values()) <= 5 * (count + 1)


def test_a_constant_rate_depends_on_nothing_but_the_number() -> None:
    pacer = Constant(1000.0)
    assert [pacer.intended_ns(seq) for seq in (0, 1, 2, 1_000_000)] == [0, 1_000_000, 2_000_000, 1_000_000_000_000]
    assert Constant(3.0).intended_ns(3) == 1_000_000_000


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_repeating_loop_sends_all_again_until_its_time_is_over_or_it_is_stopped(
    profile: Profile, tmp_path: Path, is_stopped: bool
) -> None:
    count = 20

    async def scene() -> WorkerReport:
        async with peer() as server:
            given = assignment(
                profile, scenario(count, connections=4), Endpoint("127.0.0.1", server.port), tmp_path / "rows"
            )
            loop = RepeatingLoop(given, lambda _: None, least_s=60.0 if is_stopped else 0.05)
            await loop.prepare()
            running = asyncio.ensure_future(loop.run(time.monotonic_ns()))
            if is_stopped:
                await eventually(lambda: len(server.requests) > count)
                loop.stop()
            report = await running
            await loop.close()
            return report

    report = on_uvloop(scene())
    rows = np.fromfile(tmp_path / "rows", dtype=RESULT)
    assert report.offered == report.sent + report.skipped == len(rows)
    assert report.offered == count + report.repeats > count
    assert set(np.bincount(rows["seq"])) == {report.offered // count}
    assert report.skipped == 0 or is_stopped
    assert is_stopped or report.last_done_ns - report.first_sent_ns >= 0.05 * NS
