"""Interleaves all clients, several rounds, and writes the table and the plot."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import click
from matplotlib.figure import Figure

from rig.calibrate.machine import CpuWatch
from rig.calibrate.stub import Stub, null_stub
from rig.machine.cgroup import allowed_cores
from tests.bench.clients import open_loop
from tests.bench.clients import trial as client
from tests.bench.clients.history import NAME, Line, add_line, describe_commit, history_table
from tests.bench.clients.open_loop import RATES_PER_S, Paced, middle, paced
from tests.bench.clients.trial import CONNECTIONS, Trial
from tests.bench.clients.with_rig import Engine

STUB_BOUND = 0.95
FOLDER = Path("docs/benchmarks")


@dataclass
class Client:
    """A load generator and its trials; ``missing`` says how to get one that is not there."""

    name: str
    does: str
    run: Callable[[int, float, Path], Trial]
    missing: str = ""
    trials: list[Trial] = field(default_factory=list)
    stub_busy: list[float] = field(default_factory=list)

    def median(self, figure: str) -> float:
        """Median over the trials."""
        return float(median(getattr(trial, figure) for trial in self.trials))

    def spread(self, figure: str) -> str:
        """Least and most over the trials."""
        values = sorted(getattr(trial, figure) for trial in self.trials)
        return f"{values[0]:,.1f}–{values[-1]:,.1f}" if figure == "cpu_us" else f"{values[0]:,.0f}–{values[-1]:,.0f}"

    @property
    def stub_bound(self) -> bool:
        """True when the stub was at its own limit, so that the rate says little of the client."""
        return median(self.stub_busy) >= STUB_BOUND


def _clients(engine: Engine) -> list[Client]:
    def program(name: str) -> str:
        return "" if shutil.which(name) else f"install the Debian package `{name}`"

    def script(name: str) -> str:
        return "" if shutil.which(name) else f"`npm install --global {name}`"

    def package(module: str, name: str) -> str:
        return "" if importlib.util.find_spec(module) else f"`pip install {name}`"

    fixed, python = "fixed bytes", client.python_client
    return [
        Client(
            "rig",
            "unique bodies, built and signed before the clock starts; one row a request",
            lambda port, s, _: engine.trial(port, s),
        ),
        Client("wrk", fixed, client.wrk, program("wrk")),
        Client("k9-load", f"{fixed}, declarative plan", client.k9, package("k9", "k9-load")),
        Client("autocannon", f"{fixed}, Node", client.autocannon, script("autocannon")),
        Client("hey", fixed, client.hey, program("hey")),
        Client("aiohttp", f"{fixed}, uvloop", partial(python, "with_aiohttp"), package("aiohttp", "aiohttp")),
        Client("locust", f"{fixed}, FastHttpUser", partial(python, "with_locust"), package("locust", "locust")),
        Client("httpx", f"{fixed}, uvloop", partial(python, "with_httpx"), package("httpx", "httpx")),
    ]


def _round(clients: list[Client], stub: Stub, seconds: float, folder: Path) -> None:
    for one in clients:
        if one.missing:
            continue
        before_s = stub.cpu_s()
        trial = one.run(stub.endpoint.port, seconds, folder)
        one.trials.append(trial)
        one.stub_busy.append((stub.cpu_s() - before_s) / trial.elapsed_s)
        click.echo(f"  {one.name:8} {trial.rps:>9,.0f} requests/s {trial.cpu_us:>9,.1f} µs a request")


def _open_loop(engine: Engine, clients: list[Client], rounds: int, seconds: float, folder: Path) -> list[Paced]:
    """Every client that has a rate, at every rate, interleaved; medians."""
    senders = {
        "rig": open_loop.rig(engine),
        "k9-load": open_loop.k9,
        "autocannon": open_loop.autocannon,
        "hey": open_loop.hey,
        "locust": open_loop.locust,
    }
    there = [one.name for one in clients if not one.missing and one.name in senders]
    found: dict[tuple[int, str], list[Paced]] = {(rate, name): [] for rate in RATES_PER_S for name in there}
    for number in range(1, rounds + 1):
        click.echo(f"open loop, round {number} of {rounds}")
        for (rate, name), readings in found.items():
            readings.append(paced(name, senders[name], rate, seconds, folder))
    return [middle(readings) for readings in found.values()]


def _figures(clients: list[Client], readings: list[Paced], machine: str) -> Line | None:
    """The line of this commit; None where wrk, to which all is compared, is missing."""
    there = {one.name: one for one in clients if one.trials}
    if "wrk" not in there:
        return None
    rig_us, wrk_us, all_in_us = (
        there[name].median(figure) for name, figure in (("rig", "cpu_us"), ("wrk", "cpu_us"), ("rig", "all_in_us"))
    )
    (lag_us,) = (one.reading.lag_p99_us for one in readings if (one.name, one.rate_per_s) == ("rig", RATES_PER_S[-1]))
    ratios = f"{rig_us / wrk_us:.2f}", f"{all_in_us / wrk_us:.2f}"
    return Line(*describe_commit(), machine, f"{rig_us:.1f}", f"{wrk_us:.1f}", *ratios, f"{lag_us:.0f}")


def _markdown(clients: list[Client], readings: list[Paced], rounds: int, machine: str, history: list[Line]) -> str:
    present = [one for one in clients if one.trials]
    wrk_us = next((one.median("cpu_us") for one in present if one.name == "wrk"), None)
    lines = [
        "# Client benchmark",
        "",
        f"Each client sends the same POST to the null stub: one process, {CONNECTIONS} keep-alive connections.",
        f"{rounds} interleaved rounds; a figure is their median (lowest–highest). {machine}.",
        "Made by `make bench`. *All in* includes what a client does before the clock starts: the rig builds and signs",
        "every body.",
        "",
        "| client | does | CPU µs/request | all in | of wrk's | requests/s | limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in present:
        ratio = f"{one.median('cpu_us') / wrk_us:.2f}" if wrk_us else "–"
        limit = "the stub" if one.stub_bound else "the client"
        lines.append(
            f"| {one.name} | {one.does} | {one.median('cpu_us'):,.1f} ({one.spread('cpu_us')}) "
            f"| {one.median('all_in_us'):,.1f} | {ratio} "
            f"| {one.median('rps'):,.0f} ({one.spread('rps')}) | {limit} |"
        )
    lines += [f"\nNot measured: {one.name} ({one.missing})." for one in clients if one.missing]
    lines += [
        "",
        "## Open loop",
        "",
        "Each client sends at a constant rate. The stub answers after a millisecond and records the real delay of each",
        "answer. Schedule lag is how late a request was sent. The last two columns are the latency that the client",
        "measured minus the delay that the stub made. All figures are medians.",
        "",
        *open_loop.table(readings),
        "",
        "## From commit to commit",
        "",
        f"Each `make bench` adds a line to [{NAME}]({NAME}). Compare lines of one machine only, and ratios rather",
        "than times: the speed of a machine differs from day to day.",
        "",
        *history_table(history),
    ]
    return "\n".join(lines) + "\n"


def _plot(clients: list[Client]) -> Figure:
    present = [one for one in clients if one.trials][::-1]
    figure = Figure(figsize=(8, 0.5 * len(present) + 1.2), layout="constrained")
    axes = figure.subplots()
    values = [one.median("cpu_us") for one in present]
    colours = ["#0072b2" if one.name == "rig" else "#bbbbbb" for one in present]
    bars = axes.barh([one.name for one in present], values, color=colours)
    axes.bar_label(bars, [f"{value:,.1f}" for value in values], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.set_xlabel("client CPU per request (µs, logarithmic)")
    axes.set_title("What one request costs the client", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Length of one trial.")
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(rounds: int, seconds: float, out: Path) -> None:
    """Compare load generators against the null stub; keep the machine quiet meanwhile."""
    watch = CpuWatch()
    with Engine() as engine, null_stub() as stub, tempfile.TemporaryDirectory(prefix="rig-bench-") as folder:
        clients = _clients(engine)
        for number in range(1, rounds + 1):
            click.echo(f"round {number} of {rounds}")
            _round(clients, stub, seconds, Path(folder))
        readings = _open_loop(engine, clients, rounds, seconds, Path(folder))
    machine = f"{allowed_cores():g} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    if watch.since().steal > 0.02:
        machine += "; the hypervisor stole CPU meanwhile"
    out.mkdir(parents=True, exist_ok=True)
    line = _figures(clients, readings, machine)
    text = _markdown(clients, readings, rounds, machine, add_line(out, line) if line else [])
    (out / "clients.md").write_text(text)
    _plot(clients).savefig(out / "clients.png", dpi=120)
    click.echo(text)


if __name__ == "__main__":
    main()
