"""A finished pack, and a folder with something in it that nobody may touch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rig.checks.judge import judgement_of
from rig.evidence.pack import Pack
from rig.evidence.storm import StormReport
from rig.profile import bundled_profile, load_profile
from tests.evidence import synthetic


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pack with all that the checkers read. It fails: its probes were answered 503."""
    case = synthetic.case(ladder=False, sustained=False)
    last = case.scenario_runs[-1]
    rows = case.rows_of(last).head(500).reset_index(drop=True)
    pack = Pack.create(tmp_path_factory.mktemp("fuzz"), "run", 7, synthetic.STARTED)
    profile = load_profile(bundled_profile()).model_dump(mode="json")
    manifest = replace(synthetic.manifest(case), scenario_runs=(last,), profile=profile)
    pack.write_manifest(manifest)
    rows.to_parquet(pack.history_folder / f"{last.scenario.label}.parquet", index=False)
    assert case.certificate is not None
    assert case.truth is not None
    pack.write_certificate(case.certificate)
    pack.write_truth(case.truth)
    pack.write_probes(case.probes.assign(status=503))
    pack.write_leak_findings(case.leak_findings)
    pack.write_storm(StormReport(storm="migration-race", case="migration-race", without=(), processes=2, skew_ns=1))
    (pack.logs_folder / "target.log").write_text("nothing to say\n")
    pack.write("report.html", b"<!doctype html><title>a report</title>")
    pack.write_judgement(judgement_of(pack.load()))
    pack.seal()
    return pack.path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a pack is laid, beside something that nobody may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep.txt").write_text("untouched")
    yield tmp_path
    assert (tmp_path / "outside" / "keep.txt").read_text() == "untouched"
