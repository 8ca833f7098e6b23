"""Another team's service, judged through its profile alone: it passes, and one lost delivery in a hundred is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rig.errors import ExitCode
from rig.profile import Profile, bundled_profile, load_profile
from tests.cli.commands import QUICK, rig
from tests.foreign.running import PROFILE


def _gates(document: Any) -> dict[str, dict[str, Any]]:
    return {gate["id"]: gate for gate in document["gates"]}


def _names(profile: Profile) -> set[str]:
    own, truth = profile.headers, profile.truth
    named = {own.tenant_key, own.idempotency_key, own.correlation_id, truth.canonical.table, truth.canonical.tenant}
    named |= {truth.canonical.key, truth.dead.table, truth.dead.tenant, truth.dsn_env, truth.runtime_dsn_env}
    named |= {name for route in profile.routes for name in (route.path, route.signature_header, route.secret)}
    return {name.lower() for name in named}


def test_it_shares_no_name_and_no_answer_with_the_reference() -> None:
    foreign, reference = load_profile(PROFILE), load_profile(bundled_profile())
    assert not _names(foreign) & _names(reference)
    routes = foreign.routes[0].name, reference.routes[0].name
    given = foreign.answers.given
    assert not {kind for kind in given if foreign.answer(kind, routes[0]) == reference.answer(kind, routes[1])}


def test_it_passes_by_its_profile_alone(tmp_path: Path) -> None:
    ended = rig(
        "run", "--profile", str(PROFILE), "--steps", "20", "-n", "200", "--trials", "1", "--no-chaos", *QUICK, "--json",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert ended.code == ExitCode.PASS, ended.err
    gates = _gates(ended.document())
    for name in ("S1.rows", "S2.rows", "S3.rows", "S4.rows", "S5.rows", "S6.rows", "S8.rows", "totals"):
        assert gates[name]["verdict"] == "PASS", gates[name]
    assert gates["EG3.2"]["verdict"] == "PASS"
    assert gates["S7.rows"]["verdict"] == "NOT-RUN", "what is no JSON is refused and kept nowhere"


@pytest.mark.full
def test_one_lost_delivery_in_a_hundred_is_found(tmp_path: Path) -> None:
    """2 processes, each forgetting its every 100th: of 400 at least two are lost, and all were acknowledged."""
    ended = rig(
        "ladder", "--profile", str(PROFILE), "--only", "S2", "--steps", "400", *QUICK, "--json", "--out", str(tmp_path),
        env={"PARCELS_LOSES_ONE_IN": "100"},
    )  # fmt: skip
    assert ended.code == ExitCode.FAIL, ended.err
    gates = _gates(ended.document())
    assert gates["S2.answers"]["verdict"] == "PASS"
    assert gates["S2.rows"]["verdict"] == "FAIL"
    assert "lost" in gates["S2.rows"]["reason"]


@pytest.mark.full
def test_it_climbs_the_whole_ladder_and_is_fast_enough(tmp_path: Path) -> None:
    """The gate's limit is generous: what is tested is that a foreign target is measured, not how fast it is."""
    ended = rig(
        "run", "--profile", str(PROFILE), "--steps", "50,250", "-n", "2000", "--max-seconds", "60", "--trials", "3",
        *QUICK, "--json", "--out", str(tmp_path),
    )  # fmt: skip
    assert ended.code == ExitCode.PASS, ended.err
    assert _gates(ended.document())["S8.time"]["verdict"] == "PASS"
