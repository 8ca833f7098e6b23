"""What it costs to be led by locust: the bare engine, a native worker under a stock master, locust's own FastHttpUser.

All three load the null stub over as many connections, by turns, several rounds. The engine is counted with what it
builds and signs beforehand (``all in``): a worker that does not know how many requests there will be builds and signs
them as it goes. FastHttpUser is there twice: doing the same, a body of its own in every request, signed; and where it
has it easiest, with fixed bytes and no signature. Both without a master. The goal is held against the same work, the
other figure stands beside it. Keep the machine quiet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click
import pytest

from rig.calibrate.stub import Stub, null_stub
from rig.machine.child import free_port
from rig.model import Pace
from tests.bench.clients.trial import CONNECTIONS, Trial, python_client
from tests.bench.clients.with_rig import Engine
from tests.locust.locust_processes import locust, processes, worker

ROUNDS = 9
SECONDS = 3
ENGINE_REQUESTS = 150_000
LEAST_RPS = 25_000
LEAST_TIMES_FAST_HTTP_USER = 8.0
MOST_TIMES_ENGINE_CPU = 1.2
STOCK = """
from locust import User, task

class S2Unique(User):
    @task
    def nothing(self):
        pass
"""
_OVER = re.compile(r"test over: (\d+) requests in ([\d.]+) s, 0 failures, ([\d.]+) us of CPU a request")


@dataclass
class Client:
    """Its trials, and how busy the stub was in each (cores)."""

    name: str
    run: Callable[[], Trial]
    trials: list[Trial] = field(default_factory=list)
    stub_busy: list[float] = field(default_factory=list)

    def take(self, stub: Stub) -> None:
        """One more trial."""
        before_s = stub.cpu_s()
        trial = self.run()
        self.trials.append(trial)
        self.stub_busy.append((stub.cpu_s() - before_s) / trial.elapsed_s)

    def times(self, other: Client, figure: str) -> float:
        """How many times another's ``rps`` or ``cpu_us``: the median over rounds, which lie close together in time."""
        pairs = zip(self.trials, other.trials, strict=True)
        return float(median(getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs))

    def line(self) -> str:
        """Medians and least–most."""
        rps, cpu_us = (sorted(getattr(trial, figure) for trial in self.trials) for figure in ("rps", "cpu_us"))
        return (
            f"{self.name:28} {median(rps):>8,.0f} ({rps[0]:,.0f}–{rps[-1]:,.0f}) requests/s"
            f" {median(cpu_us):>8.1f} ({cpu_us[0]:.1f}–{cpu_us[-1]:.1f}) us of CPU a request"
            f"  stub {median(self.stub_busy):.2f} cores"
        )


def _engine(engine: Engine, port: int, *, all_in: bool) -> Trial:
    report, rows = engine.run_scenario(port, ENGINE_REQUESTS, Pace(CONNECTIONS))
    rows.unlink()
    (ours,) = report.present
    before_s = ours.build_cpu_s + ours.flush_cpu_s if all_in else 0.0
    return Trial(ours.sent, report.elapsed_s, ours.cpu_user_s + ours.cpu_system_s + before_s)


def _native(url: str, folder: Path) -> Trial:
    """A stock master that knows nothing of the rig, and one worker."""
    file = folder / "stock.py"
    file.write_text(STOCK)
    port = free_port()
    master = locust(
        "--master", "--headless", "--expect-workers", "1", "-u", str(CONNECTIONS), "-r", "100", "-t", f"{SECONDS}s",
        "--host", url, "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port), "--only-summary",
        file=file,
    )  # fmt: skip
    with processes(master, worker(port, "--alone"), logs=folder) as (leading, working):
        assert leading.end() == 0, leading.said
        assert working.end() == 0, working.said
        said = working.said
    found = _OVER.search(said)
    assert found, said
    requests, elapsed_s, cpu_us = int(found[1]), float(found[2]), float(found[3])
    return Trial(requests, elapsed_s, requests * cpu_us / 1e6)


@pytest.mark.bench
@pytest.mark.timeout(300)
def bench_native_worker(tmp_path: Path) -> None:
    with Engine() as engine, null_stub() as stub:
        port = stub.endpoint.port
        prepared = Client("engine, requests ready", lambda: _engine(engine, port, all_in=False))
        bare = Client("engine, all in", lambda: _engine(engine, port, all_in=True))
        native = Client("native worker, stock master", lambda: _native(stub.endpoint.url, tmp_path))
        signed = Client("FastHttpUser, signed", lambda: python_client("with_locust_signed", port, SECONDS, tmp_path))
        fixed = Client("FastHttpUser, fixed bytes", lambda: python_client("with_locust", port, SECONDS, tmp_path))
        clients = (prepared, bare, native, signed, fixed)
        for _ in range(ROUNDS):
            for client in clients:
                client.take(stub)
    times, share = native.times(signed, "rps"), native.times(bare, "cpu_us")
    click.echo(f"\n{ROUNDS} interleaved rounds, {CONNECTIONS} connections, medians (least–most)")
    for client in clients:
        click.echo(client.line())
    click.echo(
        f"native worker: {times:.1f} times FastHttpUser's rate ({native.times(fixed, 'rps'):.1f} with fixed bytes), "
        f"{share:.2f} times the engine's CPU, all in"
    )
    assert median(trial.rps for trial in native.trials) >= LEAST_RPS
    assert times >= LEAST_TIMES_FAST_HTTP_USER
    assert share <= MOST_TIMES_ENGINE_CPU
