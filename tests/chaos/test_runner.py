"""Faults strike one after the other, and each is healed, also where the load ends early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, cast

import pytest

from rig.chaos.fault import ChaosTarget, Fault, Struck
from rig.chaos.runner import FaultRunner
from rig.chaos.schedule import REST_S
from rig.errors import RigError
from rig.evidence.chaos import FaultRecord, PlannedFault

WAIT_S = 20.0


class Nobody:
    """A target that has no process."""

    def serving(self) -> list[Any]:
        return []

    def revive(self) -> str:
        return ""


def fault(name: str, log: list[str], *, missing: str = "", fails: str = "", has_crashed: bool = False) -> Fault:
    @contextmanager
    def strike(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
        if fails == "strike":
            raise RigError("no hand on it")
        log.append(f"{name} strikes")
        yield Struck([7], ["a note"], has_crashed)
        log.append(f"{name} is healed")
        if fails == "heal":
            raise RigError("it stays broken")

    return Fault(name, name, lambda target: missing, strike)


def run(
    planned: list[PlannedFault],
    *faults: Fault,
    seconds: float = 60.0,
    target: object = Nobody(),
    rest_s: float = REST_S,
) -> list[FaultRecord]:
    """The records of a schedule that came to its end."""
    by_name = {each.name: each for each in faults}
    runner = FaultRunner(cast(ChaosTarget, target), planned, by_name, 1, seconds, rest_s=rest_s)
    with runner:
        runner.begin()
        runner._thread.join(WAIT_S)
    return runner.records


def test_a_fault_strikes_at_its_time_and_its_record_says_so() -> None:
    log: list[str] = []
    (record,) = run([PlannedFault(1, "a", 0.0, 0.01)], fault("a", log))
    assert log == ["a strikes", "a is healed"]
    assert record.planned_at_ns <= record.strike_begun_ns <= record.struck_ns < record.heal_begun_ns <= record.healed_ns
    assert (record.processes, record.note, record.skipped) == ((7,), "a note", "")


def test_a_process_that_the_kernel_killed_is_a_crash() -> None:
    """Of a fault that need not kill, as ``memory-bound``."""
    planned = [PlannedFault(1, "a", 0.0, 0.0), PlannedFault(2, "b", 0.0, 0.0)]
    records = run(planned, fault("a", []), fault("b", [], has_crashed=True))
    assert [record.is_crash for record in records] == [False, True]


def test_the_end_of_the_load_heals_what_is_broken_and_strikes_no_more() -> None:
    log: list[str] = []
    struck = threading.Event()

    def a(name: str) -> Fault:
        one = fault(name, log)

        @contextmanager
        def strike(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
            with one.strike(target, chance) as found:
                struck.set()
                yield found

        return Fault(name, name, one.missing, strike)

    planned = [PlannedFault(1, "a", 0.0, 50.0), PlannedFault(2, "b", 51.0, 1.0)]
    runner = FaultRunner(cast(ChaosTarget, Nobody()), planned, {name: a(name) for name in "ab"}, 1, 60.0)
    began_s = time.monotonic()
    with runner:
        runner.begin()
        assert struck.wait(WAIT_S)
    assert time.monotonic() - began_s < WAIT_S
    assert log == ["a strikes", "a is healed"]
    assert [record.fault for record in runner.records] == ["a"]


def test_nothing_strikes_before_the_load_begins() -> None:
    log: list[str] = []
    runner = FaultRunner(cast(ChaosTarget, Nobody()), [PlannedFault(1, "a", 0.0, 0.0)], {"a": fault("a", log)}, 1, 60.0)
    with runner:
        pass
    assert (log, runner.records) == ([], [])


@pytest.mark.parametrize(
    ("broken", "why"), [({"missing": "gone"}, "gone"), ({"fails": "strike"}, "it could not strike: RigError: no hand")]
)
def test_a_fault_that_does_not_strike_is_skipped_with_its_reason(broken: dict[str, str], why: str) -> None:
    log: list[str] = []
    planned = [PlannedFault(1, "a", 0.0, 0.0), PlannedFault(2, "b", 0.0, 0.0)]
    first, second = run(planned, fault("a", log, **broken), fault("b", log))
    assert why in first.skipped
    assert (second.skipped, log) == ("", ["b strikes", "b is healed"])


def test_what_cannot_be_healed_is_an_error() -> None:
    with pytest.raises(RigError, match="the fault a could not be healed: RigError: it stays broken"):
        run([PlannedFault(1, "a", 0.0, 0.0)], fault("a", [], fails="heal"))


def test_a_service_that_does_not_come_back_is_noted_and_nothing_more_is_broken() -> None:
    """It is the target's failure: its answers show it, and no error of the rig's own."""

    class Dead(Nobody):
        def revive(self) -> str:
            raise RigError("it is not ready after 20 s")

    log: list[str] = []
    planned = [PlannedFault(1, "a", 0.0, 0.0), PlannedFault(2, "b", 0.0, 0.0)]
    (record,) = run(planned, fault("a", log), fault("b", log), target=Dead())
    assert record.note == "a note; the service did not come back: it is not ready after 20 s"
    assert log == ["a strikes", "a is healed"]


def test_a_fault_for_which_no_load_is_left_does_not_strike() -> None:
    log: list[str] = []
    planned = [PlannedFault(1, "a", 0.0, 0.0), PlannedFault(2, "a", 0.1, 0.0)]
    (record,) = run(planned, fault("a", log), seconds=3.0)
    assert record.number == 1


def test_a_fault_that_took_long_the_last_time_strikes_again_only_where_the_load_lasts_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rig.chaos.runner._LEAST_REST_S", 0.0)
    log: list[str] = []
    slow = fault("slow", log)

    @contextmanager
    def strike(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
        time.sleep(1.0)
        with slow.strike(target, chance) as found:
            yield found

    planned = [PlannedFault(1, "slow", 0.0, 0.0), PlannedFault(2, "slow", 0.1, 0.0), PlannedFault(3, "a", 0.2, 0.0)]
    records = run(planned, Fault("slow", "slow", slow.missing, strike), fault("a", log), seconds=1.95, rest_s=0.0)
    assert [record.fault for record in records] == ["slow", "a"]
