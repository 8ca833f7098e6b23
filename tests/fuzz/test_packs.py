"""Whatever lies in a folder that calls itself a pack: it is judged, or a clear error ends in the right exit code.

Nothing is ever written outside it, and nothing at all into a finished one. Changed bytes are always found; a stranger
who writes the hashes anew gets his lies judged, but no traceback and no PASS out of what cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rig
from rig.accounts import BlockAccount, MasterAccount, WorkerAccount, WorkerSeen
from rig.checks.judge import exit_code_of, judge, verdict_of
from rig.cli import main
from rig.errors import EvidenceError, ExitCode, RigError
from rig.evidence.hashes import SUMS, sums_text
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.profile import bundled_profile, load_profile
from rig.recheck import recheck
from rig.render import render
from rig.stampede.model import StormReport
from tests.evidence import synthetic

from .effort import few, many
from .hostile import TEXTS, changed, spoiled, values

VERDICTS = {ExitCode.PASS, ExitCode.FAIL, ExitCode.BELOW_FLOOR, ExitCode.INVALID, ExitCode.INTERRUPTED}


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pack with all that the checkers read."""
    case = synthetic.case(ladder=False, sustained=False)
    last = case.drives[-1]
    rows = case.rows_of(last).head(500).reset_index(drop=True)
    pack = Pack.create(tmp_path_factory.mktemp("fuzz"), "run", 7, synthetic.STARTED)
    profile = load_profile(bundled_profile()).model_dump(mode="json")
    manifest = replace(synthetic.manifest(case), drives=(last,), profile=profile)
    pack.write_manifest(manifest)
    rows.to_parquet(pack.history_folder / f"{last.scenario.label}.parquet", index=False)
    assert case.certificate is not None
    assert case.truth is not None
    pack.write_certificate(case.certificate)
    pack.write_truth(case.truth)
    pack.write_probes(case.probes)
    pack.write_hygiene(case.hygiene)
    pack.write_storm(StormReport(storm="migration-race", case="migration-race", without=(), processes=2, skew_ns=1))
    (pack.logs_folder / "target.log").write_text("nothing to say\n")
    pack.write("report.html", b"<!doctype html><title>a report</title>")
    kept = pack.load()
    gates = judge(kept)
    pack.write_judgement(Judgement(verdict_of(gates), int(exit_code_of(kept, gates)), gates))
    pack.seal()
    return pack.path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a pack is laid, beside something that nobody may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep.txt").write_text("untouched")
    yield tmp_path
    assert (tmp_path / "outside" / "keep.txt").read_text() == "untouched"


def laid(sealed: Path, folder: Path, name: str = "fuzzed") -> Path:
    """A copy of the pack, alone in its folder."""
    path = folder / "results" / name
    shutil.rmtree(path.parent, ignore_errors=True)
    shutil.copytree(sealed, path)
    return path


def files(pack: Path) -> list[str]:
    return sorted(path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_file())


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash: what is there, and unchanged."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def hashed_again(pack: Path) -> None:
    (pack / SUMS).unlink(missing_ok=True)
    (pack / SUMS).write_text(sums_text(pack))


def outcome(path: Path) -> ExitCode:
    """How ``rig check`` ends; anything but a verdict or an error of the rig's own is the test's failure."""
    try:
        return ExitCode(recheck(path).judgement.exit_code)
    except RigError as error:
        assert str(error)
        assert error.exit_code is not ExitCode.INTERNAL
        return error.exit_code


def found_out(sealed: Path, folder: Path, name: str, data: bytes) -> None:
    """Changed bytes are INVALID, and the folder stays as it was."""
    path = laid(sealed, folder)
    if (path / name).read_bytes() == data:
        return
    (path / name).write_bytes(data)
    before = state(folder)
    assert outcome(path) is ExitCode.INVALID
    assert state(folder) == before


def survived(sealed: Path, folder: Path, name: str, data: bytes) -> None:
    """Bytes that somebody hashed anew: judged, or refused by an error of the rig's; again nothing is written."""
    path = laid(sealed, folder)
    (path / name).write_bytes(data)
    hashed_again(path)
    before = state(folder)
    assert outcome(path) in VERDICTS
    assert state(folder) == before


def json_files(pack: Path) -> list[str]:
    return [name for name in files(pack) if name.endswith(".json")]


def parquet_files(pack: Path) -> list[str]:
    return [name for name in files(pack) if name.endswith(".parquet")]


