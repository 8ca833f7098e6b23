"""How many native workers one locust master leads: its CPU and its lag by workers and rate. Keep the machine quiet.

The master is a real one with the rig's locustfile; the workers are played (``played_workers``), so that this machine's
processors go to the master. A master uses one core; what it cannot do in time lies in its queue, and its lag grows.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import psutil
import pytest

from rig.evidence.scenario_runs import RESULT
from rig.machine.child import free_port
from tests.locust.locust_processes import locust, processes

SECONDS = 12
SETTLED_S = 4.0
STEPS = ((10, 1_000), (50, 1_000), (100, 1_000), (200, 1_000), (200, 100), (200, 5_000), (400, 1_000), (800, 1_000))
"""Workers, and requests/s of each."""
HANDED_OVER = 1_000_000
"""Requests whose rows are handed over at the end of each step, by all workers together."""
MOST_LAG_P99_MS = 1_000.0
"""Locust calls a worker missing after three heartbeats without an answer; this leaves room."""


@pytest.mark.bench
@pytest.mark.timeout(900)
def bench_many_workers(tmp_path: Path) -> None:
    click.echo("\n| workers | requests/s each | in all | master, cores | lag p50 ms | lag p99 ms | handed over MB/s |")
    click.echo("|---|---|---|---|---|---|---|")
    lags = {}
    for number, (workers, rate) in enumerate(STEPS):
        folder = tmp_path / str(number)
        folder.mkdir()
        cores, told = _lead(workers, rate, folder)
        lags[workers, rate] = told["lag_p99_ms"]
        click.echo(
            f"| {workers} | {rate:,} | {workers * rate:,} | {cores:.2f} | {told['lag_p50_ms']:.1f} "
            f"| {told['lag_p99_ms']:.1f} | {HANDED_OVER * RESULT.itemsize / 1e6 / told['handed_over_s']:.0f} |"
        )
    assert lags[200, 1_000] < MOST_LAG_P99_MS


def _lead(workers: int, rate: int, folder: Path) -> tuple[float, dict[str, float]]:
    """Cores that the master used in the middle of the test, and what the players saw."""
    port = free_port()
    master = locust(
        "--master", "--headless", "--expect-workers", str(workers), "-u", str(12 * workers), "-r", str(12 * workers),
        "-t", f"{SECONDS}s", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port), "--only-summary",
        "--rig-null-seconds", "0.1", "--rig-last-look", "0", "--rig-out", str(folder),
    )  # fmt: skip
    row_bytes = HANDED_OVER * RESULT.itemsize // workers
    players = [
        sys.executable, "-m", "tests.bench.played_workers", "--workers", str(workers), "--port", str(port),
        "--rate", str(rate), "--row-bytes", str(row_bytes),
    ]  # fmt: skip
    with processes(master, players, logs=folder) as (leading, playing):
        leading.wait_for("All users spawned")
        process = psutil.Process(leading.popen.pid)
        time.sleep(SETTLED_S)
        before, begun = process.cpu_times(), time.monotonic()
        time.sleep(SECONDS - 2 * SETTLED_S)
        after, ended = process.cpu_times(), time.monotonic()
        cores = (after.user + after.system - before.user - before.system) / (ended - begun)
        assert playing.end() == 0, playing.said
        leading.end()
        told = json.loads(playing.said.splitlines()[-1])
    return cores, told
