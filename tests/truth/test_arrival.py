"""When rows arrive: before the answer, after it, or never."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rig.errors import ErrorKind
from rig.evidence.scenario_runs import RESULT
from rig.evidence.truth import Arrival
from rig.model import RequestClass, Scenario, Share
from rig.profile import Profile
from rig.truth.arrival import ArrivalWatch
from tests.truth.world import TENANTS, World, profile, scenario
from tests.waiting import wait_until

SENT = scenario("S2", Share(RequestClass.VALID, 4))


def answered(file: Path, seqs: range, status: int = 200) -> None:
    """The requests are answered now."""
    rows = np.zeros(len(seqs), RESULT)
    rows["seq"], rows["status"], rows["error_kind"] = list(seqs), status, ErrorKind.NONE
    rows["done_ns"] = time.monotonic_ns()
    with file.open("ab") as out:
        out.write(rows.tobytes())


def watch(world: World, file: Path, within_s: float | None = 5.0, sent: Scenario = SENT) -> ArrivalWatch:
    own = ArrivalWatch(world.reader._connect, world.profile, world.targeter, TENANTS, within_s)
    own.follow(sent, [file])
    return own


def only(own: ArrivalWatch) -> Arrival:
    (arrival,) = own.arrivals()
    assert not arrival.unwatched
    return arrival


def test_a_row_that_is_there_with_its_answer_has_no_lag(world: World, tmp_path: Path) -> None:
    world.run_scenario(SENT)
    world.settle()
    with watch(world, tmp_path / "rows") as own:
        answered(tmp_path / "rows", range(4))
        own.finish(SENT)
    assert (only(own).watched, only(own).late, only(own).missing, only(own).lag_max_ms) == (4, 0, 0, 0.0)


def test_a_row_that_comes_after_its_answer_is_late_and_has_a_lag(world: World, tmp_path: Path) -> None:
    world.run_scenario(SENT)
    *early, last = world.expect()
    for expected in early:
        world.keep(expected)
    with watch(world, tmp_path / "rows") as own:
        answered(tmp_path / "rows", range(4))
        wait_until(lambda: any(one.missed_ns for run in own._followed for one in list(run.pending.values())))
        world.keep(last)
    arrival = only(own)
    assert (arrival.watched, arrival.late, arrival.missing, arrival.late_keys) == (4, 1, 0, (last.key,))
    assert arrival.lag_max_ms > 0
    assert arrival.lag_p50_ms == 0


def test_a_row_that_never_comes_is_missing_and_not_late(world: World, tmp_path: Path) -> None:
    world.run_scenario(SENT)
    for expected in world.expect()[1:]:
        world.keep(expected)
    with watch(world, tmp_path / "rows", within_s=0.3) as own:
        answered(tmp_path / "rows", range(4))
    assert (only(own).late, only(own).missing) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "status"),
    [(RequestClass.VALID, 500), (RequestClass.REPLAY, 409)],
)
def test_what_promises_no_canonical_row_is_not_watched(
    world: World, tmp_path: Path, kind: RequestClass, status: int
) -> None:
    sent = scenario("S3", Share(kind, 4))
    with watch(world, tmp_path / "rows", sent=sent) as own:
        answered(tmp_path / "rows", range(4), status)
    assert only(own).watched == 0


@pytest.mark.parametrize("kind", [RequestClass.MALFORMED, RequestClass.PERSONAL, RequestClass.INVALID_JSON])
def test_a_scenario_that_leaves_no_canonical_row_is_passed_over(
    world: World, tmp_path: Path, kind: RequestClass
) -> None:
    with watch(world, tmp_path / "rows", sent=scenario("S3", Share(kind, 4))) as own:
        answered(tmp_path / "rows", range(4))
    assert not own.arrivals()


def test_the_row_of_one_tenant_is_not_that_of_another(world: World, tmp_path: Path) -> None:
    sent = scenario("S5", Share(RequestClass.REPLAY, 2, one_key=True), tenants=("A", "B"), shared_key=True)
    world.run_scenario(sent)
    world.keep(world.expect()[0])
    with watch(world, tmp_path / "rows", within_s=0.3, sent=sent) as own:
        answered(tmp_path / "rows", range(2))
    assert (only(own).watched, only(own).missing) == (2, 1)


def test_the_truth_is_read_when_the_last_row_is_there(
    make_world: Callable[[Profile], World],
) -> None:
    described = profile()
    truth = described.truth.model_dump() | {"arrival": {"within_s": 20}}
    world = make_world(Profile.model_validate(described.model_dump() | {"truth": truth}))
    world.run_scenario(SENT)
    *early, last = world.expect()
    for expected in early:
        world.keep(expected)
    late = threading.Timer(0.6, world.keep, [last])
    late.start()
    began = time.monotonic()
    world.reader.require_arrival(world.sent)
    took_s = time.monotonic() - began
    late.join()
    assert 0.5 < took_s < 10, "as soon as it is there, and no sooner"
    assert not world.read().discrepancies
