"""calibration.null and accounting: what the instrument says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from rig.checks.answers import check_answers
from rig.checks.instrument import check_accounting, check_null, client_limits, weakness
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate, Verdict
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Redelivery
from tests.checks.cases import ABORTED, BROKEN, SKIPPED, TIMEOUT, case, certificate, driven, plan, slow_certificate

PASS, FAIL, INVALID = Verdict.PASS, Verdict.FAIL, Verdict.INVALID


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        (certificate(), PASS, ""),
        # Exactly the floor is not below it.
        (certificate(floor_rps=30_000), PASS, ""),
        # Below: with the reason that was found, or without one.
        (slow_certificate("hardware-bound"), INVALID, "hardware-bound"),
        (slow_certificate(), INVALID, "below the floor"),
        # A reason without slowness (answers of the stub that failed) is one too.
        (certificate(reason="client-bound", explanation="7 failures"), INVALID, "client-bound: 7 failures"),
        # No certificate, or one that rests on nothing.
        (None, INVALID, "not calibrated"),
        (certificate(trials=()), INVALID, "no trial"),
    ],
)
def test_null(given: Certificate | None, verdict: Verdict, reason: str) -> None:
    (gate,) = check_null(Case(certificate=given))
    assert (gate.id, gate.verdict) == ("calibration.null", verdict)
    assert reason in gate.reason


def test_the_floor_gate_shows_its_trials() -> None:
    one, two, three = (
        replace(trial, rps=rps) for trial, rps in zip(certificate().trials, (9e3, 1e3, 3e3), strict=True)
    )
    (gate,) = check_null(Case(certificate=certificate(trials=(one, two, three), churn_rps=512.4)))
    assert (gate.figures["rps"], gate.figures["trials_rps"]) == (3000, [9000, 1000, 3000])
    assert (gate.figures["headroom"], gate.figures["churn_rps"]) == (1.5, 512)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (certificate(), ""),
        (None, "not calibrated"),
        (certificate(trials=()), "0 trials"),
        (
            certificate(trials=tuple(replace(trial, requests=9_999) for trial in certificate().trials)),
            "10,000 requests",
        ),
        (certificate(trials=tuple(replace(trial, elapsed_s=1.9) for trial in certificate().trials)), "2 s"),
    ],
)
def test_a_weak_certificate_says_why(given: Certificate | None, words: str) -> None:
    assert words in weakness(given)
    assert bool(weakness(given)) == bool(words)


@pytest.mark.parametrize(
    ("worker", "limits"),
    [
        ({}, 0),
        ({"cpu_user_s": 0.59, "cpu_system_s": 0.3}, 0),
        ({"cpu_user_s": 0.5, "cpu_system_s": 0.4}, 1),
        ({"stalled_s": 0.099}, 0),
        ({"stalled_s": 0.1}, 1),
        ({"cpu_user_s": 0.95, "stalled_s": 0.5}, 2),
        # A scenario run that took no time had no limit.
        ({"wall_s": 0.0}, 0),
    ],
)
def test_client_limits(worker: dict[str, Any], limits: int) -> None:
    found = client_limits(driven(plan(), **worker).report)
    assert len(found) == limits
    assert all(limit.startswith("client: worker 0") for limit in found)


@pytest.mark.parametrize(
    ("worker", "says"),
    [
        ({"signing_us": 9e4, "signed_ahead": False}, True),
        ({"signing_us": 9e4}, False),
        ({"signing_us": 10.0, "signed_ahead": False}, False),
    ],
)
def test_a_worker_that_is_at_its_limit_for_its_signatures_says_so(worker: dict[str, Any], says: bool) -> None:
    (limit,) = client_limits(driven(plan(), cpu_user_s=0.95, **worker).report)
    assert ("; signing takes" in limit) is says


def accounting(*endings: Any, **how: Any) -> Gate:
    (gate,) = check_accounting(case(driven(plan(), endings, **how)))
    assert gate.id == "accounting"
    return gate


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        # offered = sent + skipped, sent = ok + fail + info: whatever the requests came to.
        (accounting(), ""),
        (accounting(BROKEN, TIMEOUT, ABORTED, SKIPPED, SKIPPED), ""),
        (accounting(*[SKIPPED] * 10), ""),
        (accounting(interrupted=True), ""),
        # The workers' books against the plan, against themselves, against the history.
        (accounting(offered=9, sent=9), "10 requests were to be offered, 9 were"),
        (accounting(sent=9), "the counts of a worker contradict each other"),
        (accounting(sent=8, skipped=2), "the history has 10 sent and 0 skipped"),
        (accounting(SKIPPED, sent=10, skipped=0), "the history has 9 sent and 1 skipped"),
        # No report, no books.
        (accounting(reported=False), "a worker's report is missing"),
        (accounting(reported=False, notes=["worker 0 gave no sign of life"]), "no sign of life"),
    ],
)
def test_accounting(gate: Gate, reason: str) -> None:
    assert gate.verdict is (INVALID if reason else PASS)
    assert reason in gate.reason


def test_every_request_is_in_the_history_once() -> None:
    scenario_run = driven(plan())
    twice = replace(scenario_run, rows=pd.concat([scenario_run.rows[:-1], scenario_run.rows[:1]], ignore_index=True))
    fewer = replace(scenario_run, rows=scenario_run.rows[:-1])
    for wrong, reason in ((twice, "in the history twice"), (fewer, "the history has 9 sent")):
        (gate,) = check_accounting(case(wrong))
        assert (gate.verdict, reason in gate.reason) == (INVALID, True)


def test_rows_of_no_scenario_run_are_found() -> None:
    whole = case(driven(plan("S1")), driven(plan("S2")))
    (gate,) = check_accounting(replace(whole, scenario_runs=whole.scenario_runs[:1]))
    assert (gate.verdict, gate.reason) == (INVALID, "10 rows of the history belong to no scenario run")


def test_one_of_two_workers_is_missing() -> None:
    whole = case(driven(plan()))
    (report,) = whole.scenario_runs[0].workers
    halved = ScenarioRun(plan(), (report, None), notes=("worker 1 died (exit code -9)",))
    (gate,) = check_accounting(replace(whole, scenario_runs=(halved,)))
    assert (gate.verdict, "worker 1 died" in gate.reason) == (INVALID, True)


def test_figures_add_up_over_all_scenario_runs() -> None:
    (gate,) = check_accounting(case(driven(plan("S1"), [SKIPPED]), driven(plan("S2"))))
    assert gate.figures == {"offered": 20, "sent": 19, "skipped": 1, "rows": 20}


def test_nothing_scenario_runn_has_no_books() -> None:
    assert check_accounting(Case()) == []


def test_attempts_of_one_request_are_told_apart() -> None:
    once = driven(plan(redelivery=Redelivery((1.0,))), offered=11, sent=11, repeats=1)
    again = once.rows.tail(1).assign(attempt=2)
    rows = pd.concat([once.rows, again])
    (gate,) = check_accounting(replace(case(once), history=rows))
    assert (gate.verdict, gate.figures["offered"], gate.figures["rows"]) == (Verdict.PASS, 11, 11)
    (answers,) = check_answers(replace(case(once), history=rows))
    assert (answers.verdict, answers.figures["requests"]) == (Verdict.PASS, 11)
    (gate,) = check_accounting(replace(case(once), history=pd.concat([once.rows, again.assign(attempt=1)])))
    assert "twice" in gate.reason
