"""Whole runs that locust leads: real PostgreSQL, the reference service, real masters and workers."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from rig.errors import ExitCode
from rig.evidence.pack import Pack
from rig.machine.abandoned import leftovers
from rig.machine.child import free_port
from rig.profile import bundled_profile
from tests.cli.commands import command, only_pack, rig
from tests.locust.locust_processes import QUICK, Process, locust, processes, web_ui, worker


def _gates(pack: Path) -> dict[str, dict[str, Any]]:
    return {gate["id"]: gate for gate in json.loads((pack / "verdicts.json").read_text())["gates"]}


def _ended(pack: Path) -> pd.DataFrame:
    return pd.read_parquet(pack / "history")


def test_locust_alone_finds_a_defect(tmp_path: Path) -> None:
    words = ("--headless", "-u", "10", "-r", "50", "-t", "3s", "--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words, "--rig-defect", "no-deduplication"), logs=tmp_path) as (master,):
        assert master.end() == ExitCode.FAIL, master.said
    gates = _gates(pack := only_pack(tmp_path / "results"))
    assert gates["S1.rows"]["verdict"] == "FAIL"
    for untouched in ("S2.rows", "S3.answers", "locust.totals", "locust.reports", "accounting", "calibration.null"):
        assert gates[untouched]["verdict"] == "PASS", gates[untouched]
    assert len(_ended(pack)) == gates["locust.totals"]["figures"]["locust_requests"] > 0
    assert rig("check", str(pack)).code == ExitCode.FAIL
    assert not leftovers()


STRANGER = """
import os, sys, msgpack, zmq
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
worker = zmq.Context().socket(zmq.DEALER)
worker.setsockopt(zmq.IDENTITY, b"stranger_rig_1_a")
worker.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
print("asks", flush=True)
while True:
    worker.send(msgpack.packb(("client_ready", "2.47.0", "stranger_rig_1_a")))
    if worker.poll(200):
        print("was told", worker.recv(), flush=True)
"""


def _port_of_master(verb: Process) -> str:
    """As any user of the machine sees it in the list of processes."""
    for child in psutil.Process(verb.popen.pid).children():
        words = child.cmdline()
        if "--master-bind-port" in words:
            return words[words.index("--master-bind-port") + 1]
    raise AssertionError(verb.said)


def test_a_worker_of_another_user_gets_nothing_and_is_not_waited_for(tmp_path: Path) -> None:
    words = ("mix", "--users", "4", "--seconds", "5", "--null-seconds", "0.1", "--last-look", "0")
    with processes(command(*words, "--out", str(tmp_path / "results")), logs=tmp_path) as (verb,):
        verb.wait_for("preparing the database")
        stranger = subprocess.Popen(
            [sys.executable, "-c", STRANGER, _port_of_master(verb)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert verb.end() == ExitCode.PASS, verb.said
        finally:
            stranger.kill()
            said, _ = stranger.communicate()
    assert said == "asks\n"
    assert "stranger" not in verb.said
    assert _gates(only_pack(tmp_path / "results"))["locust.reports"]["verdict"] == "PASS"


def test_the_mix_of_ones_own_in_the_guide_is_sent_and_judged(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/locust.md").read_text()
    own = tmp_path / "own.py"
    own.write_text(guide.split("```python\n")[1].split("```")[0])
    words = ("--headless", "-u", "4", "-r", "50", "-t", "3s", "--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words, file=own), logs=tmp_path) as (master,):
        assert master.end() == ExitCode.PASS, master.said
    rows = _ended(only_pack(tmp_path / "results"))
    assert {label.split("-")[0] for label in rows["scenario_run"].astype(str)} == {"B1", "B2"}


def test_scaling_stopping_and_starting_again_loses_no_request(tmp_path: Path) -> None:
    with web_ui(tmp_path, "--workers", "2") as ui:
        ui.post("/swarm", user_count=4, spawn_rate=50)
        ui.until(lambda state: state["users"] == 4 and state["requests"] > 50)
        ui.post("/swarm", user_count=14, spawn_rate=50)
        ui.until(lambda state: state["users"] == 14)
        ui.post("/swarm", user_count=3, spawn_rate=50)
        ui.until(lambda state: state["users"] == 3)
        ui.post("/stop")
        first = ui.until(lambda state: state["verdict"])
        assert first["verdict"] == "PASS", first["tables"]["rig-gates"]
        seen = first["requests"]
        gates = _gates(Path(first["pack"]))
        counted = gates["locust.totals"]["figures"]
        assert {counted[f"{who}_requests"] for who in ("history", "locust", "workers")} == {seen}
        rows = gates["totals"]["figures"]
        assert gates["totals"]["verdict"] == "PASS"
        assert rows["canonical"] + rows["dead"] <= seen
        tables = json.loads(ui.get("/stats/requests"))["extended_stats"]
        assert {row["gate"] for table in tables if table["key"] == "rig-gates" for row in table["data"]} == set(gates)

        ui.post("/swarm", user_count=2, spawn_rate=50)
        ui.until(lambda state: state["users"] == 2 and state["requests"] > 20)
        ui.post("/stop")
        second = ui.until(lambda state: state["verdict"] and state["pack"] != first["pack"])
        assert second["verdict"] == "PASS", second["tables"]["rig-gates"]
        assert _gates(Path(second["pack"]))["locust.totals"]["figures"]["history_requests"] == second["requests"]
        with zipfile.ZipFile(io.BytesIO(ui.get("/rig/pack"))) as archive:
            assert f"{Path(second['pack']).name}/SHA256SUMS" in archive.namelist()
    assert not leftovers()


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A profile of the reference service whose tenants take three seconds to make."""
    slowly = (
        "WITH waiting AS (SELECT pg_sleep(3)) INSERT INTO tenants (tenant_id, name, api_key_sha256, webhook_secrets)"
        " SELECT %(tenant_id)s, %(name)s, %(api_key_sha256)s, %(secrets)s FROM waiting"
    )
    text = bundled_profile().read_text()
    profile = tmp_path / "slow.toml"
    profile.write_text(re.sub(r'provision_sql = """.*?"""', f'provision_sql = """{slowly}"""', text, flags=re.DOTALL))
    shutil.copy(bundled_profile().with_name("reference.service.toml"), tmp_path)
    return profile


