"""Master and workers in separate network namespaces, the target behind delaying relays; and a cable that is cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.machine.child import free_port
from tests.cli.commands import command, only_pack
from tests.locust import relay
from tests.locust.locust_processes import QUICK, locust, processes
from tests.locust.test_locust_runs import _ended, _gates

HERE, THERE = "10.213.77.1", "10.213.77.2"
DELAY_MS = 5


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"rig-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


pytestmark = pytest.mark.skipif(not _namespaces(), reason="no network namespaces without root")


@dataclass(frozen=True)
class Cable:
    """A namespace and the cable to it; ``link`` is our end."""

    namespace: str
    link: str

    def there(self, words: Sequence[str]) -> list[str]:
        """A command line to be run at the other end."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def cut(self) -> None:
        """Pull it out."""
        _ip("link", "set", self.link, "down")


@pytest.fixture
def cable() -> Iterator[Cable]:
    pid = os.getpid()
    laid = Cable(f"rig-{pid}", f"righ{pid}"[:15])
    far = f"rigt{pid}"[:15]
    _ip("netns", "add", laid.namespace)
    try:
        _ip("link", "add", laid.link, "type", "veth", "peer", "name", far)
        _ip("link", "set", far, "netns", laid.namespace)
        _ip("addr", "add", f"{HERE}/24", "dev", laid.link)
        _ip("link", "set", laid.link, "up")
        for words in (
            ("addr", "add", f"{THERE}/24", "dev", far),
            ("link", "set", far, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", laid.namespace, *words)
        yield laid
    finally:
        subprocess.run(["ip", "link", "del", laid.link], capture_output=True)
        _ip("netns", "del", laid.namespace)


def _commands(cable: Cable, out: Path, seconds: int) -> list[list[str]]:
    """Near relay, far relay, master, worker: the worker's loopback port leads to ours, over the cable."""
    target, near, master = free_port(), free_port(), free_port()
    delayed = [sys.executable, relay.__file__]
    words = ("--headless", "--master", "--master-bind-host", HERE, "--master-bind-port", str(master))
    load = ("--expect-workers", "1", "-u", "8", "-r", "50", "-t", f"{seconds}s", "--rig-port", str(target))
    return [
        [*delayed, HERE, str(near), "127.0.0.1", str(target), str(DELAY_MS)],
        cable.there([*delayed, "127.0.0.1", str(target), HERE, str(near), str(DELAY_MS)]),
        locust(*words, *load, "--rig-out", str(out), *QUICK),
        cable.there(command("worker", "--master", f"{HERE}:{master}")),
    ]


def test_a_worker_on_another_network_loses_nothing(cable: Cable, tmp_path: Path) -> None:
    with processes(*_commands(cable, tmp_path / "results", 4), logs=tmp_path) as (_, _, master, worker):
        assert master.end() == ExitCode.PASS, master.said
        assert worker.end() == 0, worker.said
    pack = only_pack(tmp_path / "results")
    rows = _ended(pack)
    assert len(rows) == _gates(pack)["locust.totals"]["figures"]["locust_requests"] > 50
    # Two relays, there and back: nothing is faster than they allow.
    assert ((rows["done_ns"] - rows["sent_ns"]) / 1e6).min() >= 4 * DELAY_MS


def test_a_worker_that_is_cut_off_makes_the_verdict_invalid(cable: Cable, tmp_path: Path) -> None:
    with processes(*_commands(cable, tmp_path / "results", 9), logs=tmp_path) as (_, _, master, worker):
        master.wait_for("All users spawned")
        cable.cut()
        master.wait_for("failed to send heartbeat", 15)
        assert master.end() == ExitCode.INVALID, master.said
        assert worker.end() == ExitCode.UNAVAILABLE, worker.said
    gates = _gates(only_pack(tmp_path / "results"))
    assert "not been heard" in gates["locust.reports"]["reason"]
    assert not [gate for gate in gates.values() if gate["verdict"] == "FAIL"]
