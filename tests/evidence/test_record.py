"""What is left of a run that cannot go on: a judged pack that passes nothing, its reason in words, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rig.run.storms
from rig.calibrate.cores import plan_of_this_machine
from rig.errors import ConfigError, EvidenceError, ExitCode, Unavailable, UsageError
from rig.evidence.case import Finding
from rig.evidence.gate import Verdict
from rig.evidence.manifest import UNENDED
from rig.evidence.pack import Pack
from rig.machine.supervisor import Supervisor
from rig.model import RunKey
from rig.profile import bundled_profile, load_profile
from rig.run.job import Job
from rig.run.open_run import OpenRun
from rig.run.record import FinishedRun, Record, conclude_on_error
from rig.run.reporter import Reporter
from rig.settings import Settings
from rig.target.secrets import BLANK
from rig.verbs.check import recheck
from rig.verbs.settle import settle
from tests.checks.cases import certificate

PASSWORD = "correct-horse-battery"


KEY = RunKey(1, "0" * 12, 0)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = bundled_profile()
    return Job("run", (), Settings(out=tmp_path), load_profile(path), path.parent)


@pytest.fixture
def record(job: Job) -> Record:
    """A run that has just begun, with a log that quotes its password."""
    begun = Record.begin(job, KEY, 0, {})
    begun.secrets.learn(PASSWORD)
    (begun.pack.logs_folder / "target.log").write_text(f"cannot connect with {PASSWORD}\n")
    return begun


def log_of(record: Record) -> str:
    return (record.pack.logs_folder / "target.log").read_text()


def test_an_end_is_judged_and_said_without_secrets(record: Record) -> None:
    with pytest.raises(Unavailable, match="the target ended") as caught, conclude_on_error(record, "run"):
        raise Unavailable(f"the target ended: {PASSWORD}")
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in log_of(record)
    assert record.pack.is_sealed
    kept = Pack.open(record.path)
    assert kept.judgement() is not None
    assert f"the run could not go on: the target ended: {BLANK}" in kept.manifest().notes


def refused(finished: FinishedRun) -> str:
    """Why a pack that was cut short is INVALID: the reason of its gate."""
    assert (finished.judgement.verdict, finished.judgement.exit_code) == (Verdict.INVALID, ExitCode.INVALID)
    assert (finished.pack / "summary.md").read_text().startswith("# INVALID")
    return next(gate.reason for gate in finished.judgement.gates if gate.id == "completion")


def test_what_was_sound_before_the_end_does_not_pass(record: Record) -> None:
    record.pack.write_certificate(certificate())
    with pytest.raises(Unavailable), conclude_on_error(record, "run"):
        raise Unavailable(f"the target ended: {PASSWORD}")
    assert refused(recheck(record.path)) == f"the run could not go on: the target ended: {BLANK}"


def test_what_only_its_judging_is_lacking_is_whole(record: Record) -> None:
    record.pack.write_certificate(certificate())
    record.mark_complete()
    with pytest.raises(EvidenceError), conclude_on_error(record, "run"):
        raise EvidenceError("the disk was full")
    assert recheck(record.path).judgement.verdict is Verdict.PASS


@pytest.mark.parametrize("verb", ["run", "calibrate", "storm", "prove-diagnosis"])
def test_what_was_killed_on_its_way_passes_nothing_once_it_is_settled(job: Job, verb: str) -> None:
    left = Record.begin(replace(job, verb=verb), KEY, 0, {})
    left.pack.write_certificate(certificate())
    left.pack.write_leak_findings((Finding("after", "processes", True),))
    left.pack.let_go()
    assert refused(settle(left.path, {}, Reporter())) == UNENDED


def test_a_rig_that_did_not_write_it_down_is_believed(record: Record) -> None:
    """Packs of earlier rigs are judged as they were."""
    record.pack.write_certificate(certificate())
    manifest = json.loads((record.path / "manifest.json").read_text())
    assert manifest.pop("cut_short") == UNENDED
    record.pack.write("manifest.json", json.dumps(manifest).encode())
    record.pack.let_go()
    assert settle(record.path, {}, Reporter()).judgement.verdict is Verdict.PASS


def test_settling_blanks_what_the_environment_still_holds(job: Job) -> None:
    """The rig that was killed knew more, and could not do it any more."""
    left = Record.begin(job, KEY, 0, {})
    (left.pack.logs_folder / "target.log").write_text(f"cannot connect with {PASSWORD}\n")
    left.pack.let_go()
    dsn = f"postgresql://service:{PASSWORD}@127.0.0.1:9/none"
    finished = settle(left.path, {"RIG_RUNTIME_DSN": dsn}, Reporter())
    assert (finished.pack / "logs/target.log").read_text() == f"cannot connect with {BLANK}\n"


def test_a_pack_that_could_not_be_sealed_is_to_be_settled(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Record, "judge", lambda *_, **how: None)
    with pytest.raises(EvidenceError, match=f"rig settle {record.path}"), conclude_on_error(record, "run"):
        raise EvidenceError("the disk is full")


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_fault_of_the_rig_is_not_judged_and_leaves_no_secret(record: Record, fault: type[BaseException]) -> None:
    with pytest.raises(fault), conclude_on_error(record, "run"):
        raise fault
    assert log_of(record) == f"cannot connect with {BLANK}\n"
    assert not record.pack.is_sealed


@pytest.mark.parametrize("fault", [EvidenceError, Unavailable])
def test_a_pack_whose_truth_can_still_be_read_stays_open(record: Record, fault: type[Exception]) -> None:
    record.stays_open = True
    with pytest.raises(fault, match=rf"the storm.* rig settle {record.path}"), conclude_on_error(record, "run"):
        raise fault("the storm did not start")
    assert not record.pack.is_sealed
    assert record.pack.judgement() is not None


def test_a_disk_that_fills_while_judging_is_no_fault_of_the_rig(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged twice: what the first time has removed is not looked for again."""

    def full(*_: object) -> None:
        raise EvidenceError("no space left on device")

    monkeypatch.setattr(Pack, "write_judgement", full)
    with (
        pytest.raises(EvidenceError, match=r"no space left on device; .* rig settle"),
        conclude_on_error(record, "run"),
    ):
        record.judge()


# --- the storms at the end of a run -------------------------------------------------------------------------------


def stormed(job: Job, record: Record, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The short storms, whose server does not start."""

    @contextmanager
    def no_server(*_: object, **how: object) -> Iterator[Any]:
        raise error
        yield

    monkeypatch.setattr(rig.run.storms, "open_cluster", no_server)
    opened = OpenRun(job, {}, Reporter(), record, plan_of_this_machine(1))
    with Supervisor() as supervisor:
        rig.run.storms.run_short_storms(opened, supervisor)


@pytest.mark.parametrize("fault", [Unavailable, UsageError, ConfigError])
def test_a_storm_that_cannot_start_takes_no_verdict_away(
    job: Job, record: Record, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    stormed(job, record, monkeypatch, fault(f"no server: {PASSWORD}"))
    record.mark_complete()
    assert f"the storms could not go on: no server: {BLANK}" in record.manifest.notes
    finished = record.judge()
    gate = next(gate for gate in finished.judgement.gates if gate.id == "storm.random-kids")
    # It belongs to every run whose profile says how to make it: a run that lacks it passes nothing.
    assert (gate.verdict, gate.reason) == (Verdict.INVALID, f"no server: {BLANK}")
    assert finished.judgement.exit_code == ExitCode.INVALID


def test_a_full_disk_ends_the_storms_too(job: Job, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvidenceError, match="no space"):
        stormed(job, record, monkeypatch, EvidenceError("no space"))
