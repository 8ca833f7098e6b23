from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from rig.errors import ConfigError, EvidenceError, UsageError
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.hashes import SUMS
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.evidence.shapes import ShapedEvent, ShapeOutcome, ShapesReport
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.machine.processes import alive
from rig.text import one_line
from tests.evidence import synthetic


def test_a_case_comes_back_as_it_was_written(pack: Pack, small: Case) -> None:
    loaded = pack.load()
    for part in ("verb", "settings", "profile", "scenario_runs", "certificate", "truth", "leak_findings", "notes"):
        assert getattr(loaded, part) == getattr(small, part), part
    assert loaded.epoch_monotonic_ns == small.epoch_monotonic_ns
    pd.testing.assert_frame_equal(loaded.probes, small.probes)
    pd.testing.assert_frame_equal(
        loaded.history[["seq", "sent_ns", "done_ns"]], small.history[["seq", "sent_ns", "done_ns"]]
    )
    assert pack.judgement() == synthetic.judgement(bad=True)
    assert pack.manifest() == synthetic.manifest(small)


def test_a_key_of_the_target_is_no_formula_in_a_spreadsheet(pack: Pack) -> None:
    keys = [
        '=HYPERLINK("http://x.example","y")\x1b[31m\u202e',
        "+1",
        "-1",
        "@SUM(A1)",
        "'quoted",
        "\t=1+1",
        "plain",
        "",
    ]
    truth = synthetic.truth()
    found = tuple(Discrepancy(DiscrepancyKind.UNEXPECTED, "", "", "A", key, "=1+1") for key in keys)
    pack.write_truth(replace(truth, discrepancies=found))
    lines = (pack.path / "truth/unclean.csv").read_text().splitlines()
    assert not [
        line for line in lines[1:] for cell in next(csv.reader([line])) if cell.startswith(("=", "+", "-", "@"))
    ]
    assert len(lines) == len(keys) + 1
    assert all(line.isprintable() for line in lines)
    read = pack.load().truth
    assert read is not None
    assert [key.key for key in read.discrepancies] == [one_line(key) for key in keys]


def test_what_was_not_gathered_is_absent_not_clean(tmp_path: Path) -> None:
    pack = Pack.create(tmp_path, "calibrate", 1, synthetic.STARTED)
    pack.write_manifest(synthetic.manifest(Case(verb="calibrate")))
    case = pack.load()
    assert (case.certificate, case.truth, case.leak_findings, case.scenario_runs) == (None, None, (), ())
    assert case.history.empty
    assert case.probes.empty
    assert pack.judgement() is None