def test_a_test_that_is_stopped_while_it_is_prepared_leaves_the_next_one_whole(slow: Path, tmp_path: Path) -> None:
    with web_ui(tmp_path, "--profile", str(slow)) as ui:
        assert ui.post("/swarm", user_count=2, spawn_rate=50)["success"]
        ui.until(lambda state: state["status"] == "preparing")
        edited = ui.post("/swarm", user_count=9, spawn_rate=50)
        assert (edited["success"], edited["message"]) == (False, "Not now: a test is being prepared")
        ui.post("/stop")
        first = ui.until(lambda state: state["verdict"])
        assert (first["verdict"], first["requests"]) == ("INVALID", 0)
        assert ui.post("/swarm", user_count=2, spawn_rate=50)["success"]
        ui.until(lambda state: state["requests"] > 50)
        ui.post("/stop")
        second = ui.until(lambda state: state["verdict"] and state["pack"] != first["pack"])
        assert second["verdict"] == "PASS", second["tables"]["rig-gates"]
    assert not leftovers()


@pytest.mark.parametrize("native", [True, False])
def test_a_run_whose_time_is_over_before_its_test_began_is_no_pass(slow: Path, tmp_path: Path, native: bool) -> None:
    port = free_port()
    here = ("--master", "--master-bind-port", str(port), "--expect-workers", "1") if native else ()
    words = ("--headless", "-u", "2", "-t", "1s", "--rig-profile", str(slow), *here)
    workers = [worker(port)] if native else []
    with processes(locust(*words, "--rig-out", str(tmp_path / "results"), *QUICK), *workers, logs=tmp_path) as started:
        assert started[0].end() == ExitCode.INVALID, started[0].said
    assert "nobody sent a request" in _gates(only_pack(tmp_path / "results"))["locust.totals"]["reason"]
    assert not leftovers()


