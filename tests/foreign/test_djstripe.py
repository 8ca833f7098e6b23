"""dj-stripe, from the package registry in an environment of its own, judged by its profile alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ExitCode
from rig.profile import load_profile
from tests.cli.commands import QUICK, rig
from tests.foreign.running import FOLDER

SERVICE = FOLDER / "djstripe"
PROFILE = SERVICE / "rig.toml"
SECRET = "whsec_the_secret_of_this_endpoint"  # as in endpoint.json


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Where dj-stripe is installed, and its endpoint's secret."""
    folder = tmp_path_factory.mktemp("djstripe")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=60)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(SERVICE / "requirements.txt")], check=True, timeout=240)
    return {"DJSTRIPE_BIN": str(folder / "bin"), "STRIPE_WEBHOOK_SECRET": SECRET}


def test_its_profile_has_no_tenants_no_dead_letters_and_keeps_personal_data() -> None:
    profile = load_profile(PROFILE)
    assert profile.truth.dead is None
    assert profile.truth.canonical.tenant is None
    assert profile.personal_data.policy == "keep"


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_doctor_finds_nothing_wrong(environ: Mapping[str, str]) -> None:
    ended = rig("doctor", "--profile", str(PROFILE), "--json", env=environ, timeout_s=200)
    assert ended.code == ExitCode.PASS, ended.out


@pytest.mark.full
@pytest.mark.timeout(600)
def test_it_climbs_the_ladder_and_what_it_does_not_have_is_not_run(environ: Mapping[str, str], tmp_path: Path) -> None:
    options = ("--steps", "50", *QUICK, "--json", "--out", str(tmp_path))
    ended = rig("ladder", "--profile", str(PROFILE), *options, env=environ, timeout_s=300)
    assert ended.code == ExitCode.PASS, ended.err
    gates: dict[str, dict[str, Any]] = {gate["id"]: gate for gate in ended.document()["gates"]}
    for name in ("S1.rows", "S2.rows", "S3.answers", "S4.rows", "S7.answers"):
        assert gates[name]["verdict"] == "PASS", gates[name]
    for name in ("S5.rows", "S5.answers", "EG3.3"):
        assert gates.get(name, {"verdict": "NOT-RUN"})["verdict"] == "NOT-RUN"