def test_sealing_renames_once_and_returns_the_digest_of_the_list(pack: Pack) -> None:
    partial = pack.path
    assert partial.name == "20261121T104100Z-run-7.partial"
    digest = pack.seal()
    assert pack.path.name == "20261121T104100Z-run-7"
    assert not partial.exists()
    assert digest == hashlib.sha256((pack.path / SUMS).read_bytes()).hexdigest()
    assert pack.verify().intact
    assert pack.verify().digest == digest


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_list_is_one_that_sha256sum_reads(pack: Pack) -> None:
    pack.seal()
    ran = subprocess.run(
        ["sha256sum", "--strict", "-c", SUMS], cwd=pack.path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count(": OK") == sum(1 for path in pack.path.rglob("*") if path.is_file()) - 1


def test_two_runs_of_one_second_get_two_packs(tmp_path: Path) -> None:
    first = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
    second = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
    first.write_manifest(synthetic.manifest(Case()))
    first.seal()
    third = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
    assert [second.name, third.name] == ["20261121T104100Z-run-7-2", "20261121T104100Z-run-7-3"]


def test_one_at_a_time_may_write_to_a_pack(pack: Pack) -> None:
    pack.hold()
    with pytest.raises(UsageError, match="that run still goes"):
        Pack.open(pack.path).hold()
    partial = pack.path
    pack.seal()
    with pytest.raises(UsageError):
        Pack.open(pack.path).hold()  # by whatever name
    with pytest.raises(EvidenceError, match="cannot be opened"):
        Pack(partial).hold()
    pack.let_go()
    Pack.open(pack.path).hold()


HOLDER = """
import os, signal, subprocess, sys
from pathlib import Path
from rig.evidence.pack import Pack
pack = Pack(Path(sys.argv[1]))
pack.hold()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=0, stdout=subprocess.DEVNULL, close_fds=False)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_holds_its_pack_no_more_whatever_outlives_it(pack: Pack) -> None:
    """The child that outlives it reads what this test never writes: it is there until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(pack.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        assert holder.wait() == -signal.SIGKILL
        assert alive(child)
        pack.hold()


def test_sealing_never_overwrites(pack: Pack) -> None:
    pack.path.with_name(pack.name).mkdir()
    with pytest.raises(EvidenceError, match="exists"):
        pack.seal()
    assert pack.path.exists()


def test_a_finished_pack_is_never_written_to_again(pack: Pack) -> None:
    pack.seal()
    with pytest.raises(EvidenceError, match=r"finished and never written to again; summary\.md"):
        pack.write("summary.md", b"")
    with pytest.raises(EvidenceError, match="finished already"):
        pack.seal()


def test_an_unfinished_pack_opens_but_does_not_verify(pack: Pack) -> None:
    opened = Pack.open(pack.path)
    assert opened.load().verb == "run"
    with pytest.raises(EvidenceError, match="rig settle"):
        opened.verify()


def test_what_a_crash_cut_off_is_not_sealed(pack: Pack) -> None:
    (pack.path / "verdicts.json.being-written").write_bytes(b'{"verd')
    pack.seal()
    assert pack.verify().intact
    assert not list(pack.path.rglob("*.being-written"))


def test_changed_missing_and_extra_files_are_named(pack: Pack) -> None:
    pack.seal()
    manifest = pack.path / "manifest.json"
    data = bytearray(manifest.read_bytes())
    data[-3] ^= 1
    manifest.write_bytes(data)
    (pack.path / "truth/unclean.csv").unlink()
    (pack.path / "logs/planted.log").write_text("x")
    found = pack.verify()
    assert not found.intact
    assert found.changed == ("manifest.json",)
    assert found.missing == ("truth/unclean.csv",)
    assert found.extra == ("logs/planted.log",)
    for name in ("manifest.json", "truth/unclean.csv", "logs/planted.log"):
        assert name in found.sentence


def test_every_single_byte_counts(pack: Pack) -> None:
    pack.seal()
    for file in [path for path in pack.path.rglob("*") if path.is_file() and path.name != SUMS]:
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 0x80]))
        assert pack.verify().changed == (file.relative_to(pack.path).as_posix(),)
        file.write_bytes(whole)
    assert pack.verify().intact


def test_a_hostile_list_reaches_nothing_outside(pack: Pack, tmp_path: Path) -> None:
    pack.seal()
    secret = tmp_path / "secret"
    secret.write_text("outside")
    outside = hashlib.sha256(b"outside").hexdigest()
    with (pack.path / SUMS).open("a") as sums:
        sums.write(f"{outside}  ../../secret\n{outside}  {secret}\nnot a line\n{'0' * 64}  a\x1b[31m\n")
    secret.chmod(0)
    found = pack.verify()
    assert found.missing == ("../../secret", str(secret), "a\x1b[31m")
    assert found.malformed == ("not a line",)
    assert "\x1b" not in found.sentence


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_regular_file_is_refused_and_not_opened(pack: Pack, kind: str) -> None:
    planted = pack.path / "history" / "more.parquet"
    if kind == "link":
        planted.symlink_to("/etc/hostname")
    else:
        os.mkfifo(planted)  # opening it would wait for ever
    for act in (pack.load, pack.seal):
        with pytest.raises(EvidenceError, match=r"more\.parquet is no regular file"):
            act()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("manifest.json", b'{"schema": 1}'),
        ("manifest.json", b'{"schema": 99}'),
        ("manifest.json", b"[]"),
        ("manifest.json", b"\xff\xfe"),
        ("certificate.json", b'{"floor_rps": "many"}'),
        ("truth/report.json", b"{}"),
        ("truth/unclean.csv", b""),
        ("truth/unclean.csv", b"a,b\n"),
        ("truth/unclean.csv", b"kind,drive,scenario,tenant,key,detail\nstolen,d,s,t,k,\n"),
        ("truth/unclean.csv", b"kind,drive,scenario,tenant,key,detail\nlost,d\n"),
        ("probes.parquet", b"PAR1"),
        ("hygiene.json", b'[{"when": "during", "what": "", "clean": true}]'),
        ("history/S8.parquet", b"not parquet"),
    ],
)
def test_a_damaged_file_is_named(pack: Pack, name: str, data: bytes) -> None:
    (pack.path / name).write_bytes(data)
    with pytest.raises(EvidenceError, match=Path(name).name.replace(".", r"\.")):
        pack.load()


