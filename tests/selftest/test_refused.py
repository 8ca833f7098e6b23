"""A client that is not certified proves nothing: nothing is tried with it, and the proof ends as its pack does."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import rig.selftest.bench
import rig.verbs.prove
from rig.errors import ExitCode
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Verdict
from rig.evidence.pack import Pack
from rig.machine.quota import QuotaUnavailable
from rig.profile import bundled_profile, load_profile
from rig.report.confusion import confusion_table
from rig.run.job import Job
from rig.run.open_run import OpenRun
from rig.run.reporter import Reporter
from rig.selftest.bench import Bench, PlannedRun, beforehand
from rig.selftest.bottlenecks import HEALTHY
from rig.selftest.diagnosis import Interview, prove_diagnosis
from rig.selftest.matrix import proof_table
from rig.settings import Settings
from rig.verbs.check import recheck
from rig.verbs.prove import prove
from tests.checks.cases import certificate, freeze, latency_calibration, slow_certificate

REFUSED = pytest.mark.parametrize(
    ("found", "code", "gate"),
    [
        (slow_certificate("client-bound"), ExitCode.BELOW_FLOOR, "calibration.null: client-bound"),
        (
            certificate(latency_calibration=latency_calibration(freeze=freeze(unanswered=1))),
            ExitCode.INVALID,
            "calibration.ruler: a freeze of 1 s",
        ),
    ],
    ids=["below-the-floor", "latency_calibration"],
)


class Workers(nullcontext["Workers"]):
    """A pool without workers."""

    size, pids = 1, ()

    def __init__(self, *_: object) -> None:
        super().__init__(self)


def never(*_: object, **how: object) -> Any:
    raise AssertionError("nothing was to be tried")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = bundled_profile()
    return Job("prove", (), Settings(out=tmp_path), load_profile(path), path.parent)


@pytest.fixture
def certified_by(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the client certified like that, and nobody be loaded."""

    def stand_in(found: Certificate) -> None:
        def certify(run: OpenRun, *_: object) -> Certificate:
            run.record.pack.write_certificate(found)
            return found

        bench = rig.selftest.bench
        monkeypatch.setattr(bench, "Pool", Workers)
        monkeypatch.setattr(bench, "open_cluster", lambda *_, **how: nullcontext())
        monkeypatch.setattr(bench, "certify", certify)
        monkeypatch.setattr(bench, "new_store", lambda *_: None)
        monkeypatch.setattr(bench, "load_target", never)
        monkeypatch.setattr(rig.verbs.prove, "prove_storms", never)

    return stand_in


def shown(table: object) -> str:
    """A table as a person sees it, without its line ends."""
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


@REFUSED
def test_a_proof_of_the_gates(certified_by: Any, job: Job, found: Certificate, code: ExitCode, gate: str) -> None:
    certified_by(found)
    proof = prove(job, (), {}, Reporter(), repetitions=2)
    assert (proof.verdict, proof.exit_code, proof.cells) == (Verdict.INVALID, code, ())
    assert list(proof.packs) == ["healthy"]
    assert recheck(proof.packs["healthy"]).judgement.exit_code == code
    assert gate in proof.document()["refused"]
    assert f"the client was not certified, nothing was tried with it: {gate}" in shown(proof_table(proof))


@REFUSED
def test_a_proof_of_the_diagnosis(certified_by: Any, job: Job, found: Certificate, code: ExitCode, gate: str) -> None:
    certified_by(found)
    proof = prove_diagnosis(job, 2, (), {}, Reporter())
    assert (proof.verdict, proof.exit_code, proof.answers) == (Verdict.INVALID, code, ())
    assert proof.pack is not None
    assert recheck(proof.pack).judgement.exit_code == code
    assert gate in proof.document()["refused"]
    assert f"the client was not certified: {gate}" in shown(confusion_table(proof))


def test_a_bottleneck_that_could_not_be_seeded_leaves_no_pack_that_passes(certified_by: Any, job: Job) -> None:
    def refuse(run: PlannedRun) -> None:
        raise QuotaUnavailable("no control group")

    certified_by(certificate())
    bench = Bench(job, {}, Reporter(), Workers(), nullcontext(), certificate())  # type: ignore[arg-type]
    interview = Interview(bench)
    interview.ask(replace(HEALTHY, apply=beforehand(refuse)), 1)
    assert interview.not_run == {"healthy": "no control group"}
    (left,) = job.settings.out.iterdir()
    assert Pack.open(left).manifest().cut_short == "the bottleneck could not be seeded: no control group"
    assert recheck(left).judgement.verdict is Verdict.INVALID