def test_s8_alone_wants_a_user_on_every_worker(tmp_path: Path) -> None:
    port = free_port()
    here = ("--master", "--master-bind-port", str(port), "--expect-workers", "2", "--rig-s8", "300")
    words = ("S8PerfGate", "--headless", "-u", "1", *here, "--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words), worker(port), worker(port), logs=tmp_path) as (master, *_):
        assert master.end() == ExitCode.USAGE, master.said
        assert "start 2 users at least" in master.said


def test_s8_alone_ends_also_when_a_share_of_it_died(tmp_path: Path) -> None:
    port = free_port()
    here = ("--master", "--master-bind-port", str(port), "--expect-workers", "2", "--rig-s8", "20000")
    words = ("S8PerfGate", "--headless", "-u", "8", "-r", "50", *here, "--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words), worker(port), worker(port), logs=tmp_path) as (master, first, second):
        master.wait_for("All users spawned")
        second.popen.kill()
        assert master.end() == ExitCode.INVALID, master.said
        assert first.end() == 0


def test_a_run_that_is_told_to_end_is_judged_first(tmp_path: Path) -> None:
    port = free_port()
    here = ("--master-bind-port", str(port))  # on loopback, where nothing else is said
    words = ("--headless", "--master", *here, "--expect-workers", "1", "-u", "10", "-r", "50", "-t", "90s")
    out = ("--rig-out", str(tmp_path / "results"), "--rig-defect", "no-deduplication", *QUICK)
    with processes(locust(*words, *out), worker(port), logs=tmp_path) as (master, working):
        master.wait_for("S1 ReplayStorm")
        listening = [each.laddr for each in psutil.Process(master.popen.pid).net_connections("tcp") if not each.raddr]
        assert ("127.0.0.1", port) in listening
        assert {address.ip for address in listening} == {"127.0.0.1"}
        master.popen.terminate()
        assert master.end() == ExitCode.FAIL, master.said
        assert working.end() == 0, working.said
    assert _gates(only_pack(tmp_path / "results"))["S1.rows"]["verdict"] == "FAIL"
    assert not leftovers()


def test_a_killed_worker_makes_the_verdict_invalid(tmp_path: Path) -> None:
    port = free_port()
    here = ("--master-bind-host", "127.0.0.1", "--master-bind-port", str(port))
    words = ("--headless", "--master", *here, "--expect-workers", "2", "-u", "10", "-r", "50", "-t", "8s")
    out = ("--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words, *out), worker(port), worker(port), logs=tmp_path) as (master, first, second):
        master.wait_for("All users spawned")
        second.popen.kill()
        assert master.end() == ExitCode.INVALID, master.said
        assert first.end() == 0
    gates = _gates(only_pack(tmp_path / "results"))
    assert gates["locust.reports"]["verdict"] == "INVALID"
    assert "not been heard" in gates["locust.reports"]["reason"]
    # What the dead worker may have sent is neither lost nor unexpected.
    assert not [gate for gate in gates.values() if gate["verdict"] == "FAIL"]


@pytest.mark.parametrize(("defects", "code"), [((), ExitCode.PASS), (("ack-without-storing",), ExitCode.FAIL)])
def test_s8_is_a_fixed_count_that_ends_the_test(tmp_path: Path, defects: tuple[str, ...], code: ExitCode) -> None:
    port = free_port()
    here = ("--master-bind-host", "127.0.0.1", "--master-bind-port", str(port))
    words = ("S8PerfGate", "--headless", "--master", *here, "--expect-workers", "1", "-u", "20", "-r", "100")
    more = ("--rig-s8", "3000", "--rig-s8-seconds", "30", "--rig-out", str(tmp_path / "results"), *QUICK)
    seeded = [word for defect in defects for word in ("--rig-defect", defect)]
    with processes(locust(*words, *more, *seeded), worker(port), logs=tmp_path) as (master, _):
        assert master.end() == code, master.said
    pack = only_pack(tmp_path / "results")
    assert len(_ended(pack)) == 3000
    assert _gates(pack)["S8.time"]["verdict"] == "PASS"
    case = Pack(pack).load()
    assert [run.machine is not None for run in case.scenario_runs_of("S8")] == [True]
    assert master.popen.pid not in set(case.samples.others["pid"])
    assert (f"seeded into the service: {defects[0]}" if defects else "PASS") in (pack / "pr.md").read_text()


def test_s8_beside_other_user_classes_does_not_end_the_test(tmp_path: Path) -> None:
    """Once its requests are sent, its users stay idle, and the others go on to the end of the time."""
    words = ("S8PerfGate", "S2Unique", "--headless", "-u", "10", "-r", "50", "-t", "8s", "--rig-s8", "200")
    out = ("--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words, *out), logs=tmp_path) as (master,):
        assert master.end() == ExitCode.PASS, master.said
    rows = _ended(only_pack(tmp_path / "results"))
    is_s8 = rows["scenario_run"].astype(str).str.startswith("S8")
    shared, others = rows[is_s8], rows[~is_s8]
    assert len(shared) == 200
    assert others["sent_ns"].max() > shared["sent_ns"].max() + 3e9


@pytest.mark.parametrize("native", [True, False])
def test_a_locust_run_ends_at_its_ceiling(tmp_path: Path, native: bool) -> None:
    """Told to run for minutes, it sends what it may, to the last request, and is judged."""
    port = free_port()
    here = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port), "--expect-workers", "1")
    words = ("--headless", "-u", "10", "-r", "50", "-t", "5m", "--rig-max-requests", "600", *(here if native else ()))
    workers = [worker(port)] if native else []
    out = ("--rig-out", str(tmp_path / "results"), *QUICK)
    with processes(locust(*words, *out), *workers, logs=tmp_path) as (leading, *_):
        assert leading.end() == ExitCode.PASS, leading.said
        assert "ceiling of 600 requests" in leading.said
    assert len(_ended(only_pack(tmp_path / "results"))) == 600


def test_a_fixed_count_above_the_ceiling_is_refused(tmp_path: Path) -> None:
    words = ("S8PerfGate", "--headless", "-u", "2", "-r", "50", "--rig-s8", "3000", "--rig-max-requests", "600")
    with processes(locust(*words, "--rig-out", str(tmp_path / "results"), *QUICK), logs=tmp_path) as (leading,):
        assert leading.end() == ExitCode.USAGE, leading.said
        assert (
            "3,000 requests are more than a run may send (600, --max-requests, of locust --rig-max-requests)"
            in leading.said
        )
    assert not (tmp_path / "results").exists()


def test_a_test_that_cannot_begin_sends_nothing(tmp_path: Path) -> None:
    words = ("--headless", "-u", "2", "-r", "50", "-t", "3s", "--rig-out", str(tmp_path / "results"), *QUICK)
    master: Process
    with processes(locust(*words, "--rig-route", "no-such"), logs=tmp_path) as (master,):
        assert master.end() == ExitCode.CONFIG, master.said
    assert "no-such" in master.said
