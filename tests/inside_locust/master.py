"""The rig's part of a locust process, with a locust that has no network. ``tests/locust/test_inside.py`` runs this."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from locust.runners import STATE_RUNNING, MasterRunner, WorkerNode, WorkerNodes
from pydantic import TypeAdapter

from rig.evidence.locust_run import WorkerAccount
from rig.evidence.pack import Pack
from rig.locust_bridge import master, master_test
from rig.locust_bridge.plan import LocustPlan
from scenarios.s8 import perf_gate
from tests.locust.plans import planned

NODE = "here_rig_1_a"


class Line:
    """Keeps what a master sends instead of sending it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send_to_client(self, message: Any) -> None:
        self.sent.append(message)


def a_bridge(*nodes: str) -> tuple[Any, Line]:
    """A bridge in a master whose workers are ``nodes``, all of them about to be taken for missing."""
    runner: Any = MasterRunner.__new__(MasterRunner)
    runner.greenlet, runner.clients, runner.server = None, WorkerNodes(), Line()
    for node in nodes:
        runner.clients[node] = WorkerNode(node, STATE_RUNNING, heartbeat_liveness=0)
    bridge = master.Bridge.__new__(master.Bridge)
    bridge.runner, bridge.test, bridge._judging = runner, None, None
    return bridge, runner.server


def a_test(folder: Path) -> Any:
    pack = Pack.create(folder, "locust", 1, datetime.now(UTC))
    return master_test.LocustTest(pack, LocustPlan.from_wire(planned("http://127.0.0.1:9")), alone=False)


def an_account(number: int = 0) -> Any:
    account = WorkerAccount(number, NODE, "here", 1, reports=3, requests=0, failures=0, cpu_s=0.1, wall_s=1.0)
    return TypeAdapter(WorkerAccount).dump_python(account, mode="json")


def test_a_worker_that_comes_late_has_no_share_of_what_is_counted_out(tmp_path: Path) -> None:
    bridge, line = a_bridge(NODE)
    bridge.test = test = a_test(tmp_path)
    test.add_worker("there_rig_2_b")
    bridge._admit_late(client_id=NODE)
    plan = LocustPlan.from_wire(line.sent[0].data)
    assert (plan.worker, plan.late) == (1, True)
    assert [seen.late for seen in test.books(0, 0).workers] == [False, True]


@pytest.mark.parametrize("alone", [True, False])
def test_the_last_request_of_s8_ends_a_test_of_s8_alone_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    bridge, _ = a_bridge(NODE)
    bridge.test = test = a_test(tmp_path)
    test.alone, test.plan = alone, replace(test.plan, fixed=perf_gate("stripe", "A", requests=100))
    test.add_worker(NODE, share=100)
    started: list[Any] = []
    monkeypatch.setattr(master.gevent, "spawn", started.append)
    for sequence, requests in enumerate((99, 1, 5), start=1):
        report = {"sequence": sequence, "credit": {}, "spent": False}
        bridge._take_report(NODE, {"rig": report, "stats_total": {"num_requests": requests, "num_failures": 0}})
        assert started == ([bridge._end] if alone and sequence > 1 else [])


def test_rows_are_a_sign_of_life_and_are_answered() -> None:
    """On a slow line the heartbeats of both sides lie behind them."""
    bridge, line = a_bridge(NODE)
    bridge._take_rows(SimpleNamespace(node_id=NODE, data={}))
    assert bridge.runner.clients[NODE].heartbeat > 0
    assert [(said.type, said.node_id) for said in line.sent] == [("heartbeat", NODE)]


def test_a_worker_that_was_given_up_and_gives_its_account_is_not_lost(tmp_path: Path) -> None:
    test = a_test(tmp_path)
    seen = test.add_worker(NODE)
    seen.lost = "died or was cut off: it has not been heard for seconds"
    test.keep_account(NODE, an_account())
    assert seen.accounted
    assert not test.books(0, 0).workers[0].lost


def test_an_account_of_another_worker_makes_it_lost(tmp_path: Path) -> None:
    test = a_test(tmp_path)
    test.add_worker(NODE)
    test.keep_account(NODE, an_account(number=7))
    assert "worker 7" in test.books(0, 0).workers[0].lost
