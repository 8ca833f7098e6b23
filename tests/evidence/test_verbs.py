"""``rig compare`` and ``rig report`` as they are typed: exit codes, stdout for results, stderr for the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.cli import main
from rig.evidence.pack import Pack
from tests.evidence.test_compare import STEADY, sealed, trials


@pytest.fixture
def packs(tmp_path: Path) -> list[str]:
    return [str(sealed(tmp_path / "results", trials([f * t for t in STEADY])).path) for f in (1, 2)]


def test_a_difference_is_no_verdict(packs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *packs]) == 0
    assert "worse: S8 time +100%" in capsys.readouterr().out


def test_a_pipeline_may_fail_on_a_worse_run(packs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *packs, "--fail-on", "worse"]) == 1
    assert "the second run is worse: worse: S8 time +100%" in capsys.readouterr().err
    assert main(["compare", *reversed(packs), "--fail-on", "worse"]) == 0


def test_json_is_one_document_and_out_gets_the_pages(
    packs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *packs, "--json", "--out", str(tmp_path / "page")]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["sentence"].startswith("worse: S8 time")
    assert {path.name for path in (tmp_path / "page").iterdir()} == {"compare.html", "compare.md"}
    assert "compare.html" in said.err


def test_what_cannot_be_compared(packs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", packs[0], packs[0]]) == 64
    assert main(["compare", packs[0], str(tmp_path)]) == 3
    assert main(["compare", packs[0], str(Path(packs[0]).parent)]) == 3
    assert main(["compare", *packs, "--out", packs[1]]) == 64
    said = capsys.readouterr()
    assert said.out == ""
    assert "one and the same run" in said.err
    assert "is no evidence pack" in said.err
    assert "; the newest pack in it is " in said.err
    assert "is inside the pack" in said.err
    assert all(Pack(Path(path)).verify().intact for path in packs)


def test_report_names_what_it_wrote(packs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", packs[0], "--out", str(tmp_path / "again")]) == 0
    written = capsys.readouterr().out.splitlines()
    assert str(tmp_path / "again" / "report.html") in written
    assert all(Path(path).stat().st_size for path in written)


def test_report_needs_a_place(packs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", packs[0]]) == 64
    assert "--out" in capsys.readouterr().err
    file = Path(packs[0]).parent / "file"
    file.write_text("")
    assert main(["report", packs[0], "--out", str(file)]) == 78
