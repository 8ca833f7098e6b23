"""A finished synthetic run, good and bad, and its pack on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rig.diagnose import explain
from rig.evidence.case import Case
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.pack import Pack
from tests.evidence import synthetic


@pytest.fixture(scope="session")
def good() -> tuple[Manifest, Case, Judgement]:
    case = synthetic.case()
    return synthetic.manifest(case), case, replace(synthetic.judgement(), diagnosis=explain(case))


@pytest.fixture(scope="session")
def bad() -> tuple[Manifest, Case, Judgement]:
    case = synthetic.case(bad=True)
    return synthetic.manifest(case), case, replace(synthetic.judgement(bad=True), diagnosis=explain(case))


@pytest.fixture
def small() -> Case:
    """One S8 trial only: quick to write and to read."""
    case = synthetic.case(ladder=False, sustained=False, bad=True)
    last = case.scenario_runs[-1]
    return replace(case, scenario_runs=(last,), history=case.rows_of(last).reset_index(drop=True))


@pytest.fixture
def pack(tmp_path: Path, small: Case) -> Pack:
    """An unfinished pack that holds every part of the small case."""
    pack = Pack.create(tmp_path / "results", "run", 7, synthetic.STARTED)
    pack.write_manifest(synthetic.manifest(small))
    small.history.to_parquet(pack.history_folder / "S8.parquet", index=False)
    assert small.certificate is not None
    assert small.truth is not None
    pack.write_certificate(small.certificate)
    pack.write_truth(small.truth)
    pack.write_probes(small.probes)
    pack.write_leak_findings(small.leak_findings)
    pack.write_judgement(synthetic.judgement(bad=True))
    return pack
