"""A figure of one run has one value: in its gate, in the report, in a notebook, in a comparison."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import rig
from rig.checks.judge import judgement_of
from rig.evidence.case import Case
from rig.evidence.pack import Pack
from rig.evidence.schema import translate
from rig.report.caveats import ComparedRun
from rig.report.comparison import compare
from rig.report.documents import html
from rig.report.headline import headline
from rig.report.plots.latency import latency
from tests.evidence import synthetic


@pytest.fixture(scope="module")
def sustained() -> Case:
    case = synthetic.case(ladder=False, perf=False)
    return replace(case, profile={"name": "reference"})


@pytest.mark.parametrize("word", ["p50", "p95", "p99"])
def test_a_response_time_is_the_same_number_everywhere(sustained: Case, tmp_path: Path, word: str) -> None:
    manifest, judgement = synthetic.manifest(sustained), judgement_of(sustained)
    figure = f"response_{word}_ms"
    gate = next(gate for gate in judgement.gates if gate.id == "sustained.p95")
    value = gate.figures[figure]
    pack = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
    pack.write_manifest(manifest)
    sustained.history.to_parquet(pack.history_folder / "sustained.parquet", index=False)
    assert rig.load(pack.path).metrics[figure].tolist() == [value]
    side = ComparedRun("a", "a" * 64, manifest, sustained, judgement)
    (difference,) = (each for each in compare(side, side).differences if each.figure.column == figure)
    assert (difference.before, difference.after) == (pytest.approx(value), pytest.approx(value))
    cells = re.findall(r"<td class=\"n\">([^<]*)</td>", html(manifest, sustained, judgement, ()))
    assert f"{value:.4g} ms" in cells
    if word == "p95":
        assert f"{value:.4g} ms" in {each.value for each in headline(sustained, judgement)}
    if word == "p99":
        figure_drawn = latency(sustained)
        assert figure_drawn is not None
        assert figure_drawn.get_suptitle().endswith(f"{value:.4g} ms")


def test_stored_verdicts_of_earlier_releases_are_shown_under_todays_names() -> None:
    figures = {"response_ms_p95": 36.23, "lag_ms_p100": 4, "rps_trials": [1, 2], "limit_ms": 500}
    stored = {"verdict": "PASS", "exit_code": 0, "gates": [{"id": "sustained.p95", "figures": figures}]}
    read = translate("verdicts.json", stored)["gates"][0]["figures"]
    assert read == {"response_p95_ms": 36.23, "lag_max_ms": 4, "trials_rps": [1, 2], "limit_ms": 500}
    assert translate("verdicts.json", json.loads('{"gates": [3]}')) == {"gates": [3]}
