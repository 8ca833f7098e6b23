"""Native workers as a locust master sees them, many in one process, without a load of their own.

Each greets, takes its plan, reports the statistics of made-up requests and a heartbeat each second, asks for the
master's time as a worker does, and hands over rows at the end. What comes back is timed: the master's lag is how long
it takes to answer a heartbeat. Not for judging: the accounts are empty.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import click
import numpy as np
import uvloop
from pydantic import TypeAdapter

from rig.errors import ErrorKind
from rig.evidence.locust_run import WorkerAccount
from rig.evidence.scenario_runs import RESULT
from rig.locust_bridge.keys import key_file, read_key
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.tally import Tally
from rig.locust_bridge.wire import CLOCK, FINISH, PLAN, REPORT, ROWS, VERSION, MasterLink
from rig.locust_bridge.worker import HEARTBEAT_S, REPORT_S
from rig.machine.open_files import raise_limit

PIECE_BYTES = 256 * 1024
NAMES = ("S2Unique", "S1Replays", "S3Malformed", "S4Personal", "S6Mixed", "S7Truncated")
_ACCOUNT = TypeAdapter(WorkerAccount)


@dataclass
class Played:
    """One worker; ``lags_ms`` are the times from a heartbeat to the master's answer."""

    link: MasterLink
    rate_per_s: int
    row_bytes: int
    lags_ms: list[float] = field(default_factory=list)
    number: int = -1
    running: bool = False
    finished_s: float = 0.0
    heard_s: float = 0.0
    _reports: int = 0
    _requests: int = 0

    async def play(self, delay_s: float) -> None:
        """Be a worker until the master says quit. Workers differ in when they report."""
        await asyncio.sleep(delay_s)
        await self.link.send("client_ready", VERSION)
        beats = asyncio.create_task(self._beat())
        reports = asyncio.create_task(self._report())
        try:
            await self._obey()
        finally:
            beats.cancel()
            reports.cancel()
            await asyncio.gather(beats, reports, return_exceptions=True)

    async def _obey(self) -> None:
        while True:
            message = await self.link.receive()
            match message.type:
                case "heartbeat":
                    self.heard_s = time.monotonic()
                    if self.running:  # later ones answer pieces of rows
                        self.lags_ms.append((self.heard_s - self._beaten_s) * 1e3)
                case "spawn":
                    users = message.data["user_classes_count"]
                    self.running = True
                    await self.link.send("spawning")
                    await self.link.send(
                        "spawning_complete", {"user_classes_count": users, "user_count": sum(users.values())}
                    )
                case kind if kind == PLAN:
                    self.number = LocustPlan.from_wire(message.data).worker
                case kind if kind in (FINISH, "stop", "quit"):
                    await self._finish()
                    if kind == "quit":
                        return

    async def _finish(self) -> None:
        if not self.running:
            return
        self.running, self.finished_s = False, time.monotonic()
        left = self.row_bytes
        while left > 0 and self.number >= 0:
            piece = bytes(min(left, PIECE_BYTES))
            left -= len(piece)
            await self.link.send(ROWS, {"label": "S2-1-played-0", "worker": self.number, "data": piece})
        account = WorkerAccount(self.number, self.link.node, "played", 0, self._reports, self._requests, 0, 0.0, 1.0)
        await self.link.send(REPORT, _ACCOUNT.dump_python(account, mode="json"))

    async def _beat(self) -> None:
        while True:
            self._beaten_s = time.monotonic()
            usage = {"state": "running" if self.running else "ready", "current_cpu_usage": 50.0}
            await self.link.send("heartbeat", usage | {"current_memory_usage": 1 << 27})
            await asyncio.sleep(HEARTBEAT_S)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            if not self.running:
                continue
            self._reports += 1
            self._requests += self.rate_per_s
            rig = {"sequence": self._reports, "credit": {}, "spent": False}
            await self.link.send("stats", made_up_report(self.rate_per_s, seed=self._reports) | {"rig": rig})
            await self.link.send(CLOCK, {"sent_ns": time.monotonic_ns()})


_rows: dict[int, list[Any]] = {}


def made_up_report(rate_per_s: int, *, seed: int) -> dict[str, Any]:
    """A second's statistics in the form of locust's message, of response times that are spread log-normally."""
    known = _rows.setdefault(rate_per_s, [])
    if len(known) < 8:  # made anew each time they would cost the players what they are to load the master with
        rng = np.random.default_rng(seed)
        rows = np.zeros(max(1, rate_per_s // len(NAMES)), dtype=RESULT)
        rows["done_ns"] = rng.lognormal(np.log(5e6), 0.8, len(rows)).astype(np.int64)
        rows["error_kind"] = ErrorKind.NONE
        tally = Tally()
        for name in NAMES:
            tally.add(name, rows, np.zeros(len(rows), dtype=bool))
        known.append(tally.take())
    report = known[seed % len(known)]
    now = int(time.time())
    for entry in (*report["stats"], report["stats_total"]):
        entry["num_reqs_per_sec"] = {now: entry["num_requests"]}
        entry["last_request_timestamp"] = float(now)
    return {**report, "user_classes_count": dict.fromkeys(NAMES, 2), "user_count": 2 * len(NAMES)}


async def _play_all(workers: int, port: int, key: str, rate_per_s: int, row_bytes: int) -> list[Played]:
    played = [Played(MasterLink("127.0.0.1", port, key), rate_per_s, row_bytes) for _ in range(workers)]
    await asyncio.gather(*(each.play(number / workers * HEARTBEAT_S) for number, each in enumerate(played)))
    return played


@click.command()
@click.option("--workers", type=int, required=True)
@click.option("--port", type=int, required=True)
@click.option("--rate", type=int, required=True, help="Requests/s of each worker.")
@click.option("--row-bytes", type=int, default=0, help="Bytes of rows that each worker hands over at the end.")
def main(workers: int, port: int, rate: int, row_bytes: int) -> None:
    """Play the workers of one master to the end of its test; print the lags as JSON."""
    raise_limit()
    while not (key := read_key(key_file(port))):
        time.sleep(0.1)
    played = uvloop.run(_play_all(workers, port, key, rate, row_bytes))
    lags = np.concatenate([np.array(each.lags_ms) for each in played])
    p50, p99, most = np.quantile(lags, (0.5, 0.99, 1.0)).tolist()
    handed_over_s = max(each.heard_s for each in played) - min(each.finished_s for each in played)
    figures = {"lag_p50_ms": p50, "lag_p99_ms": p99, "lag_max_ms": most, "handed_over_s": handed_over_s}
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
