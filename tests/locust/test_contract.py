"""The native worker under a stock locust master that knows nothing of the rig: the contract with the pinned locust."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

from rig.calibrate.stub import null_stub
from rig.locust_bridge.wire import PROTOCOL
from rig.machine.child import free_port
from tests.locust.locust_processes import locust, processes, worker

FOREIGN = """
from locust import User, task

class S2Unique(User):
    @task
    def nothing(self):
        pass

class S3Malformed(S2Unique):
    pass
"""


def test_the_pinned_locust_is_the_one_that_is_spoken() -> None:
    assert version("locust").startswith(f"{PROTOCOL}.")


def test_a_stock_master_counts_what_its_native_workers_sent(tmp_path: Path) -> None:
    file = tmp_path / "foreign.py"
    file.write_text(FOREIGN)
    port = free_port()
    with null_stub() as stub:
        master = locust(
            "--master", "--headless", "--expect-workers", "2", "-u", "9", "-r", "100", "-t", "3s",
            "--host", stub.endpoint.url, "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port),
            "--only-summary", "--json-file", str(tmp_path / "stats"), "--csv", str(tmp_path / "csv"),
            file=file,
        )  # fmt: skip
        with processes(master, worker(port, "--alone"), worker(port, "--alone"), logs=tmp_path) as started:
            codes = [process.end() for process in started]
    assert codes[1:] == [0, 0], started[1].said + started[2].said
    # The reference profile's stub answers 200 to malformed bodies too, which is what they ask for.
    assert codes[0] == 0, started[0].said
    sent = [int(re.search(r"test over: (\d+) requests", each.said)[1]) for each in started[1:]]  # type: ignore[index]
    entries = {entry["name"]: entry for entry in json.loads((tmp_path / "stats.json").read_text())}
    assert set(entries) == {"S2 UniqueStorm", "S3 MalformedStorm"}
    assert sum(entry["num_requests"] for entry in entries.values()) == sum(sent) > 1000
    assert all(entry["num_failures"] == 0 for entry in entries.values())
    assert sum(entries["S2 UniqueStorm"]["response_times"].values()) == entries["S2 UniqueStorm"]["num_requests"]
    assert "Aggregated" in (tmp_path / "csv_stats.csv").read_text()
