"""How requests meet connections: both orders against fakes, without a clock or a wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

import rig.engine.executors
from rig.engine.connection import IDLE, Connection
from rig.engine.executors import ClosedLoop, OpenLoop
from rig.engine.pacer import Constant
from rig.engine.timer import Timer

START_NS = 1_000_000
EVERY_NS = 1_000


@dataclass(eq=False)
class FakeConnection:
    name: str
    reusable: bool = True
    seq: int = IDLE


@dataclass
class FakeTimer:
    due_ns: int = 0
    callback: Callable[[], None] = lambda: None

    def at(self, when_ns: int) -> None:
        self.due_ns = when_ns


@dataclass
class FakeDrive:
    """A sender of ``count`` requests that writes down what it is asked; every other number is this worker's."""

    count: int
    taken: int = 0
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    skipped: list[tuple[int, int]] = field(default_factory=list)
    reconnecting: list[str] = field(default_factory=list)
    settled: int = 0

    def take(self) -> int | None:
        if self.taken == self.count:
            return None
        self.taken += 1
        return self.taken - 1

    def seq(self, position: int) -> int:
        return 2 * position

    def send(self, connection: FakeConnection, position: int, intended_ns: int) -> None:
        assert connection.reusable
        assert connection.seq == IDLE
        connection.seq = position
        self.sent.append((connection.name, position, intended_ns))

    def skip(self, position: int, intended_ns: int) -> None:
        self.skipped.append((position, intended_ns))

    def reconnect(self, connection: FakeConnection) -> None:
        self.reconnecting.append(connection.name)

    def settle(self) -> None:
        self.settled += 1


