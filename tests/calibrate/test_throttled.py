"""A client that gets a hundredth of a core: it says so itself, and blames neither the machine nor the target."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from rig.calibrate import null
from rig.calibrate.client import CalibratedClient
from rig.calibrate.null import limit_of, null_benchmark
from rig.engine.pool import Pool
from rig.errors import ExitCode
from rig.machine.processes import children, words
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.selftest.throttle import throttle
from tests.cli.commands import QUICK, Going, rig

RUN = RunKey(seed=1, run_id="throttled", started_unix=1_800_000_000)


def workers_of(rig_pid: int) -> list[int]:
    """The load processes of a running rig."""
    return [child.pid for child in children(rig_pid) if any("spawn_main" in word for word in words(child))]


def test_a_throttled_client_knows_that_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("CONNECTIONS", 20), ("WARM_UP_REQUESTS", 100), ("LEAST_REQUESTS", 200)):
        monkeypatch.setattr(null, name, count)
    profile = load_profile(bundled_profile())
    told: list[str] = []
    in_hand = Event()

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 2:  # the trial is about to begin, and would be over before the throttle looks again
            assert in_hand.wait(30)

    with Pool(1) as pool:

        def in_the_trial() -> Collection[int]:
            """There alone: a process that is throttled while it starts only takes longer to start."""
            if len(told) != 2:
                return ()
            in_hand.set()
            return pool.pids

        with throttle(in_the_trial):
            client = CalibratedClient(pool, profile, RUN, tmp_path / "c", progress=tell)
            certificate = null_benchmark(client, floor_rps=1e9, trials=1, seconds=0.1)
    assert certificate.reason
    assert certificate.median.stalled >= null.STALL_EXPLAINS
    # What else ran on this machine meanwhile is not this test's: on an idle one these figures mean one thing.
    idle = replace(certificate.median, cores_busy=(0.2, 0.2), steal=0.0, throttled_s=0.0)
    reason, explanation = limit_of(idle)
    assert reason == "client-bound"
    assert "stopped or throttled" in explanation
    assert "more cores" not in explanation


@pytest.mark.full
def test_a_client_that_is_throttled_after_its_calibration_fails_nobody(tmp_path: Path) -> None:
    options = ("--trials", "1", "-n", "200", "--max-seconds", "0.1", "--no-samplers", *QUICK)
    going = Going(["perf", *options, "--json", "--out", str(tmp_path)])
    going.wait_for("S8 PerfGate")
    (worker,) = workers_of(going.process.pid)
    with throttle(lambda: (worker,)):
        going.wait_for("waiting for the rows")
    ended = going.end()
    document: Any = ended.document()
    gates = {gate["id"]: gate for gate in document["gates"]}
    assert ended.code == ExitCode.INVALID, ended.err
    assert gates["S8.time"]["verdict"] == "INVALID"
    assert "but client: worker 0 did not run" in gates["S8.time"]["reason"]
    assert gates["S8.rows"]["verdict"] == "PASS"
    assert "FAIL" not in {gate["verdict"] for gate in gates.values()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_stands_still_for_ever_when_the_throttle_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Event()

    def broken(pids: object) -> float:
        asked.set()
        raise IndexError("no figures")

    monkeypatch.setattr("rig.selftest.throttle._cpu_s", broken)
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            with throttle(lambda: (child.pid,), stop_s=0.0):
                assert asked.wait(30)
            assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED
        finally:
            child.kill()


@pytest.mark.full
@pytest.mark.timeout(400)
def test_a_client_throttled_from_its_start_ends_in_2(tmp_path: Path) -> None:
    going = Going(["calibrate", *QUICK, "--json", "--out", str(tmp_path)])
    going.wait_for("null benchmark")
    with throttle(lambda: workers_of(going.process.pid) if going.process.poll() is None else ()):
        ended = going.end(timeout_s=300)
    document: Any = ended.document()
    assert ended.code == ExitCode.BELOW_FLOOR
    assert document["reason"] == "client-bound"
    assert "more cores" not in document["explanation"]


@pytest.mark.full
def test_the_same_client_unthrottled_is_above_the_floor(tmp_path: Path) -> None:
    assert rig("calibrate", *QUICK, "--json", "--out", str(tmp_path)).code == ExitCode.PASS