# --- bytes --------------------------------------------------------------------------------------------------------


@few(40)
@given(data=st.data())
def test_every_changed_file_is_found(sealed: Path, folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files(sealed)))
    found_out(sealed, folder, name, data.draw(spoiled((sealed / name).read_bytes())))


@few(25)
@given(data=st.data())
def test_spoiled_and_hashed_again(sealed: Path, folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files(sealed)))
    survived(sealed, folder, name, data.draw(spoiled((sealed / name).read_bytes())))


@many(500)
@given(data=st.data())
def test_many_spoiled_and_hashed_again(sealed: Path, folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files(sealed)))
    survived(sealed, folder, name, data.draw(spoiled((sealed / name).read_bytes())))


# --- verdicts that somebody else wrote ----------------------------------------------------------------------------


def said_to_be(sealed: Path, folder: Path, verdict: str, exit_code: int) -> ExitCode:
    """How ``rig check`` ends where the stored verdict was changed, and nothing else."""
    path = laid(sealed, folder)
    file = path / "verdicts.json"
    document = json.loads(file.read_bytes())
    assert document["verdict"] == "FAIL", "what the gates come to"
    file.write_text(json.dumps(document | {"verdict": verdict, "exit_code": exit_code}))
    hashed_again(path)
    return outcome(path)


@pytest.mark.parametrize(
    ("verdict", "exit_code"), [("PASS", 0), ("FAIL", 0), ("PASS", 1), ("PASS", 130), ("INVALID", 130)]
)
def test_a_verdict_that_its_gates_do_not_come_to(sealed: Path, folder: Path, verdict: str, exit_code: int) -> None:
    assert said_to_be(sealed, folder, verdict, exit_code) is ExitCode.INVALID
    with pytest.raises(EvidenceError, match=f"says {verdict}, exit {exit_code}; its gates come to FAIL, exit 1"):
        recheck(folder / "results" / "fuzzed")


def test_an_interrupt_is_no_gate(sealed: Path, folder: Path) -> None:
    assert said_to_be(sealed, folder, "FAIL", 130) is ExitCode.INTERRUPTED


# --- documents and tables that are well-formed, and wrong ---------------------------------------------------------


def changed_json(sealed: Path, data: st.DataObject) -> tuple[str, bytes]:
    name = data.draw(st.sampled_from(json_files(sealed)))
    document = data.draw(changed(json.loads((sealed / name).read_bytes())))
    return name, json.dumps(document).encode(errors="surrogatepass")


@few(30)
@given(data=st.data())
def test_changed_json(sealed: Path, folder: Path, data: st.DataObject) -> None:
    survived(sealed, folder, *changed_json(sealed, data))


@many(1000)
@given(data=st.data())
def test_much_changed_json(sealed: Path, folder: Path, data: st.DataObject) -> None:
    survived(sealed, folder, *changed_json(sealed, data))


def changed_table(sealed: Path, data: st.DataObject, folder: Path) -> tuple[str, bytes]:
    name = data.draw(st.sampled_from(parquet_files(sealed)))
    frame = pd.read_parquet(sealed / name)
    column = data.draw(st.sampled_from(list(frame.columns)))
    match data.draw(
        st.sampled_from(("drop", "text", "null", "huge", "negative", "rename", "empty", "repeat", "float"))
    ):
        case "drop":
            frame = frame.drop(columns=column)
        case "text":
            frame[column] = data.draw(st.sampled_from([text for text in TEXTS if text.isprintable()]))
        case "null":
            frame[column] = None
        case "huge":
            frame[column] = 2**63 - 1
        case "negative":
            frame[column] = -(2**63)
        case "rename":
            frame = frame.rename(columns={column: data.draw(st.sampled_from(["", "x", "../x", "index"]))})
        case "empty":
            frame = frame.head(0)
        case "repeat":
            frame = pd.concat([frame] * 3)
        case _:
            frame[column] = float("nan")
    made = folder / "made.parquet"
    frame.to_parquet(made)
    written = made.read_bytes()
    made.unlink()
    return name, written


@few(25)
@given(data=st.data())
def test_changed_tables(sealed: Path, folder: Path, data: st.DataObject) -> None:
    survived(sealed, folder, *changed_table(sealed, data, folder))


