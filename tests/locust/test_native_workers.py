"""A search for the capacity that native workers send: whole runs, and the certificate that they are judged by."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ExitCode, UsageError
from rig.evidence.capacity import CAPACITY
from rig.evidence.case import Case
from rig.evidence.pack import Pack
from rig.locust_bridge.native_workers import NativeWorkers, find_weakest
from rig.machine.child import free_port
from rig.machine.supervisor import Supervisor
from rig.run.job import ExpectedWorkers
from tests.checks.cases import certificate, latency_calibration, latency_step, null_trial
from tests.cli.commands import QUICK, command, only_pack
from tests.locust.locust_processes import Process, processes, worker
from tests.locust.test_locust_runs import _gates

SEARCH = ("--reference", *QUICK, "--seconds", "1", "--minutes", "0.15", "--first", "50", "--max-rate", "400")
BAD_CLOCK = """
from rig.cli import entry
from rig.locust_bridge import clock, native_client
from rig.target.endpoint import Endpoint
hear = clock.Offset.hear
clock.boot_id = native_client.boot_id = lambda: "another boot"
clock.Offset.hear = lambda self, sent_ns, *told: hear(self, sent_ns - 400_000_000, *told)  # 0.2 s either way
Endpoint.is_loopback = False  # the other machine is this one
entry()
"""


def search(out: Path, port: int, *words: str) -> list[str]:
    asked = (*SEARCH, *words, "--out", str(out))
    return command("capacity", "--expect-workers", "2", "--master-bind-port", str(port), *asked)


def read(out: Path) -> Case:
    return Pack.open(only_pack(out)).load()


def steps_of(process: Process) -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads(process.said[process.said.index("\n{") :])
    steps: list[dict[str, Any]] = document["capacity"]["steps"]
    return steps


def blamed(pack: Path) -> list[Any]:
    """The gates that say that the target is wrong."""
    return [gate for gate in _gates(pack).values() if gate["verdict"] == "FAIL"]


@pytest.mark.full
def test_two_workers_share_each_step_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    out, port = tmp_path / "results", free_port()
    commands: Sequence[Sequence[str]] = (search(out, port, "--json"), worker(port), worker(port))
    with processes(*commands, logs=tmp_path) as (rig, one, two):
        assert rig.end() in (ExitCode.PASS, ExitCode.INVALID), rig.said  # a busy machine may be the limit
        assert (one.end(), two.end()) == (0, 0), one.said + two.said
    case = read(out)
    runs = case.scenario_runs_of(CAPACITY)
    assert [step["result"] for step in steps_of(rig)][:1] == ["held"], rig.said
    for run in runs:
        assert run.complete
        rows = case.rows_of(run)
        assert rows["worker"].value_counts().to_dict() == {report.worker: report.sent for report in run.present}
        assert len(rows) == run.scenario.count
    assert case.truth is not None
    assert [finding for finding in case.leak_findings if not finding.clean and finding.when == "after"] == []
    assert blamed(only_pack(out)) == []


@pytest.mark.full
def test_a_worker_that_is_killed_ends_the_search_and_blames_nobody(tmp_path: Path) -> None:
    out, port = tmp_path / "results", free_port()
    commands = (search(out, port, "--seconds", "4"), worker(port), worker(port))
    with processes(*commands, logs=tmp_path) as (rig, _, two):
        rig.wait_for("step 2: ")
        two.popen.send_signal(signal.SIGKILL)
        assert rig.end() == ExitCode.INVALID, rig.said
    case = read(out)
    last = case.scenario_runs_of(CAPACITY)[-1]
    assert [report is None for report in last.workers].count(True) == 1
    assert case.capacity is not None
    assert "died or was cut off" in case.capacity.ended
    assert blamed(only_pack(out)) == []


@pytest.mark.full
def test_a_worker_whose_clock_is_not_known_proves_no_rate(tmp_path: Path) -> None:
    out, port = tmp_path / "results", free_port()
    unsure = [sys.executable, "-c", BAD_CLOCK, "worker", "--master", f"127.0.0.1:{port}"]
    commands = (search(out, port, "--json"), worker(port), unsure)
    with processes(*commands, logs=tmp_path) as (rig, _, _):
        assert rig.end() == ExitCode.INVALID, rig.said
    steps = steps_of(rig)
    assert {step["result"] for step in steps} == {"not driven"}
    assert all("the clock of worker" in step["why"] for step in steps)
    assert blamed(only_pack(out)) == []


def test_a_port_that_is_taken_is_said_with_the_remedy() -> None:
    import socket

    with socket.socket() as taken, Supervisor() as supervisor:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        expected = ExpectedWorkers(1, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(UsageError, match="--master-bind-port"), NativeWorkers(expected, supervisor, lambda _: None):
            pass


def test_the_weakest_client_is_the_one_that_judges() -> None:
    fast, slow = (certificate(trials=(null_trial(rps=rps),) * 3) for rps in (50_000.0, 20_000.0))
    coarse = latency_calibration(latency_step(500.0))
    exact = latency_calibration(latency_step(5_000.0))
    both = [replace(fast, latency_calibration=coarse), replace(slow, latency_calibration=exact)]
    assert find_weakest(both) == (replace(slow, latency_calibration=coarse), 1, 0)
    assert find_weakest([*both, replace(fast, latency_calibration=None)])[0].latency_calibration is None
    bound = replace(fast, reason="client-bound")
    assert find_weakest([slow, bound])[1] == 1
