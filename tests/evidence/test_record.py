"""What is left of a run that cannot go on: a judged pack, its reason in words, and no secret, whoever said it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import EvidenceError, Unavailable
from rig.evidence.pack import Pack
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.record import Record
from rig.redact import BLANK
from rig.run import concluded
from rig.settings import Job, Settings

PASSWORD = "correct-horse-battery"


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A run that has just begun, with a log that quotes its password."""
    path = bundled_profile()
    job = Job("run", (), Settings(out=tmp_path), load_profile(path), path.parent)
    begun = Record.begin(job, RunKey(1, "0" * 12, 0), 0, {})
    begun.secrets.learn(PASSWORD)
    (begun.pack.logs_folder / "target.log").write_text(f"cannot connect with {PASSWORD}\n")
    return begun


def log_of(record: Record) -> str:
    return (record.pack.logs_folder / "target.log").read_text()


def test_an_end_is_judged_and_said_without_secrets(record: Record) -> None:
    with pytest.raises(Unavailable, match="the target ended") as caught, concluded(record, "run"):
        raise Unavailable(f"the target ended: {PASSWORD}")
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in log_of(record)
    assert record.pack.sealed
    kept = Pack.open(record.path)
    assert kept.judgement() is not None
    assert f"the run could not go on: the target ended: {BLANK}" in kept.manifest().notes


def test_a_pack_that_could_not_be_sealed_is_to_be_settled(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Record, "judged", lambda _: None)
    with pytest.raises(EvidenceError, match=f"rig settle {record.path}"), concluded(record, "run"):
        raise EvidenceError("the disk is full")


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_fault_of_the_rig_is_not_judged_and_leaves_no_secret(record: Record, fault: type[BaseException]) -> None:
    with pytest.raises(fault), concluded(record, "run"):
        raise fault
    assert log_of(record) == f"cannot connect with {BLANK}\n"
    assert not record.pack.sealed
