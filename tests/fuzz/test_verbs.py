"""Changed packs in the hands of the verbs that do not judge them: read, drawn, settled, or refused with a clear error.

Nothing is ever written but where it was asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
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


# --- what nobody would write, in the hands of every verb that reads packs -----------------------------------------


def commands(path: Path, folder: Path) -> tuple[list[str], ...]:
    """Every verb that reads a finished pack, on this one."""
    other, made = str(folder / "results" / "other"), str(folder / "made")
    history = ["history", str(path.parent), "--plot", f"{made}.png"]
    return ["check", str(path)], ["show", str(path)], ["report", str(path), "--out", made], history, [
        "compare", str(path), other
    ]  # fmt: skip


def read_by_all(
    sealed: Path, folder: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], *, hashed: bool
) -> dict[str, tuple[int, str]]:
    """The exit code of each verb, and what it says on stderr; nothing in the pack is changed."""
    path = laid(sealed, folder)
    shutil.copytree(sealed, path.parent / "other")
    manifest = json.loads((path.parent / "other" / "manifest.json").read_bytes())
    (path.parent / "other" / "manifest.json").write_text(json.dumps(manifest | {"seed": 8}))
    hashed_again(path.parent / "other")
    spoil(path)
    if hashed:
        hashed_again(path)
    before, said = state(path), {}
    for command in commands(path, folder):
        code = main(command)
        said[command[0]] = code, capsys.readouterr().err
        assert "a fault of the rig" not in said[command[0]][1], command
        assert "Traceback" not in said[command[0]][1]
        assert code in VERDICTS | {ExitCode.USAGE, ExitCode.CONFIG}
    assert state(path) == before
    return said


def put(name: str, at: str, value: object) -> Callable[[Path], object]:
    """Puts a value into a document of a pack; the parts of the place are separated by slashes."""

    def spoil(path: Path) -> None:
        document = json.loads((path / name).read_bytes())
        *steps, last = at.split("/")
        here = document
        for step in steps:
            here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
        here[last] = value
        (path / name).write_text(json.dumps(document))

    return spoil


def add(name: str, text: str) -> Callable[[Path], object]:
    """Puts a file into a pack."""

    def spoil(path: Path) -> None:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)

    return spoil


HUGE = 10**400
STRANGE = {
    "gates are no list": put("verdicts.json", "gates", 5),
    "gates are a list of nothing": put("verdicts.json", "gates", [None]),
    "a figure beyond all": put("verdicts.json", "gates/0/figures", {"median_s": HUGE, "rps": 1e308}),
    "a time without a zone": put("manifest.json", "started_utc", "2026-11-29T14:57:23"),
    "a time before all": put("manifest.json", "started_utc", "0001-01-01T00:00:00Z"),
    "a time after all": put("manifest.json", "started_utc", "9999-12-31T23:59:59Z"),
    "an end without a zone": put("manifest.json", "ended_utc", "2026-11-29T14:57:23"),
    "a target that is a text": put("manifest.json", "profile/target", "here"),
    "a truth that is a number": put("manifest.json", "profile/truth", 5),
    "routes of numbers": put("manifest.json", "profile/routes", [5]),
    "routes that are a table": put("manifest.json", "profile/routes", {}),
    "probes that are a list": put("manifest.json", "profile/probes", ["/health"]),
    "a body nested for ever": put("manifest.json", "profile/routes/0/body", "[" * 100_000),
    "defects that are a number": put("manifest.json", "settings/defects", 5),
    "a load that is a list": put("manifest.json", "fingerprint/load_average", [[]]),
    "cores beyond all": put("manifest.json", "fingerprint/cores", HUGE),
    "a name that is a list": put("manifest.json", "profile/name", ["a", "b"]),
    "a journal of numbers": add("samples/pids.jsonl", "5\n[1]\nnull\n"),
    "a report that is a number": add("samples/pids.jsonl", '["report", 0, 5]\n'),
    "a report of unknown keys": add("samples/pids.jsonl", '["report", 0, {"x": 1}]\n'),
    "rows that are a number": add("samples/pids.jsonl", '["ticks", 0, 5]\n["sessions", 0, [[1]]]\n'),
    "a line nested for ever": add("samples/pids.jsonl", "[" * 100_000 + "\n"),
    "reports of nothing": add("samples/reports.json", "[null]"),
}


@pytest.mark.parametrize("spoil", STRANGE.values(), ids=STRANGE)
def test_a_strange_pack_in_all_hands(
    sealed: Path, folder: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object]
) -> None:
    read_by_all(sealed, folder, capsys, spoil, hashed=True)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "a verdict that somebody changed": put("verdicts.json", "gates/0/verdict", "PASS"),
    "verdicts that are a pipe": lambda path: ((path / "verdicts.json").unlink(), os.mkfifo(path / "verdicts.json")),
    "verdicts that are a link": lambda path: (
        (path / "verdicts.json").rename(path.parent.parent / "verdicts.json"),
        (path / "verdicts.json").symlink_to(path.parent.parent / "verdicts.json"),
    ),
    "a manifest that is cut off": lambda path: os.truncate(path / "manifest.json", 100),
    "an empty list of hashes": lambda path: os.truncate(path / "SHA256SUMS", 0),
    "a list of hashes that is a pipe": lambda path: ((path / "SHA256SUMS").unlink(), os.mkfifo(path / "SHA256SUMS")),
    "a manifest of a later rig": put("manifest.json", "schema", 3),
}


@pytest.mark.parametrize(("what", "spoil"), DAMAGED.items(), ids=DAMAGED)
def test_no_verb_takes_a_damaged_pack_for_a_good_one(
    sealed: Path, folder: Path, capsys: pytest.CaptureFixture[str], what: str, spoil: Callable[[Path], object]
) -> None:
    said = read_by_all(sealed, folder, capsys, spoil, hashed=False)
    assert said.pop("history")[0] == ExitCode.PASS  # of the other pack
    for verb, (code, words) in said.items():
        assert code == ExitCode.INVALID, verb
        assert "fuzzed" in words


def test_the_history_of_a_folder_names_what_it_leaves_out(
    sealed: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = laid(sealed, folder)
    put("verdicts.json", "verdict", "PASS")(path)
    assert main(["history", str(path.parent)]) == ExitCode.INVALID
    assert "fuzzed was changed: changed: 'verdicts.json'" in capsys.readouterr().err
    shutil.copytree(sealed, path.parent / "other")
    assert main(["history", "--json", str(path.parent)]) == ExitCode.PASS
    heard = capsys.readouterr()
    assert "rig: left out: " in heard.err
    listed = json.loads(heard.out)
    assert [run["pack"] for run in listed["runs"]] == ["other"]
    assert len(listed["left_out"]) == 1


def test_a_manifest_of_another_program(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "manifest.json").write_text('{"name": "a page", "icons": []}')
    for verb in ("check", "show", "settle"):
        assert main([verb, str(folder)]) in (ExitCode.INVALID, ExitCode.USAGE)
        assert "move it out" not in capsys.readouterr().err
