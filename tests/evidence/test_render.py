from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import EvidenceError, UsageError
from rig.evidence.case import Case
from rig.evidence.judgement import Judgement
from rig.evidence.manifest import Manifest
from rig.evidence.pack import Pack
from rig.report.documents import write
from rig.run.request_finder import read_failing_gates
from rig.verbs.report import render

Run = tuple[Manifest, Case, Judgement]


@pytest.fixture
def sealed(pack: Pack) -> Pack:
    judgement = pack.judgement()
    assert judgement is not None
    case = pack.load()
    write(pack, pack.manifest(), case, judgement, read_failing_gates(pack, case, judgement))
    pack.seal()
    return pack


def test_the_documents_made_again_are_those_of_the_pack(sealed: Pack, tmp_path: Path) -> None:
    paths = render(sealed.path, tmp_path / "again")
    assert {path.name for path in paths} >= {"report.html", "summary.md", "junit.xml"}
    for path in paths:
        name = path.relative_to((tmp_path / "again").resolve())
        assert path.read_bytes() == (sealed.path / name).read_bytes(), name
    assert sealed.verify().intact


def test_a_manifest_of_somebody_else_makes_no_pack(sealed: Pack, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an application of the web"}')
    assert render(sealed.path, tmp_path / "again")


@pytest.mark.parametrize("inside", [".", "plots", "new/folder"])
def test_a_pack_is_never_written_to(sealed: Pack, inside: str) -> None:
    with pytest.raises(UsageError, match="is inside the pack"):
        render(sealed.path, sealed.path / inside)
    assert sealed.verify().intact


def test_a_changed_pack_is_not_reported_on(sealed: Pack, tmp_path: Path) -> None:
    (sealed.path / "summary.md").write_text("PASS")
    with pytest.raises(EvidenceError, match=r"'summary\.md'"):
        render(sealed.path, tmp_path / "again")


def test_a_pack_that_was_never_judged_is_to_be_settled(pack: Pack, tmp_path: Path) -> None:
    (pack.path / "verdicts.json").unlink()
    with pytest.raises(EvidenceError, match="rig settle"):
        render(pack.path, tmp_path / "again")
