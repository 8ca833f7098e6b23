"""``rig prove --diagnosis`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.evidence.confusion import ANSWERS
from rig.evidence.pack import Pack
from tests.cli.commands import QUICK, Ended, Going, rig

SEEDS = ("row-lock-convoy", "no-pool")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--diagnosis", "--only", "slow-comit"), "known are healthy, slow-commit, row-lock-convoy"),
        (("--diagnosis", "--storms"), "--diagnosis goes with --only SEED"),
        (("--only", "no-pool"), "--only goes with --diagnosis"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = rig("prove", *words, "--out", str(tmp_path))
    assert ended.code == 64
    assert said in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.full
@pytest.mark.timeout(300)
def test_what_is_seeded_is_found(tmp_path: Path) -> None:
    words = ["prove", "--diagnosis", "--repetitions", "1", *QUICK, "--json", "--out", str(tmp_path)]
    ended: Ended = Going([*words, *(word for seed in SEEDS for word in ("--only", seed))]).end(timeout_s=280)
    document = ended.document()
    observed = {cell["seed"]: cell["observed"] for cell in document["cells"]}
    assert observed.keys() == {"healthy", *SEEDS}
    assert set(observed.values()) <= set(ANSWERS)
    # The healthy one's answer is the machine's, too: a neighbour that computes meanwhile is rightly found.
    assert (observed["row-lock-convoy"], observed["no-pool"]) == ("H-A2", "H-B2"), document["cells"]
    pack = Pack.open(Path(document["pack"]))
    assert pack.verify().intact
    matrix = json.loads((pack.path / "diagnosis/confusion.json").read_text())
    assert matrix["cells"] == document["cells"]
    assert (pack.path / "plots/confusion.png").read_bytes().startswith(b"\x89PNG")
    assert all((tmp_path / name).is_dir() for name in document["packs"])
