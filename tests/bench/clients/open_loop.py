"""Open loops: does a client keep the rate, and does it measure the latency that was really delivered?

All clients send to the known-latency stub at the same rates. The stub keeps the delay that it delivered to each
request, so that the error of a client's quantiles is a figure; the lag is known of those that record intended times.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import numpy as np

from rig.calibrate.stub import latency_stub
from rig.engine.pacer import NS
from rig.evidence.history import RESULT
from rig.model import Pace
from tests.bench.clients.trial import (
    BODY,
    CONNECTIONS,
    HEADERS,
    KNOWN_PATH,
    python_figures,
    ran,
    told_by_autocannon,
)
from tests.bench.clients.with_rig import Engine

RATES_PER_S = (500, 2_000, 10_000)
NAN = float("nan")


@dataclass(frozen=True)
class Reading:
    """What a client says of itself: rate (1/s), quantiles of service time (ms), schedule lag (µs; NaN: unknown)."""

    sent_per_s: float
    p50_ms: float
    p99_ms: float
    lag_p50_us: float = NAN
    lag_p99_us: float = NAN


@dataclass(frozen=True)
class Paced:
    """One client at one rate: what it says, and what the stub delivered (ms)."""

    name: str
    rate_per_s: int
    reading: Reading
    delivered_p50_ms: float
    delivered_p99_ms: float


Sender = Callable[[int, int, float, Path], Reading]
"""(port, rate per second, seconds, folder for scratch files) -> reading."""


def paced(name: str, sender: Sender, rate_per_s: int, seconds: float, folder: Path) -> Paced:
    """One client at one rate, on a stub of its own."""
    ledger = folder / "delivered"
    with latency_stub(ledger=ledger) as stub:
        reading = sender(stub.endpoint.port, rate_per_s, seconds, folder)
    p50, p99 = np.percentile(np.fromfile(ledger, dtype=np.int64) / 1e6, (50, 99))
    return Paced(name, rate_per_s, reading, float(p50), float(p99))


def middle(rounds: list[Paced]) -> Paced:
    """Medians over the rounds of one client at one rate."""
    first = rounds[0]
    figures = {f.name: float(median(getattr(one.reading, f.name) for one in rounds)) for f in fields(Reading)}
    delivered = (median(one.delivered_p50_ms for one in rounds), median(one.delivered_p99_ms for one in rounds))
    return Paced(first.name, first.rate_per_s, Reading(**figures), *delivered)


def rig(engine: Engine) -> Sender:
    """The rig's engine: quantiles from its rows."""

    def send(port: int, rate_per_s: int, seconds: float, _: Path) -> Reading:
        count = round(rate_per_s * seconds)
        _report, file = engine.run_scenario(port, count, Pace(CONNECTIONS, float(rate_per_s)), path=KNOWN_PATH)
        rows = np.frombuffer(file.read_bytes(), dtype=RESULT)
        file.unlink()
        lag = np.percentile((rows["sent_ns"] - rows["intended_ns"]) / 1e3, (50, 99))
        service = np.percentile((rows["done_ns"] - rows["sent_ns"]) / 1e6, (50, 99))
        span_s = (rows["sent_ns"].max() - rows["sent_ns"].min()) / NS
        return Reading((len(rows) - 1) / span_s, *map(float, service), *map(float, lag))

    return send


def k9(port: int, rate_per_s: int, seconds: float, folder: Path) -> Reading:
    """k9-load's constant arrival rate; its summary."""
    request = {"method": "POST", "url": f"http://127.0.0.1:{port}{KNOWN_PATH}", "headers": HEADERS, "body": BODY}
    executor = {
        "executor": "constant-arrival-rate",
        "rate": rate_per_s,
        "timeUnit": "1s",
        "duration": f"{seconds:g}s",
        "preAllocatedVUs": CONNECTIONS,
    }
    options = {"scenarios": {"open": executor}, "summaryTrendStats": ["med", "p(99)"]}
    plan, summary = folder / "plan.json", folder / "summary.json"
    plan.write_text(json.dumps({"options": options, "flows": {"default": [{"request": request}]}}))
    ran([str(Path(sys.executable).with_name("k9")), "run", "--summary-export", str(summary), str(plan)], folder)
    metrics = json.loads(summary.read_text())["metrics"]
    took = metrics["http_req_duration"]
    return Reading(metrics["http_reqs"]["count"] / seconds, took["med"], took["p(99)"])


def hey(port: int, rate_per_s: int, seconds: float, folder: Path) -> Reading:
    """hey's limit of queries per second and worker; each of its requests in CSV."""
    count = round(rate_per_s * seconds)
    command = ["hey", "-n", str(count), "-c", str(CONNECTIONS), "-q", f"{rate_per_s / CONNECTIONS:g}", "-o", "csv"]
    headers = [word for name, value in HEADERS.items() for word in ("-H", f"{name}: {value}")]
    url = f"http://127.0.0.1:{port}{KNOWN_PATH}"
    ended = ran([*command, "-m", "POST", "-d", BODY, *headers, url], folder)
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    took_ms = np.array([float(row["response-time"]) for row in rows]) * 1e3
    offsets_s = np.array([float(row["offset"]) for row in rows])
    p50, p99 = np.percentile(took_ms, (50, 99))
    return Reading((len(rows) - 1) / float(np.ptp(offsets_s)), float(p50), float(p99))


def autocannon(port: int, rate_per_s: int, seconds: float, folder: Path) -> Reading:
    """autocannon's overall rate; its percentiles, corrected for what it sent late as wrk2 does it, in whole ms."""
    told, _ = told_by_autocannon(port, KNOWN_PATH, seconds, folder, "-R", str(rate_per_s))
    return Reading(told["requests"]["total"] / told["duration"], told["latency"]["p50"], told["latency"]["p99"])


def locust(port: int, rate_per_s: int, seconds: float, folder: Path) -> Reading:
    """locust's constant_throughput; its own percentiles, which are whole milliseconds."""
    found = python_figures("with_locust", folder, str(port), str(seconds), str(rate_per_s))
    return Reading(found["requests"] / found["elapsed_s"], found["p50_ms"], found["p99_ms"])


def table(readings: list[Paced]) -> list[str]:
    """Lines of Markdown."""
    lines = [
        "| client | rate | sent | lag p50 / p99 µs | p50 ms: measured − delivered | p99 ms: measured − delivered |",
        "|---|---|---|---|---|---|",
    ]
    for one in readings:
        said = one.reading
        lag = "not recorded" if np.isnan(said.lag_p50_us) else f"{said.lag_p50_us:,.0f} / {said.lag_p99_us:,.0f}"
        lines.append(
            f"| {one.name} | {one.rate_per_s:,}/s | {said.sent_per_s:,.0f}/s | {lag} "
            f"| {said.p50_ms:.2f} − {one.delivered_p50_ms:.2f} = {said.p50_ms - one.delivered_p50_ms:+.2f} "
            f"| {said.p99_ms:.2f} − {one.delivered_p99_ms:.2f} = {said.p99_ms - one.delivered_p99_ms:+.2f} |"
        )
    return lines
