"""What locust brings along, under the same rules: master, web UI and workers listen on loopback, and tell no secret."""

from __future__ import annotations

import ipaddress
import signal
from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.machine.child import free_port
from tests.safety.running import Run, Watched, left_running
from tests.waiting import wait_until

pytestmark = pytest.mark.full


def is_kept_apart(seen: Watched) -> None:
    beyond = [each for each in seen.listening if not ipaddress.ip_address(each[1]).is_loopback]
    assert not beyond
    assert not seen.readable_environments
    assert not left_running(seen)


def test_a_headless_mix(tmp_path: Path) -> None:
    with Run(tmp_path, ("mix", "--users", "10", "--seconds", "3", "--null-seconds", "0.1", "--last-look", "0")) as run:
        seen = run.ended()
    assert seen.code == ExitCode.PASS, seen.err.decode()
    assert any("locust" in " ".join(words) for words in seen.command_lines)
    assert any(words[-3:-1] == ("worker", "--master") for words in seen.command_lines)
    assert "rig.target.tenants" in seen.secrets.values()
    assert not seen.told()
    is_kept_apart(seen)


def test_the_web_ui(tmp_path: Path) -> None:
    port = free_port()
    with Run(tmp_path, ("ui", "--web-port", str(port), "--null-seconds", "0.1", "--last-look", "0")) as run:
        wait_until(lambda: any(seen_port == port for _, _, seen_port in list(run.seen.listening)), 90)
        run.process.send_signal(signal.SIGINT)
        seen = run.ended()
    assert "Traceback" not in seen.err.decode()
    is_kept_apart(seen)
