"""What a native worker does with its share of a scenario. The test plays its master; its load process is real."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rig.calibrate.stub import null_stub
from rig.engine.pacer import NS
from rig.evidence.scenario_runs import RESULT
from rig.locust_bridge import clock, native_client
from rig.locust_bridge.clock import boot_id
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.wire import ABORT, FAILED, GO, LOAD, LOADED, READY, ROWS
from rig.machine.child import free_port
from rig.model import Scenario
from rig.target.endpoint import Endpoint
from scenarios.capacity import capacity_step
from tests.locust.plans import planned
from tests.locust.test_worker import Master, greeted

AHEAD_NS = 3600 * NS
"""How far the clock of the played master is ahead."""


def share(url: str, scenario: Scenario | None = None, **changes: Any) -> dict[str, Any]:
    """The second of two workers' shares of a brief step."""
    step = scenario or capacity_step("stripe", ("A",), 1, 200.0, 0.5, p95_limit_ms=500.0)
    plan = replace(LocustPlan.from_wire(planned(url)), fixed=step, user_classes=(), worker=1, workers=2)
    return {"plan": plan.to_wire(), "boot_id": boot_id()} | changes


def rows_of(master: Master) -> np.ndarray[Any, Any]:
    """All rows that were handed over."""
    return np.frombuffer(b"".join(data["data"] for kind, data in master.seen if kind == ROWS), RESULT)


async def test_a_share_is_sent_from_the_moment_that_the_master_names_and_accounted_for() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            for _ in range(2):  # it stays ready for the next one
                master.seen.clear()
                await master.say(LOAD, share(stub.endpoint.url))
                await master.expect(READY)
                start_ns = time.monotonic_ns() + 100_000_000
                await master.say(GO, {"at_ns": start_ns})
                said = await master.expect(LOADED)
                rows, account = rows_of(master), said["account"]
                assert len(rows) == account["rows"] == account["report"]["sent"] == 47
                assert hashlib.sha256(rows.tobytes()).hexdigest() == account["sha256"]
                assert set(rows["seq"]) == set(range(1, 95, 2))
                assert set(rows["status"]) == {200}
                assert start_ns <= rows["intended_ns"].min() < start_ns + 50_000_000
                assert account["report"]["elsewhere"] is None


async def test_times_are_those_of_the_master_s_clock_wherever_the_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (clock, native_client):
        monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    monkeypatch.setattr(Endpoint, "is_loopback", False)
    with null_stub() as stub:
        async with greeted() as (master, _):
            master.ahead_ns = AHEAD_NS
            await master.say(LOAD, share(stub.endpoint.url))
            await master.expect(READY)
            start_ns = time.monotonic_ns() + AHEAD_NS + 100_000_000
            await master.say(GO, {"at_ns": start_ns})
            report = (await master.expect(LOADED))["account"]["report"]
            there, rows = report["elsewhere"], rows_of(master)
            assert there["boot_id"] == "another boot"
            assert 0 < there["clock_error_ns"] < NS
            assert abs(rows["intended_ns"].min() - start_ns) < 50_000_000 + there["clock_error_ns"]
            assert report["first_sent_ns"] == rows["sent_ns"].min()
            assert report["last_done_ns"] == rows["done_ns"].max()


async def test_a_share_that_is_aborted_is_reported_and_the_next_one_is_sent() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            long = capacity_step("stripe", ("A",), 1, 50.0, 60.0, p95_limit_ms=500.0)
            await master.say(LOAD, share(stub.endpoint.url, long))
            await master.expect(READY)
            await master.say(GO, {"at_ns": time.monotonic_ns()})
            await master.expect(ROWS)
            await master.say(ABORT)
            report = (await master.expect(LOADED))["account"]["report"]
            assert 0 < report["sent"] < report["offered"]
            await master.say(LOAD, share(stub.endpoint.url))
            await master.expect(READY)
            await master.say(ABORT)
            assert "before its start" in (await master.expect(FAILED))["why"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [({}, "is not reached from here: "), ({"boot_id": "that of another machine"}, "means this machine here")],
)
async def test_a_target_that_it_cannot_reach_is_not_loaded(changes: dict[str, str], why: str) -> None:
    async with greeted() as (master, _):
        await master.say(LOAD, share(f"http://127.0.0.1:{free_port()}", **changes))
        said = await master.expect(FAILED)
        assert said["is_refusal"]
        assert why in said["why"]


async def test_nothing_is_sent_for_a_master_that_may_be_anybody() -> None:
    async with greeted(key="") as (master, _):
        await master.say(LOAD, share("http://127.0.0.1:9"))
        said = await master.expect(FAILED)
        assert said["is_refusal"]
        assert "nothing is done for a stranger" in said["why"]
