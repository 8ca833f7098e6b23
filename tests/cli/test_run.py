"""Whole runs, as a user starts them: real PostgreSQL, the real reference service, real processes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from rig.errors import ExitCode
from rig.profile import bundled_profile
from tests.cli.commands import QUICK, rig

_SMALL = ("--steps", "20", "-n", "200", "--trials", "1", *QUICK)


def _gates(document: Any) -> dict[str, dict[str, Any]]:
    return {gate["id"]: gate for gate in document["gates"]}


def test_a_run_passes_and_its_pack_is_judged_again(tmp_path: Path) -> None:
    ended = rig("run", *_SMALL, "--json", "--out", str(tmp_path))
    document = ended.document()
    assert ended.code == ExitCode.PASS, ended.err
    assert document["verdict"] == "PASS"
    gates = _gates(document)
    assert {"EG3.1", "EG3.2", "EG3.3", "EG3.4", "EG3.5", "storm.random-kids.single-flight"} <= set(gates)
    assert (gates["S11.exactly_once"]["verdict"], gates["S11.faults"]["figures"]["struck"]) == ("PASS", 3)
    # Latency was not certified, of drives this short the law can say nothing, a truncated body has no content, and the
    # rows were read once.
    not_run = {name for name, gate in gates.items() if gate["verdict"] != "PASS"}
    not_run -= {"S11.durable", "S11.graceful", "S11.contained"}  # the seed says which faults struck
    assert not_run <= {"calibration.ruler", "littles_law", "S7.content", "lasting"}, not_run
    pack = Path(document["pack"])
    history = pd.read_parquet(pack / "history")
    assert len(history) == gates["accounting"]["figures"]["offered"]
    for name in ("report.html", "summary.md", "junit.xml", "manifest.json", "certificate.json", "SHA256SUMS"):
        assert (pack / name).stat().st_size > 0

    again = rig("check", str(pack), "--digest", document["digest"], "--json")
    assert again.code == ExitCode.PASS
    assert _gates(again.document()).keys() == gates.keys()

    changed = shutil.copytree(pack, tmp_path / "changed")
    file = changed / "certificate.json"
    file.write_bytes(file.read_bytes().replace(b"2000", b"2001", 1))
    found = rig("check", str(changed))
    assert found.code == ExitCode.INVALID
    assert "certificate.json" in found.err


@pytest.mark.full
def test_the_documented_composition_leaves_the_documented_rows(tmp_path: Path) -> None:
    """The time limit of its 10,000 requests is generous: rows are tested here, and other tests run beside this one."""
    ended = rig(
        "run", "--documented", "--no-storms", "--max-seconds", "60", *QUICK, "--json", "--out", str(tmp_path)
    )  # fmt: skip
    assert ended.code == ExitCode.PASS, ended.err
    totals = _gates(ended.document())["totals"]["figures"]
    assert totals["tenant_A"] == "11498 / 2980"
    assert totals["tenant_B"] == "1 / 0"


@pytest.mark.full
def test_events_that_are_acknowledged_and_not_stored_are_named(tmp_path: Path) -> None:
    """1 in 500 of each process's events: among 2,000 on two processes at least three are forgotten."""
    ended = rig(
        "ladder", "--only", "S2", "--steps", "2000", "--defect", "ack-without-storing", *QUICK, "--json",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert ended.code == ExitCode.FAIL
    rows = _gates(ended.document())["S2.rows"]
    assert rows["verdict"] == "FAIL"
    assert rows["figures"]["lost"] >= 3
    assert all(re.match(r"lost [0-9a-f-]{36} \(tenant", key) for key in rows["figures"]["keys"])


@pytest.mark.full
def test_a_storm_that_cannot_start_leaves_what_failed_failed(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    text = bundled_profile().read_text().replace("{profile_dir}", str(bundled_profile().parent))
    profile.write_text(
        text.replace('[storms.unknown-kid]\nsubject = "reference"', '[storms.unknown-kid]\nsubject = "x y"')
    )
    ended = rig(
        "run",
        "--profile",
        str(profile),
        *_SMALL,
        "--no-chaos",
        "--defect",
        "no-deduplication",
        "--json",
        "--out",
        str(tmp_path / "out"),
    )
    assert ended.code == ExitCode.FAIL, ended.err
    gates = _gates(ended.document())
    assert gates["S1.rows"]["verdict"] == "FAIL"
    assert gates["hygiene"]["verdict"] == "PASS"
    assert gates["storm.random-kids"]["verdict"] == "INVALID"
    assert "'x y' is no subject" in gates["storm.random-kids"]["reason"]


def test_a_defect_that_the_service_does_not_know_is_a_wrong_option(tmp_path: Path) -> None:
    ended = rig("ladder", "--only", "S1", "--steps", "5", "--defect", "slo", *QUICK, "--out", str(tmp_path))
    assert ended.code == ExitCode.USAGE
    assert "--defect slo" in ended.err
    assert "alike are slow; `rig help gates` lists" in ended.err
    standing = rig("up", "--defect", "no-such", "--out", str(tmp_path))
    assert (standing.code, "`rig help gates`" in standing.err) == (ExitCode.USAGE, True), standing.err


@pytest.mark.full
def test_a_service_of_other_names_is_judged_by_its_profile_alone(tmp_path: Path) -> None:
    profile = bundled_profile("renamed")
    ended = rig(
        "run", "--profile", str(profile), *_SMALL, "--no-storms", "--no-chaos", "--json", "--out", str(tmp_path)
    )
    assert ended.code == ExitCode.PASS, ended.err
    spoiled = rig(
        "ladder", "--profile", str(profile), "--steps", "20", "--defect", "no-deduplication", *QUICK, "--json",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert spoiled.code == ExitCode.FAIL
    assert _gates(spoiled.document())["S1.rows"]["verdict"] == "FAIL"


def test_up_serves_until_down(tmp_path: Path) -> None:
    import urllib.request

    ended = rig("up", "--json", "--out", str(tmp_path))
    assert ended.code == ExitCode.PASS, ended.err
    standing = ended.document()
    try:
        with urllib.request.urlopen(standing["url"] + "/health/ready", timeout=5) as answer:
            assert answer.status == 200
        assert (tmp_path / ".up.json").stat().st_mode & 0o077 == 0
        again = rig("up", "--out", str(tmp_path))
        assert again.code == ExitCode.USAGE
        assert f"rig down --out {tmp_path}" in again.err
    finally:
        assert rig("down", "--out", str(tmp_path)).code == ExitCode.PASS
    assert not psutil.pid_exists(standing["pid"])
