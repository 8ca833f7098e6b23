"""``rig show``, ``rig history``, ``rig help``: from a folder of runs to one request, and to what a word means."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from rig.cli import main
from rig.errors import ExitCode
from rig.requests.canary import CANARY_PATTERN
from tests.cli.commands import QUICK, only_pack, rig
from tests.evidence.test_packs_0_1 import ARCHIVES

RUN = ("ladder", "--only", "S4", "--steps", "10", "--defect", "personal-data-dropped", "--reference", *QUICK)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    ended = rig(*RUN, "--out", str(out))
    assert ended.code == ExitCode.FAIL, ended.err
    assert f"why        rig show {only_pack(out)}" in ended.out
    assert max(map(len, ended.out.splitlines())) > 120  # nothing is folded where nobody watches
    assert not [line for line in ended.out.splitlines() if line != line.rstrip()]
    return only_pack(out)


def test_a_failing_gate_leads_to_its_requests(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(pack)]) == ExitCode.PASS
    said = capsys.readouterr().out
    assert "FAIL      S4.rows" in said
    assert re.search(r"^row +lost: ", said, re.M)
    assert re.search(r"^answer +20\d after [0-9.]+ ms: acknowledged", said, re.M)
    assert "PASS" not in said
    assert not re.search(CANARY_PATTERN, said)


def test_a_key_and_a_correlation_id_lead_to_their_request(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(pack), "S4.rows", "--json"]) == ExitCode.PASS
    (gate,) = json.loads(capsys.readouterr().out)["shown"]
    example = gate["examples"][0]
    for word in (example["key"], example["correlation"]):
        assert main(["show", str(pack), word, "--json"]) == ExitCode.PASS
        shown = json.loads(capsys.readouterr().out)["shown"]
        assert [each["seq"] for each in shown] == [example["seq"]]
        assert json.loads(shown[0]["body"])


def test_a_word_that_the_pack_does_not_know_is_a_wrong_usage(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(pack), "S99.rows"]) == ExitCode.USAGE
    assert "no gate, key or correlation id 'S99.rows'" in capsys.readouterr().err


def test_a_pack_of_the_last_release_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(ARCHIVES / "ladder.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    (old,) = tmp_path.iterdir()
    assert main(["show", str(old)]) == ExitCode.PASS
    assert "FAIL" in capsys.readouterr().out


def test_the_runs_of_a_folder_are_listed_and_drawn(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", str(pack.parent), "--plot", str(tmp_path / "h.png")]) == ExitCode.PASS
    header, run = capsys.readouterr().out.splitlines()
    assert header.startswith("started")
    assert all(word in run for word in ("ladder", "reference", "FAIL", "S4.rows"))
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    assert main(["history", str(pack.parent), "--json"]) == ExitCode.PASS
    (document,) = json.loads(capsys.readouterr().out)["runs"]
    assert document["exit_code"] == 1
    assert main(["history", str(tmp_path)]) == ExitCode.USAGE


def test_help_has_every_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == ExitCode.PASS
    topics = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"diagnosis", "gates", "profile", "storms"} <= set(topics)
    assert main(["help", "diagnosis"]) == ExitCode.PASS
    assert capsys.readouterr().out.startswith("# ")
    assert main(["help", "nothing"]) == ExitCode.USAGE
