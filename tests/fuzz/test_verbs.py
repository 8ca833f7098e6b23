"""Changed packs in the hands of the verbs that do not judge them: read, drawn, settled, or refused with a clear error.

Nothing is ever written but where it was asked for.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rig
from rig.cli import main
from rig.errors import ExitCode, RigError
from rig.evidence.hashes import SUMS
from rig.evidence.locust_run import BatchAccount, MasterAccount, WorkerAccount, WorkerSeen
from rig.evidence.pack import Pack
from rig.verbs.report import render
from tests.fuzz.effort import few, many
from tests.fuzz.packs import VERDICTS, changed_json, hashed_again, laid, state


def read_or_refused(sealed: Path, folder: Path, name: str, data: bytes) -> None:
    """By a notebook, which verifies no hashes."""
    path = laid(sealed, folder)
    (path / name).write_bytes(data)
    for table in ("verdicts", "history", "metrics", "probes"):
        try:
            getattr(rig.load(path), table)
        except RigError as error:
            assert error.exit_code is ExitCode.INVALID


@few(8)
@given(data=st.data())
def test_a_notebook_reads_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    read_or_refused(sealed, folder, *changed_json(sealed, data))


def rendered_or_refused(sealed: Path, folder: Path, name: str, data: bytes) -> None:
    path = laid(sealed, folder)
    (path / name).write_bytes(data)
    hashed_again(path)
    before = state(path)
    try:
        made = render(path, folder / "made")
        assert all(each.resolve().is_relative_to(folder / "made") for each in made)
    except RigError as error:
        assert error.exit_code is not ExitCode.INTERNAL
    assert state(path) == before


@few(3)
@given(data=st.data())
def test_documents_of_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    rendered_or_refused(sealed, folder, *changed_json(sealed, data))


@many(40)
@given(data=st.data())
def test_documents_of_much_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    rendered_or_refused(sealed, folder, *changed_json(sealed, data))


def test_what_nobody_changed_settles(sealed: Path, folder: Path) -> None:
    """Else all that is changed would be refused at the door, and nothing behind it tried."""
    path = laid(sealed, folder, "fuzzed.partial")
    (path / SUMS).unlink()
    assert main(["settle", str(path)]) in VERDICTS
    assert Pack.open(folder / "results" / "fuzzed").verify().intact


def settled_or_refused(sealed: Path, folder: Path, name: str, data: bytes) -> None:
    path = laid(sealed, folder, "fuzzed.partial")
    (path / SUMS).unlink()
    (path / name).write_bytes(data)
    assert main(["settle", str(path)]) in VERDICTS | {ExitCode.USAGE, ExitCode.CONFIG, ExitCode.UNAVAILABLE}
    # Whatever came of it lies where the pack lies.
    assert {each.name for each in folder.iterdir()} <= {"outside", "results", "made"}
    assert {each.name for each in (folder / "results").iterdir()} <= {"fuzzed.partial", "fuzzed"}


def refused_to_settle(path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What it says; nothing beside the pack is changed, made or gone."""

    def beside() -> dict[str, str]:
        return {name: digest for name, digest in state(folder).items() if not (folder / name).is_relative_to(path)}

    before = beside()
    assert main(["settle", str(path)]) == ExitCode.INVALID
    assert beside() == before
    return capsys.readouterr().err


def opened(sealed: Path, folder: Path) -> Path:
    """The pack as a crash would have left it."""
    path = laid(sealed, folder, "fuzzed.partial")
    (path / SUMS).unlink()
    return path


def test_settling_a_drive_whose_name_leads_out_of_the_pack(
    sealed: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = opened(sealed, folder)
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["scenario_runs"][0]["scenario"]["id"] = "../../../outside/planted"
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert "'../../../outside/planted-" in refused_to_settle(path, folder, capsys)


@pytest.mark.parametrize("name", ["samples", "history", "crowd"])
def test_settling_through_a_link_out_of_the_pack(
    sealed: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = opened(sealed, folder)
    shutil.rmtree(path / name, ignore_errors=True)
    (path / name).symlink_to(folder / "outside")
    (folder / "outside" / "journal.jsonl").write_text('["report", 0, {}]\n')
    assert f"{name} is no regular file" in refused_to_settle(path, folder, capsys)
    assert not (folder / "outside" / ".raw").exists()


def test_settling_the_books_of_a_worker_that_names_a_file_outside(
    sealed: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that are not those of the account are removed: not those of somebody else."""
    path = opened(sealed, folder)
    pack = Pack.open(path)
    manifest = pack.manifest()
    scenario_run = manifest.scenario_runs[0]
    planted = replace(scenario_run.scenario, id="../../../../outside/rows")
    (folder / "outside" / f"{planted.label.rpartition('/')[2]}.0.rows").write_text("of somebody else")
    pack.write_manifest(replace(manifest, scenario_runs=()))
    assert scenario_run.workers[0] is not None
    batch = BatchAccount(planted, scenario_run.workers[0], rows=1, sha256="0" * 64)
    seen = WorkerSeen(0, "node")
    pack.write_account(MasterAccount("native", (seen,), 1, 0, planted.route, "A", 10.0))
    pack.write_account(WorkerAccount(0, "node", "host", 1, 1, 1, 0, 0.0, 0.0, batches=(batch,)))
    assert "'../../../../outside/rows-" in refused_to_settle(path, folder, capsys)


@few(3)
@given(data=st.data())
def test_settling_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    settled_or_refused(sealed, folder, *changed_json(sealed, data))


@many(40)
@given(data=st.data())
def test_settling_much_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    settled_or_refused(sealed, folder, *changed_json(sealed, data))
