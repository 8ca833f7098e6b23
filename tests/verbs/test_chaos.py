"""Looking for the fewest faults that still fail: an interrupt ends it, with what was found so far."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rig.chaos.schedule import ChaosPlan
from rig.checks.gates import GateKind, Kind
from rig.errors import ExitCode
from rig.evidence.chaos import ChaosSchedule, PlannedFault
from rig.evidence.gate import Gate, Verdict
from rig.evidence.judgement import Judgement
from rig.run.job import Job
from rig.run.record import FinishedRun
from rig.run.reporter import Reporter
from rig.verbs import chaos

FAULTS = tuple(PlannedFault(number, name, number * 5.0, 1.0) for number, name in enumerate("abcd", 1))
RED: Gate = GateKind("S11.answers", Kind.SERVICE, "a rule").decide({}, wrong="wrong")


def finished(*gates: Gate, code: ExitCode = ExitCode.FAIL) -> FinishedRun:
    judgement = Judgement(Verdict.FAIL if gates else Verdict.PASS, int(code), gates)
    return FinishedRun("chaos", judgement, Path("pack"), "digest", None)


def find(monkeypatch: pytest.MonkeyPatch, *ends: FinishedRun) -> chaos.Minimised:
    """What is found where the runs end so, one after the other."""
    left = iter(ends)
    monkeypatch.setattr(chaos, "run", lambda *_: next(left))
    monkeypatch.setattr(chaos, "schedule_of", lambda _: ChaosSchedule(1, FAULTS))
    monkeypatch.setattr(chaos, "aftermaths", lambda _: ())
    monkeypatch.setattr(chaos.Pack, "open", lambda _: SimpleNamespace(load=lambda: None))
    monkeypatch.setattr(chaos, "_shorten", lambda job, _: job)
    job = cast(Job, SimpleNamespace(chaos=ChaosPlan(60.0)))
    return chaos.find_fewest(job, finished(RED), {}, cast(Reporter, SimpleNamespace(stage=lambda _: None)))


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        ([finished(code=ExitCode.INTERRUPTED)], "abcd"),
        ([finished(RED), finished(code=ExitCode.INTERRUPTED)], "ab"),
        ([finished(RED), finished(RED, code=ExitCode.INTERRUPTED)], "ab"),  # what it shows is half of a run
    ],
)
def test_an_interrupt_ends_the_search(monkeypatch: pytest.MonkeyPatch, ends: list[Any], left: str) -> None:
    found = find(monkeypatch, *ends)
    assert ([fault.fault for fault in found.faults], found.was_interrupted) == (list(left), True)
    assert len(found.runs) == len(ends)


def test_it_goes_on_until_no_fault_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find(monkeypatch, finished(RED), finished(RED))
    assert ([fault.fault for fault in found.faults], found.was_interrupted) == (["a"], False)
