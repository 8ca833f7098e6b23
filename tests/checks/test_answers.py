"""S*.answers: what a target answered, and what the rig cut off itself."""

from __future__ import annotations

import pytest

from rig.checks.answers import check_answers
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from tests.checks.cases import (
    ABORTED,
    BROKEN,
    OK,
    REFUSED,
    RESET,
    SKIPPED,
    TIMEOUT,
    UNCONNECTED,
    Driven,
    case,
    driven,
    plan,
)

BUSY = {"cpu_user_s": 0.7, "cpu_system_s": 0.25}
STALLED = {"stalled_s": 0.3}


@pytest.mark.parametrize(
    ("scenario_run", "verdict", "reason"),
    [
        # Every request answered as its class asks.
        (driven(plan()), Verdict.PASS, ""),
        # One wrong status is enough; it is named.
        (driven(plan(), [BROKEN]), Verdict.FAIL, "status 500 (1 times)"),
        (driven(plan(), [REFUSED, REFUSED]), Verdict.FAIL, "status 401 (2 times)"),
        # No answer is the target's doing: it was asked.
        (driven(plan(), [RESET]), Verdict.FAIL, "1 connection lost"),
        (driven(plan(), [UNCONNECTED]), Verdict.FAIL, "1 connect"),
        (driven(plan(), [TIMEOUT]), Verdict.FAIL, "1 timeout"),
        # Timeouts alone of a client at its limit: it may have been too slow to see the answers.
        (driven(plan(), [TIMEOUT], **BUSY), Verdict.INVALID, "client"),
        (driven(plan(), [TIMEOUT], **STALLED), Verdict.INVALID, "client"),
        # A wrong answer stays wrong whatever the client was.
        (driven(plan(), [BROKEN], **BUSY), Verdict.FAIL, "status 500"),
        (driven(plan(), [TIMEOUT, BROKEN], **BUSY), Verdict.FAIL, "status 500"),
        (driven(plan(), [TIMEOUT, RESET], **STALLED), Verdict.FAIL, "connection lost"),
        # What the rig cut off is never booked as a wrong answer, and never as a right one.
        (driven(plan(), [SKIPPED, SKIPPED]), Verdict.INVALID, "2 requests were not sent"),
        (driven(plan(), [SKIPPED] * 10), Verdict.INVALID, "10 requests were not sent"),
        (driven(plan(), [ABORTED, SKIPPED], interrupted=True), Verdict.INVALID, "interrupted"),
        # A wrong answer before the interrupt was a wrong answer; what was aborted is not named with it.
        (driven(plan(), [BROKEN, ABORTED], interrupted=True), Verdict.FAIL, "wrong answers: status 500 (1 times)"),
        # A worker without a report: the claim falls, and nobody is blamed.
        (driven(plan(), reported=False), Verdict.INVALID, "a worker's report is missing"),
        (driven(plan(), reported=False, notes=["worker 0 died (exit code -9)"]), Verdict.INVALID, "worker 0 died"),
        (driven(plan(), [BROKEN], reported=False), Verdict.FAIL, "status 500"),
    ],
)
def test_answers(scenario_run: Driven, verdict: Verdict, reason: str) -> None:
    (gate,) = check_answers(case(scenario_run))
    assert (gate.id, gate.verdict) == ("S2.answers", verdict)
    assert reason in gate.reason
    assert bool(gate.reason) == (verdict is not Verdict.PASS)


def test_what_was_aborted_is_not_called_wrong() -> None:
    (gate,) = check_answers(case(driven(plan(), [BROKEN, ABORTED], interrupted=True)))
    assert "aborted" not in gate.reason
    assert gate.figures["aborted"] == 1


def test_figures_count_every_ending() -> None:
    (gate,) = check_answers(case(driven(plan(), [BROKEN, TIMEOUT, SKIPPED, OK])))
    expected = {
        "requests": 10,
        "acknowledged": 7,
        "refused": 1,
        "indeterminate": 1,
        "not_sent": 1,
        "http_5xx": 1,
        "timeout": 1,
    }
    assert gate.figures == expected | {"wrong_status": ["500 (1 times)"]}


def test_one_bad_step_fails_the_scenario_and_no_other() -> None:
    gates = check_answers(
        case(driven(plan("S1", step=50)), driven(plan("S1", step=250), [BROKEN]), driven(plan("S4", step=50)))
    )
    assert [(gate.id, gate.verdict) for gate in gates] == [("S1.answers", Verdict.FAIL), ("S4.answers", Verdict.PASS)]


def test_a_busy_client_in_another_scenario_run_is_no_excuse() -> None:
    quiet = driven(plan("S2", step=50), [TIMEOUT])
    busy = driven(plan("S2", step=250), **BUSY)
    (gate,) = check_answers(case(quiet, busy))
    assert gate.verdict is Verdict.FAIL


def test_a_scenario_run_without_history_is_invalid() -> None:
    scenario_run = driven(plan())
    (gate,) = check_answers(Case(scenario_runs=(scenario_run.report,)))
    assert (gate.verdict, gate.reason) == (Verdict.INVALID, "10 requests were not sent")


def test_nothing_scenario_runn_claims_nothing() -> None:
    assert check_answers(Case()) == []
