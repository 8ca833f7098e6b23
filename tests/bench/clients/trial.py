"""One client against the stub, once: how many requests, how long, how much CPU of the client and of the stub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = 50
HEADERS = {
    "Content-Type": "application/json",
    "X-Tenant-Key": "key",
    "X-Idempotency-Key": "b08a4e80-425b-5269-997d-c945ded8b351",
    "X-Correlation-ID": "ebba33a7-2f10-57bb-b1ff-5444257be611",
    "Stripe-Signature": f"t=1700000000,v1={'a' * 64}",
}
BODY = json.dumps(
    {
        "id": "evt_b08a4e80425b5269997dc945ded8b351",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": 1699999283,
        "livemode": False,
        "data": {
            "object": {
                "id": "pi_b08a4e80425b5269997dc945ded8b351",
                "object": "payment_intent",
                "amount": 16385,
                "currency": "usd",
                "metadata": {"utm_source": "newsletter"},
            }
        },
    },
    separators=(",", ":"),
)
"""One request of the rig's own: every client sends these headers and this body, so that all send as many bytes."""
KNOWN_PATH = "/1ms/x"
"""On the known-latency stub: answered after a millisecond, so that 50 connections carry 10,000/s with room to spare."""
_TIMEOUT_S = 120


@dataclass(frozen=True)
class Trial:
    """What came of it; CPU in seconds of the client alone. ``prepared_s``: before the clock, to make the requests."""

    requests: int
    elapsed_s: float
    cpu_s: float
    prepared_s: float = 0.0

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.requests / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        """Client CPU per request, microseconds."""
        return self.cpu_s / self.requests * 1e6

    @property
    def all_in_us(self) -> float:
        """The same with what was spent before the clock."""
        return (self.cpu_s + self.prepared_s) / self.requests * 1e6


@dataclass(frozen=True)
class Ended:
    """A program that has ended: what it printed and its own CPU time, as the kernel accounts it to whoever waits."""

    out: str
    cpu_s: float


def ran(command: Sequence[str], folder: Path) -> Ended:
    """Run a program to its end and take its CPU time from ``wait4``; RuntimeError when it fails."""
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = output.read_text(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {text[-400:]}")
    return Ended(text, usage.ru_utime + usage.ru_stime)


def wrk(port: int, seconds: float, folder: Path) -> Trial:
    """One thread, fixed bytes (wrk signs nothing, records nothing per request)."""
    script = folder / "post.lua"
    headers = "".join(f"wrk.headers['{name}'] = '{value}'\n" for name, value in HEADERS.items())
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{BODY}'\n{headers}")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    ended = ran([*command, f"http://127.0.0.1:{port}/x"], folder)
    found = re.search(r"(\d+) requests in ([\d.]+)s", ended.out)
    assert found, ended.out
    return Trial(int(found[1]), float(found[2]), ended.cpu_s)


def hey(port: int, seconds: float, folder: Path) -> Trial:
    """Fixed bytes."""
    count = round(25_000 * seconds) // CONNECTIONS * CONNECTIONS
    command = ["hey", "-n", str(count), "-c", str(CONNECTIONS), "-m", "POST", "-d", BODY]
    headers = [word for name, value in HEADERS.items() for word in ("-H", f"{name}: {value}")]
    ended = ran([*command, *headers, f"http://127.0.0.1:{port}/x"], folder)
    found = re.search(r"Total:\s+([\d.]+) secs", ended.out)
    assert found, ended.out
    return Trial(count, float(found[1]), ended.cpu_s)


def autocannon(port: int, seconds: float, folder: Path) -> Trial:
    """Fixed bytes, one thread of Node."""
    told, cpu_s = told_by_autocannon(port, "/x", seconds, folder)
    return Trial(told["requests"]["total"], told["duration"], cpu_s)


def told_by_autocannon(
    port: int, path: str, seconds: float, folder: Path, *options: str
) -> tuple[dict[str, Any], float]:
    """Its summary, and its CPU time in seconds."""
    length = ("-c", str(CONNECTIONS), "-d", str(max(1, round(seconds))))
    headers = [word for name, value in HEADERS.items() for word in ("-H", f"{name}={value}")]
    command = ["autocannon", "--json", *length, *options, "-m", "POST", "-b", BODY, *headers]
    ended = ran([*command, f"http://127.0.0.1:{port}{path}"], folder)
    return json.loads(ended.out[ended.out.index("{") :]), ended.cpu_s


def k9(port: int, seconds: float, folder: Path) -> Trial:
    """A declarative plan, its cheapest form: fixed bytes."""
    count = round(40_000 * seconds)
    request = {"method": "POST", "url": f"http://127.0.0.1:{port}/x", "headers": HEADERS, "body": BODY}
    plan = {"options": {"vus": CONNECTIONS, "iterations": count}, "flows": {"default": [{"request": request}]}}
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    ended = ran([str(Path(sys.executable).with_name("k9")), "run", str(file)], folder)
    found = re.search(r"http_reqs\.*: (\d+)\s+([\d.]+)/s", ended.out)
    assert found, ended.out
    return Trial(int(found[1]), int(found[1]) / float(found[2]), ended.cpu_s)


def python_client(module: str, port: int, seconds: float, folder: Path) -> Trial:
    """A client in Python, which times its own loop: start-up and imports are not counted against it."""
    figures = python_figures(module, folder, str(port), str(seconds))
    return Trial(int(figures["requests"]), figures["elapsed_s"], figures["cpu_s"])


def python_figures(module: str, folder: Path, *arguments: str) -> dict[str, float]:
    """Run a client in Python: the figures that it prints last."""
    ended = ran([sys.executable, "-m", f"tests.bench.clients.{module}", *arguments], folder)
    figures: dict[str, float] = json.loads(ended.out.strip().splitlines()[-1])
    return figures
