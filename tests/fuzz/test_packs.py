"""Whatever lies in a folder that calls itself a pack: it is judged, or a clear error ends in the right exit code.

Nothing is ever written outside it, and nothing at all into a finished one. Changed bytes are always found; a stranger
who writes the hashes anew gets his lies judged, but no traceback and no PASS out of what cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.cli import main
from rig.errors import EvidenceError, ExitCode
from rig.evidence.hashes import SUMS
from rig.evidence.pack import Pack
from rig.verbs.check import recheck
from tests.fuzz.effort import few, many
from tests.fuzz.hostile import TEXTS, spoiled, values
from tests.fuzz.packs import (
    VERDICTS,
    changed_json,
    files,
    hashed_again,
    json_files,
    laid,
    outcome,
    parquet_files,
    state,
)


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


def test_a_table_that_unpacks_to_more_than_any_run_writes_is_not_read(sealed: Path, folder: Path) -> None:
    path = laid(sealed, folder)
    name = parquet_files(sealed)[0]
    endless = pa.table({"seq": np.zeros(20_000_001, np.int8)})  # some kilobytes
    pq.write_table(endless, path / name, compression="zstd")
    hashed_again(path)
    with pytest.raises(EvidenceError, match=rf"{name} cannot be read: it unpacks to 20,\d+,\d+ rows or more"):
        recheck(path)


def test_a_document_larger_than_any_run_writes_is_not_read(sealed: Path, folder: Path) -> None:
    path = laid(sealed, folder)
    with (path / "verdicts.json").open("r+b") as file:
        file.truncate(1 << 29)
    with pytest.raises(EvidenceError, match=r"verdicts\.json cannot be read: it is larger than 256 MiB"):
        Pack.open(path).judgement()


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


def test_a_folder_that_goes_down_for_ever(sealed: Path, folder: Path) -> None:
    path = laid(sealed, folder)
    (path / Path(*["deep"] * 600)).mkdir(parents=True)
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
