"""The wall clock is stepped during a run: through the seam, for nobody steps a machine's clock for a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rig.checks.judge import exit_code_of, judge, verdict_of
from rig.errors import ExitCode
from rig.evidence.case import Case, Finding
from rig.evidence.gate import Verdict
from rig.run.leak_check import WallClock
from tests.checks.cases import BROKEN, REFUSED, case, driven, plan


def _looked_twice(wall: Iterator[float], monotonic: Iterator[float]) -> Finding:
    return WallClock(lambda: next(wall), lambda: next(monotonic)).look_again()


@pytest.mark.parametrize(
    ("wall_s", "said"),
    [
        ((1_000.0, 1_060.0), ""),
        ((1_000.0, 1_060.9), ""),  # slewed
        ((1_000.0, 4_660.0), "stepped by +3600.0 s"),
        ((1_000.0, 1_030.0), "stepped by -30.0 s"),
    ],
)
def test_a_minute_of_the_monotonic_clock_on_the_wall_clock(wall_s: tuple[float, float], said: str) -> None:
    finding = _looked_twice(iter(wall_s), iter((5.0, 65.0)))
    assert finding.detail == said
    assert finding.clean == (not said)


def _judged(judged: Case) -> tuple[dict[str, Verdict], Verdict, ExitCode]:
    gates = judge(judged)
    return {gate.id: gate.verdict for gate in gates}, verdict_of(gates), exit_code_of(judged, gates)


def _stepped(judged: Case) -> Case:
    return replace(judged, leak_findings=(_looked_twice(iter((1_000.0, 4_660.0)), iter((5.0, 65.0))),))


def test_a_run_whose_clock_was_stepped_does_not_pass() -> None:
    gates, verdict, code = _judged(_stepped(case(driven(plan()))))
    assert gates["hygiene"] is Verdict.INVALID
    assert (verdict, code) == (Verdict.INVALID, ExitCode.INVALID)


def test_refusals_after_a_step_are_no_blame_on_the_target() -> None:
    refused = case(driven(plan(), [REFUSED] * 3))
    assert _judged(refused)[0]["S2.answers"] is Verdict.FAIL
    gates, verdict, code = _judged(_stepped(refused))
    assert gates["S2.answers"] is Verdict.INVALID
    assert (verdict, code) == (Verdict.INVALID, ExitCode.INVALID)


def test_a_step_excuses_nothing_else() -> None:
    gates, _, code = _judged(_stepped(case(driven(plan(), [REFUSED, BROKEN]))))
    assert gates["S2.answers"] is Verdict.FAIL
    assert code == ExitCode.FAIL
