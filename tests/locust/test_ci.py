"""``rig ci``: what becomes of several steps."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rig.ci import QUICK_MIX_S, Done, Step, _merged, annotated, steps_of
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.model import Gate, Verdict

STEP = Step("a storm, of kids", ())


def test_a_quick_pipeline_has_the_steps_of_a_whole_one_and_takes_less() -> None:
    whole, quick = (steps_of(("--seed", "7"), quick=quick, seconds=20, workers=2) for quick in (False, True))
    assert [step.title for step in whole] == [step.title for step in quick]
    assert [step.arguments[0] for step in whole] == ["run", "storm", "mix"]
    for step in (*whole, *quick):
        assert step.arguments[-2:] == ("--seed", "7")
    assert "20" in whole[2].arguments
    assert str(QUICK_MIX_S) in quick[2].arguments
    assert "--case" in quick[1].arguments


def test_annotations_are_escaped_and_name_what_failed(tmp_path: Path) -> None:
    pack = Pack.create(tmp_path, "run", 1, datetime.now(UTC))
    gates = (
        Gate("S1.rows", Verdict.FAIL, "rule", reason="50% lost\nand more"),
        Gate("hygiene", Verdict.INVALID, "rule"),
        Gate("S2.rows", Verdict.PASS, "rule"),
    )
    pack.write_judgement(Judgement(Verdict.FAIL, 1, gates))
    assert annotated([Done(STEP, 1, pack), Done(STEP, 69, None), Done(STEP, 0, None)]) == [
        "::error title=a storm%2C of kids%3A S1.rows::FAIL: 50%25 lost%0Aand more",
        "::warning title=a storm%2C of kids%3A hygiene::INVALID: rule",
        "::error title=a storm%2C of kids::ended with exit code 69",
    ]


def test_one_junit_document_of_several(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        path = tmp_path / f"{number}.xml"
        path.write_text(f'<testsuites><testsuite name="{number}"><testcase name="x"/></testsuite></testsuites>')
        paths.append(path)
    merged = ET.fromstring(_merged(paths))
    assert [suite.get("name") for suite in merged.findall("testsuite")] == ["0", "1"]