@pytest.mark.parametrize("words", [b"[]", b"{}", b'{"columns": "x", "index_columns": []}'])
@pytest.mark.parametrize("name", ["probes.parquet", "history/S8.parquet"])
def test_a_table_that_says_something_else_of_its_columns_is_named(pack: Pack, name: str, words: bytes) -> None:
    """It is well-formed, and where pandas reads what the columns mean there is anything."""
    table = pq.read_table(pack.path / name).replace_schema_metadata({b"pandas": words})
    pq.write_table(table, pack.path / name)
    with pytest.raises(EvidenceError, match=name.replace(".", r"\.")):
        pack.load()


def test_foreign_columns_are_no_history(pack: Pack) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(pack.history_folder / "other.parquet")
    (pack.history_folder / "S8.parquet").unlink()
    with pytest.raises(EvidenceError, match="history"):
        pack.load()


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"no evidence pack: it has no manifest\.json"):
        Pack.open(tmp_path)


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", "", "a\nb", ".hidden", "a//b", "a/"])
def test_no_name_leaves_the_pack(pack: Pack, name: str) -> None:
    with pytest.raises(EvidenceError, match="cannot be the name"):
        pack.write(name, b"")


def test_results_that_cannot_be_written_are_a_matter_of_configuration(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    for results in (taken, taken / "below", Path("/proc/results")):
        with pytest.raises(ConfigError, match="--out"):
            Pack.create(results, "run", 7, synthetic.STARTED)


def test_a_disk_that_takes_nothing_is_missing_evidence(pack: Pack) -> None:
    (pack.path / "plots").write_text("a file where a folder must be")
    with pytest.raises(EvidenceError, match=r"plots/x\.png cannot be written"):
        pack.write("plots/x.png", b"data")


def test_hostile_keys_survive_the_csv_with_their_line_breaks_escaped(pack: Pack) -> None:
    truth = synthetic.truth()
    key = Discrepancy(DiscrepancyKind.UNEXPECTED, 'd"|,', "S1", "<b>\r\nx", "=1+1,'\"", "line\nbreak\r")
    pack.write_truth(replace(truth, discrepancies=(key,)))
    escaped = replace(key, tenant="<b>\\r\\nx", detail="line\\nbreak\\r")
    assert pack.load().truth == replace(truth, discrepancies=(escaped,))


def test_figures_out_of_numpy_are_numbers_in_the_pack(pack: Pack) -> None:
    figures = {"count": np.int64(3), "share": np.float64(0.5), "trials": np.array([1, 2]), "ok": np.bool_(True)}
    gate = Gate("x", Verdict.PASS, "rule", figures)
    pack.write_judgement(Judgement(Verdict.PASS, 0, (gate,)))
    written = pack.judgement()
    assert written is not None
    assert written.gates[0].figures == {"count": 3, "share": 0.5, "trials": [1, 2], "ok": True}


def test_the_manifest_can_be_written_again_as_the_run_goes(pack: Pack, small: Case) -> None:
    manifest = synthetic.manifest(small)
    pack.write_manifest(replace(manifest, ended_utc=manifest.started_utc + timedelta(seconds=2)))
    assert pack.manifest().duration_s == 2


def test_the_events_of_s10_are_a_table_and_those_of_an_earlier_pack_stand_in_the_report(tmp_path: Path) -> None:
    pack = Pack.create(tmp_path, "run", 7, synthetic.STARTED)
    plain = ShapedEvent("S10-2-stripe-1", "a", "the plain event", (), ShapeOutcome.STORED, 200, 1.5, 6)
    lost = ShapedEvent("S10-2-stripe-1", "b", "an emoji", ("text", "keys"), ShapeOutcome.LOST, 200, 2.5, detail="x")
    report = ShapesReport((), (plain, lost))
    pack.write_shapes(report)
    assert pack.shapes() == report
    assert json.loads((pack.path / "shapes.json").read_text())["events"] == []
    (pack.path / "shapes.parquet").write_bytes(b"PAR1")
    with pytest.raises(EvidenceError, match=r"shapes\.parquet cannot be read"):
        pack.shapes()
    (pack.path / "shapes.parquet").unlink()
    pack.write("shapes.json", TypeAdapter(ShapesReport).dump_json(report))
    assert pack.shapes() == report
