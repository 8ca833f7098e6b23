from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rig
from rig.errors import EvidenceError, UsageError
from rig.evidence.case import Case
from rig.evidence.pack import Pack
from rig.report.figures import FIGURES, scenario_run_figures
from tests.evidence import synthetic


def test_every_table_is_a_frame(pack: Pack, small: Case) -> None:
    run = rig.load(pack.path)
    assert len(run.history) == len(small.history)
    assert list(run.metrics.columns) == list(FIGURES)
    assert run.metrics.loc[0, "elapsed_s"] == pytest.approx(12.4, abs=0.05)
    assert run.metrics.loc[0, "indeterminate"] == 40
    assert run.verdicts.query("verdict == 'FAIL'")["gate"].tolist() == ["EG3.4", "S8.rows", "S8.time"]
    assert run.truth.loc[0, ["canonical", "canonical_max"]].tolist() == [9800, 9801]
    assert run.totals["observed"].sum() == 11_497 + 2_980 + 1
    assert run.discrepancies["kind"].tolist() == ["lost"]
    with pytest.deprecated_call(match="discrepancies"):
        assert run.unclean is run.discrepancies
    assert run.canary_hits.columns.tolist() == ["place", "in_log", "what", "request", "json_path"]
    assert run.null_trials["rps"].median() == 42_500
    assert run.certificate is not None
    assert run.samples.activity.empty
    assert run.sessions_by_event().empty
    assert repr(run).endswith("FAIL, 1 scenario runs>")


def test_times_are_seconds_of_the_run(pack: Pack) -> None:
    run = rig.load(str(pack.path))
    times = run.seconds(run.history["sent_ns"].where(run.history["seq"] > 0, 0))
    assert np.isnan(times.iloc[0])
    assert times.iloc[1] == pytest.approx(run.metrics.loc[0, "began_s"], abs=0.1)


def test_reading_is_lazy(pack: Pack) -> None:
    (pack.history_folder / "S8.parquet").write_bytes(b"no parquet")
    run = rig.load(pack.path)
    assert not run.verdicts.empty
    with pytest.raises(EvidenceError, match="history"):
        _ = run.history


def test_an_unknown_scenario_run_is_told_those_that_are_known(pack: Pack) -> None:
    with pytest.raises(UsageError, match="S8-10000-stripe-3"):
        rig.load(pack.path).sessions_by_event("S9")


def test_what_is_no_pack_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no evidence pack"):
        rig.load(tmp_path)


def test_a_scenario_run_without_rows_has_no_figures() -> None:
    case = synthetic.case(ladder=False, sustained=False)
    figures = scenario_run_figures(Case(scenario_runs=case.scenario_runs[:1]))
    assert figures.loc[0, "acknowledged"] == 0
    assert figures[["rps", "response_p99_ms", "began_s", "active_sessions"]].isna().all(axis=None)


def test_importing_the_rig_is_cheap() -> None:
    code = "import sys, rig; assert not {'pandas', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
