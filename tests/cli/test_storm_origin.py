"""``rig storm unknown-kid --origin``: the origin stands until it is interrupted, and says how often it was asked."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.machine.child import free_port
from tests.cli.commands import Going, rig


@pytest.mark.full
def test_the_origin_stands_until_it_is_interrupted(tmp_path: Path) -> None:
    profile, port = tmp_path / "origin.toml", free_port()
    profile.write_text(f'[storms.unknown-kid]\nurls = ["http://127.0.0.1:1"]\norigin_port = {port}\n')
    going = Going(["storm", "unknown-kid", "--origin", "--json", "--profile", str(profile)])
    going.wait_for("Ctrl-C")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/.well-known/jwks.json", timeout=5) as response:
        kids = {key["kid"] for key in json.loads(response.read())["keys"]}
    going.signal(signal.SIGINT)
    ended = going.end()
    assert ended.code == ExitCode.PASS, ended.err
    assert "keys were fetched 1 times" in ended.err
    assert len(kids) == len(json.loads(ended.out)["valid"]) == 3


@pytest.mark.full
def test_only_a_storm_with_an_origin_has_one_to_keep_up() -> None:
    ended = rig("storm", "rate-limit", "--origin", "--reference")
    assert (ended.code, "has no origin" in ended.err) == (ExitCode.USAGE, True)
