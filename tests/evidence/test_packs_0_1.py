"""Packs that release 0.1 made are judged by this one as they were by that one."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

import rig
from rig.evidence.gate import Gate, Verdict
from rig.evidence.pack import Pack
from rig.verbs.check import recheck

ARCHIVES = Path(__file__).parent / "packs_0_1"

MADE_BY = [
    ("run", Verdict.PASS, 0),  # rig run, healthy
    ("ladder", Verdict.FAIL, 1),  # rig ladder --defect no-deduplication --defect personal-data-kept
    ("key-storm", Verdict.FAIL, 1),  # rig storm unknown-kid --case rotation-inside --without floor
    ("race-test", Verdict.PASS, 0),  # rig storm scheduler-claim
    ("locust-run", Verdict.PASS, 0),  # rig mix
]


@pytest.fixture
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    return folder


@pytest.mark.parametrize(("pack", "verdict", "exit_code"), MADE_BY, indirect=["pack"])
def test_the_verdict_is_the_one_that_the_old_release_gave(pack: Path, verdict: Verdict, exit_code: int) -> None:
    finished = recheck(pack)
    assert (finished.judgement.verdict, finished.judgement.exit_code) == (verdict, exit_code)
    assert [gate.id for gate in finished.judgement.gates] == [gate.id for gate in judged_by_old(pack)]


def judged_by_old(pack: Path) -> list[Gate]:
    judgement = Pack.open(pack).judgement()
    assert judgement is not None
    return list(judgement.gates)


@pytest.mark.parametrize("pack", ["run"], indirect=True)
def test_its_history_is_read_under_todays_names(pack: Path) -> None:
    run = rig.load(pack)
    assert set(run.history["outcome"].unique()) == {"acknowledged"}
    assert run.metrics["scenario_run"].is_unique
    assert run.manifest.settings["latency_calibration"] == "quick"
    assert run.certificate is not None
    assert run.certificate.latency_calibration is not None


@pytest.mark.parametrize("pack", ["ladder"], indirect=True)
def test_its_discrepancies_are_read_under_todays_names(pack: Path) -> None:
    discrepancies = rig.load(pack).discrepancies
    assert len(discrepancies) > 0
    assert discrepancies["scenario_run"].str.startswith("S").all()
