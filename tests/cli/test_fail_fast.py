"""What is wrong with a target, a tenant or a defect is said before the client is certified."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import ExitCode
from rig.machine.child import free_port
from tests.cli.commands import rig

PROFILE = """
version = 1
name = "orders"
[target]
base_url = "http://127.0.0.1:{port}"
[[routes]]
name = "main"
path = "/in"
{route}
body = '{{"id":"<key>","amount":<amount>}}'
[truth.canonical]
table = "orders"
key = "id"
"""


def written(folder: Path, route: str = "") -> str:
    path = folder / "rig.toml"
    path.write_text(PROFILE.format(port=free_port(), route=route))
    return str(path)


@pytest.mark.parametrize("verb", ["run", "ladder", "perf"])
def test_a_target_that_does_not_listen_ends_in_69_without_a_pack(tmp_path: Path, verb: str) -> None:
    ended = rig(verb, "--profile", written(tmp_path), "--out", str(tmp_path / "out"))
    assert ended.code == ExitCode.UNAVAILABLE
    assert "nobody listens at http://127.0.0.1:" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_secret_that_is_not_set_is_named_before_anything_starts(tmp_path: Path) -> None:
    route = 'scheme = "hmac"\nsignature_header = "X-Sign"\nsecret_env = "NOT_SET_SECRET"'
    ended = rig("ladder", "--profile", written(tmp_path, route), "--out", str(tmp_path / "out"))
    assert ended.code == ExitCode.CONFIG
    assert "NOT_SET_SECRET" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_defect_that_the_service_does_not_know_is_refused_before_the_client_is_certified(
    tmp_path: Path,
) -> None:
    ended = rig("ladder", "--defect", "nonsense", "--out", str(tmp_path))
    assert ended.code == ExitCode.USAGE
    assert "'nonsense' is none of the " in ended.err
    assert "null benchmark" not in ended.err