class World:
    """A drive, its connections, an open loop and a clock that stands still until it is told to move."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, count: int, names: str, queue_limit: int = 100, *, connected: bool = True
    ) -> None:
        self.now_ns = START_NS - 1
        monkeypatch.setattr(rig.engine.executors, "time", SimpleNamespace(monotonic_ns=lambda: self.now_ns))
        self.scenario_run = FakeDrive(count)
        self.connections = {name: FakeConnection(name, reusable=connected) for name in names}
        self.timer = FakeTimer()
        # Every 1,000 ns a request of this worker, whose numbers are every other one.
        self.order = OpenLoop(
            self.scenario_run,  # type: ignore[arg-type]  # a fake
            cast(list[Connection], list(self.connections.values())),
            Constant(2e9 / EVERY_NS),
            queue_limit,
            cast(Timer, self.timer),
        )
        self.order.start(START_NS)

    def at(self, requests_due: int) -> None:
        """Move the clock to where so many are due, waking as the timer asks."""
        self.now_ns = START_NS + (requests_due - 1) * EVERY_NS
        while self.timer.due_ns and self.timer.due_ns <= self.now_ns:
            self.timer.due_ns = 0
            self.timer.callback()

    def answer(self, name: str, *, reusable: bool = True) -> None:
        connection = self.connections[name]
        connection.seq, connection.reusable = IDLE, reusable
        self.order.free(cast(Connection, connection))


def due_ns(position: int) -> int:
    return START_NS + position * EVERY_NS


# --- the open loop -----------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 3, "ab")
    assert (world.scenario_run.sent, world.timer.due_ns, world.order.waiting) == ([], due_ns(0), True)
    world.at(1)
    assert world.scenario_run.sent == [("a", 0, due_ns(0))]
    assert world.timer.due_ns == due_ns(1)


def test_connections_take_turns_the_longest_idle_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 5, "abc")
    world.at(2)
    world.answer("b")
    world.answer("a")
    world.at(5)
    assert [name for name, _, _ in world.scenario_run.sent] == ["a", "b", "c", "b", "a"]


def test_what_finds_no_connection_waits_and_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 4, "a")
    world.at(4)
    assert world.scenario_run.sent == [("a", 0, due_ns(0))]
    for _ in range(3):
        world.answer("a")
    assert world.scenario_run.sent == [("a", position, due_ns(position)) for position in range(4)]
    assert not world.order.waiting
    assert not world.scenario_run.skipped


def test_what_does_not_fit_the_queue_is_skipped_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 6, "a", queue_limit=2)
    world.at(5)
    assert world.scenario_run.skipped == [(3, due_ns(3)), (4, due_ns(4))]
    world.answer("a")
    world.at(6)
    assert [position for _, position, _ in world.scenario_run.sent] == [0, 1]
    assert world.scenario_run.skipped[2:] == []
    assert world.scenario_run.settled > 0


def test_stop_skips_what_waits_and_what_is_not_due(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 10, "a")
    world.at(3)
    world.order.stop()
    assert world.scenario_run.skipped == [(1, due_ns(1)), (2, due_ns(2)), (3, due_ns(3))]
    assert not world.order.waiting
    world.timer.callback()
    world.answer("a")
    assert len(world.scenario_run.sent) == 1
    world.answer("a", reusable=False)
    assert world.scenario_run.reconnecting == []


def test_a_failed_attempt_takes_the_request_that_waited_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 3, "a")
    assert world.order.claim() is None
    world.at(3)
    assert world.order.claim() == (1, due_ns(1))
    assert world.order.claim() == (2, due_ns(2))
    assert world.order.claim() is None


def test_a_connection_lost_while_idle_is_opened_again_and_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 4, "ab")
    for _ in range(3):
        world.answer("a", reusable=False)
        world.answer("a")
    assert world.scenario_run.reconnecting == ["a"] * 3
    world.at(2)
    world.answer("b")
    world.answer("a")
    world.at(4)
    assert [name for name, _, _ in world.scenario_run.sent] == ["b", "a", "b", "a"]


def test_a_connection_about_to_close_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 1, "ab")
    world.connections["a"].reusable = False
    world.at(1)
    assert [name for name, _, _ in world.scenario_run.sent] == ["b"]


def test_connections_that_never_stood_are_opened_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 1, "ab", connected=False)
    assert world.scenario_run.reconnecting == ["a", "b"]


# --- the closed loop ---------------------------------------------------------------------------------------------


def closed_loop(count: int, *connections: FakeConnection) -> tuple[FakeDrive, ClosedLoop, Callable[[int], None]]:
    scenario_run = FakeDrive(count)
    order = ClosedLoop(
        scenario_run,  # type: ignore[arg-type]  # a fake
        cast(list[Connection], list(connections)),
    )

    def answer(place: int) -> None:
        connections[place].seq = IDLE
        order.free(cast(Connection, connections[place]))

    return scenario_run, order, answer


def test_every_connection_sends_when_it_was_answered_and_no_sooner() -> None:
    scenario_run, order, answer = closed_loop(5, FakeConnection("a"), FakeConnection("b"))
    order.start(START_NS)
    answer(1)
    answer(1)
    answer(0)
    answer(0)
    assert scenario_run.sent == [("a", 0, 0), ("b", 1, 0), ("b", 2, 0), ("b", 3, 0), ("a", 4, 0)]
    assert not order.waiting


def test_a_dead_connection_is_opened_again_and_its_attempt_may_claim_a_request() -> None:
    scenario_run, order, _ = closed_loop(1, FakeConnection("a", reusable=False))
    order.start(START_NS)
    assert scenario_run.reconnecting == ["a"]
    assert order.claim() == (0, 0)
    assert order.claim() is None


def test_nothing_is_sent_opened_or_claimed_after_the_stop() -> None:
    scenario_run, order, answer = closed_loop(5, FakeConnection("a"), FakeConnection("b", reusable=False))
    order.start(START_NS)
    order.stop()
    answer(0)
    answer(1)
    assert order.claim() is None
    assert (len(scenario_run.sent), scenario_run.reconnecting) == (1, ["b"])


def test_a_constant_rate_depends_on_nothing_but_the_number() -> None:
    pacer = Constant(1000.0)
    assert [pacer.intended_ns(seq) for seq in (0, 1, 2, 1_000_000)] == [0, 1_000_000, 2_000_000, 1_000_000_000_000]
    assert Constant(3.0).intended_ns(3) == 1_000_000_000
