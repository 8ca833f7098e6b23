"""S*.answers: what a target answered, and what the rig cut off itself."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from rig.checks.answers import check_answers
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.samples import COLUMNS, Samples
from rig.model import Outcome, RequestClass, Share
from tests.checks.cases import (
    ABORTED,
    BROKEN,
    OK,
    REFUSED,
    RESET,
    SKIPPED,
    STALE,
    START_NS,
    TIMEOUT,
    UNCONNECTED,
    Driven,
    Ending,
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
        (driven(plan(), [BROKEN]), Verdict.FAIL, "status 500 (1 time)"),
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
        (driven(plan(), [BROKEN, ABORTED], interrupted=True), Verdict.FAIL, "wrong answers: status 500 (1 time)"),
        # A worker without a report: the claim falls, and nobody is blamed.
        (driven(plan(), reported=False), Verdict.INVALID, "a worker's report is missing"),
        (driven(plan(), reported=False, notes=["worker 0 died (exit code -9)"]), Verdict.INVALID, "worker 0 died"),
        (driven(plan(), [BROKEN], reported=False), Verdict.FAIL, "status 500"),
        # A few requests may meet a connection that the server is closing; not many, and not where nobody listens.
        (driven(plan(count=400), [STALE] * 2), Verdict.PASS, ""),
        (driven(plan(count=400), [STALE] * 3), Verdict.FAIL, "3 stale connection"),
        (driven(plan(count=400), [STALE, BROKEN]), Verdict.FAIL, "wrong answers: status 500 (1 time)"),
        (driven(plan(count=400), [STALE, UNCONNECTED]), Verdict.FAIL, "1 connect, 1 stale connection"),
        (driven(plan(count=400), [STALE, SKIPPED]), Verdict.INVALID, "1 request was not sent"),
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
    assert gate.figures == expected | {"wrong_status": ["500 (1 time)"]}


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


# --- the first request of a key and the others ---

CREATED = Ending(Outcome.ACKNOWLEDGED, 201, "none")
KNOWN = Ending(Outcome.ACKNOWLEDGED, 409, "none")
TOLD_APART = {"answers": {"replay": {"status": [201], "again": [409]}}}


@pytest.mark.parametrize(
    ("endings", "verdict", "reason"),
    [
        ([CREATED, *[KNOWN] * 9], Verdict.PASS, ""),
        ([*[KNOWN] * 9, CREATED], Verdict.PASS, ""),
        ([CREATED, CREATED, *[KNOWN] * 8], Verdict.FAIL, "1 key was answered as new more than once"),
        ([KNOWN] * 10, Verdict.FAIL, "1 key was answered as known and never as new"),
        # The request without an answer may be the one that made the row.
        ([TIMEOUT, *[KNOWN] * 9], Verdict.FAIL, "wrong answers: 1 timeout"),
        # Who was told nothing was not told of a row that nobody made.
        ([SKIPPED] * 10, Verdict.INVALID, "10 requests were not sent"),
        ([BROKEN] * 10, Verdict.FAIL, "wrong answers: status 500 (10 times)"),
    ],
)
def test_one_request_of_a_key_is_answered_as_new(endings: list[Ending], verdict: Verdict, reason: str) -> None:
    scenario = plan("S1", shares=(Share(RequestClass.REPLAY, 10, one_key=True),))
    (gate,) = check_answers(replace(case(driven(scenario, endings)), profile=TOLD_APART))
    assert gate.verdict is verdict
    assert gate.reason == reason


def test_the_request_that_made_the_row_may_be_among_those_of_a_worker_that_died() -> None:
    scenario = plan("S1", shares=(Share(RequestClass.REPLAY, 10, one_key=True),))
    died = driven(scenario, [KNOWN] * 10, reported=False, notes=["worker 1 died"])
    (gate,) = check_answers(replace(case(died), profile=TOLD_APART))
    assert (gate.verdict, "worker 1 died" in gate.reason) == (Verdict.INVALID, True)


def test_a_route_may_tell_them_apart_while_the_others_do_not() -> None:
    scenario = plan("S1", shares=(Share(RequestClass.REPLAY, 10, one_key=True),))
    for route, verdict in (("stripe", Verdict.FAIL), ("shopify", Verdict.PASS)):
        profile = {"answers": {"replay": {"status": [200, 201]}}, "routes": [{"name": route, **TOLD_APART}]}
        (gate,) = check_answers(replace(case(driven(scenario, [CREATED] * 10)), profile=profile))
        assert gate.verdict is verdict


@pytest.mark.parametrize(("seen_s", "verdict"), [(0.2, Verdict.FAIL), (60.0, Verdict.PASS)])
def test_a_stale_connection_is_the_targets_where_a_process_of_it_ended(seen_s: float, verdict: Verdict) -> None:
    seen = [(START_NS, 7), (START_NS + int(seen_s * 1e9), 7), (START_NS + 60 * 10**9, 8)]
    columns = list(COLUMNS["pids"])
    pids = pd.DataFrame([dict(zip(columns, [at_ns, pid, "server"], strict=False)) for at_ns, pid in seen])
    evidence = replace(case(driven(plan(count=400), [STALE])), samples=Samples(pids=pids))
    (gate,) = check_answers(evidence)
    assert gate.verdict == verdict


def test_where_all_answers_are_alike_nobody_is_told_apart() -> None:
    scenario = plan("S1", shares=(Share(RequestClass.REPLAY, 10, one_key=True),))
    (gate,) = check_answers(replace(case(driven(scenario)), profile={"answers": {"replay": {"status": [200]}}}))
    assert gate.verdict is Verdict.PASS


def test_what_the_target_cannot_be_sent_is_not_run_by_name() -> None:
    gates = check_answers(replace(case(driven(plan())), left_out={"S5": "the target has one tenant"}))
    assert [(gate.id, gate.verdict) for gate in gates] == [
        ("S2.answers", Verdict.PASS),
        ("S5.answers", Verdict.NOT_RUN),
    ]
    assert gates[1].reason == "the target has one tenant"