@many(400)
@given(data=st.data())
def test_many_changed_tables(sealed: Path, folder: Path, data: st.DataObject) -> None:
    survived(sealed, folder, *changed_table(sealed, data, folder))


@few(8)
@given(document=values)
def test_any_document_in_the_place_of_another(sealed: Path, folder: Path, document: Any) -> None:
    for name in json_files(sealed)[:3]:
        survived(sealed, folder, name, json.dumps(document).encode(errors="surrogatepass"))


# --- the folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "verdicts.json", "truth/report.json", "history"])
def test_a_part_that_is_missing(sealed: Path, folder: Path, name: str) -> None:
    path = laid(sealed, folder)
    shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
    assert outcome(path) is ExitCode.INVALID


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "verdicts.json", "history", "logs"])
@pytest.mark.parametrize("target", ["outside/keep.txt", "outside", "nowhere", "/dev/zero"])
def test_a_link_out_of_the_pack_is_not_followed(sealed: Path, folder: Path, name: str, target: str) -> None:
    path = laid(sealed, folder)
    shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
    (path / name).symlink_to(folder / target)
    assert outcome(path) is ExitCode.INVALID


@pytest.mark.parametrize("name", ["manifest.json", "verdicts.json"])
def test_a_pipe_does_not_hang(sealed: Path, folder: Path, name: str) -> None:
    path = laid(sealed, folder)
    (path / name).unlink()
    os.mkfifo(path / name)
    assert outcome(path) is ExitCode.INVALID


LINES = (
    "../outside/keep.txt", "/etc/passwd", "history/../../../outside/keep.txt", "a" * 5000, "\x00", "..", ".", "",
    "\u202e", "logs/\\n",
)  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_hostile_line_among_the_hashes(sealed: Path, folder: Path, name: str) -> None:
    path = laid(sealed, folder)
    digest = hashlib.sha256(b"untouched").hexdigest()
    with (path / SUMS).open("a") as sums:
        sums.write(f"{digest}  {name}\n")
    assert outcome(path) is ExitCode.INVALID


@few(20)
@given(listing=spoiled(b"0" * 64 + b"  manifest.json\n") | st.binary(max_size=200))
def test_any_list_of_hashes(sealed: Path, folder: Path, listing: bytes) -> None:
    path = laid(sealed, folder)
    (path / SUMS).write_bytes(listing)
    assert outcome(path) is ExitCode.INVALID


NO_PACKS = ("nowhere", "outside", "outside/keep.txt", "a" * 5000)


@pytest.mark.parametrize("verb", ["check", "settle", "report", "compare"])
@pytest.mark.parametrize("name", NO_PACKS)
def test_what_is_no_pack(verb: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"report": ["--out", str(folder / "made")], "compare": [str(folder / "outside")]}.get(verb, [])
    code = main([verb, str(folder / name), *words])
    said = capsys.readouterr()
    assert code in (ExitCode.USAGE, ExitCode.INVALID, ExitCode.CONFIG)
    assert said.err
    assert "Traceback" not in said.err
    assert not said.out


def test_a_path_that_is_none() -> None:
    assert outcome(Path("no\x00where")) is ExitCode.INVALID


# --- the other verbs ----------------------------------------------------------------------------------------------


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
    manifest["drives"][0]["scenario"]["id"] = "../../../outside/planted"
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
    drive = manifest.drives[0]
    planted = replace(drive.scenario, id="../../../../outside/rows")
    (folder / "outside" / f"{planted.label.rpartition('/')[2]}.0.rows").write_text("of somebody else")
    pack.write_manifest(replace(manifest, drives=()))
    assert drive.workers[0] is not None
    block = BlockAccount(planted, drive.workers[0], rows=1, sha256="0" * 64)
    seen = WorkerSeen(0, "node")
    pack.write_crowd(MasterAccount("native", (seen,), 1, 0, planted.route, "A", 10.0))
    pack.write_crowd(WorkerAccount(0, "node", "host", 1, 1, 1, 0, 0.0, 0.0, blocks=(block,)))
    assert "'../../../../outside/rows-" in refused_to_settle(path, folder, capsys)


@few(3)
@given(data=st.data())
def test_settling_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    settled_or_refused(sealed, folder, *changed_json(sealed, data))


@many(40)
@given(data=st.data())
def test_settling_much_changed_evidence(sealed: Path, folder: Path, data: st.DataObject) -> None:
    settled_or_refused(sealed, folder, *changed_json(sealed, data))
