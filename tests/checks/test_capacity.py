"""capacity.*: a rate that was held stands; one that was missed counts where client and machine did their part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.answers import check_answers
from rig.checks.capacity import check_capacity, find_capacity
from rig.checks.performance import check_sustained_load
from rig.checks.rows import check_rows
from rig.checks.surroundings import check_probes
from rig.diagnose import explain
from rig.evidence.capacity import CapacityPlan, CapacityReport, StepResult
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.scenario_runs import Elsewhere, Interval
from rig.evidence.truth import Arrival
from rig.model import Pace
from rig.report.capacity_table import STEP_COLUMNS, step_rows
from rig.report.plots import PLOTS
from tests.checks.cases import (
    BROKEN,
    MS,
    SKIPPED,
    START_NS,
    TIMEOUT,
    Driven,
    by_id,
    case,
    certificate,
    driven,
    group,
    plan,
    probes,
    truth,
)

PASS, FAIL, INVALID, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.NOT_RUN
HELD, MISSED, UNDRIVEN = StepResult.HELD, StepResult.MISSED, StepResult.UNDRIVEN
COUNT = 100
SLOW = {"response_ms": [900.0] * COUNT}
BUSY = {"cpu_user_s": 0.6, "cpu_system_s": 0.4}
ASKED = CapacityReport(CapacityPlan(500.0), 50_000.0, "the time was over (--minutes)")


def step(rate_per_s: float, number: int = 1, *endings: Any, count: int = COUNT, **how: Any) -> Driven:
    pace = Pace(200, rate_per_s=rate_per_s)
    scenario = plan("capacity", count=count, trial=number, pace=pace, p95_limit_ms=500.0, deadline_s=6.0)
    return driven(scenario, endings, **how)


def held(rate_per_s: float, number: int = 1) -> Driven:
    return step(rate_per_s, number)


def missed(rate_per_s: float, number: int = 1, **how: Any) -> Driven:
    return step(rate_per_s, number, **{**SLOW, **how})


def searched(*steps: Driven, **parts: Any) -> Case:
    return case(*steps, **{"capacity": ASKED, **parts})


def late(lag_ms: float, response_ms: float, rate_per_s: float = 100.0, number: int = 1) -> Driven:
    one = step(rate_per_s, number, response_ms=[response_ms] * COUNT)
    rows = one.rows.copy()
    rows["connection"] = rows["seq"]  # each on a connection of its own: none waits for another
    rows["sent_ns"] += int(lag_ms * MS)
    return Driven(one.report, rows)


def result(one: Driven, **parts: Any) -> tuple[StepResult, str]:
    (found,) = find_capacity(searched(one, **parts)).steps
    return found.result, found.why


def gates(*steps: Driven, **parts: Any) -> tuple[Gate, Gate]:
    found = by_id(check_capacity(searched(*steps, **parts)))
    assert list(found) == ["capacity.held", "capacity.bracket"]
    return found["capacity.held"], found["capacity.bracket"]


@pytest.mark.parametrize(
    ("one", "found", "why"),
    [
        (held(100), HELD, ""),
        (missed(100), MISSED, "p95 is 900 ms"),
        # The limit was kept, and who grows within the step would miss it in a longer one.
        (step(100, response_ms=[*[20.0] * 50, *[400.0] * 50]), MISSED, "p95 grew from 20 to 400 ms"),
        (step(100, response_ms=[*[20.0] * 50, *[39.0] * 50]), HELD, ""),
        # One wrong answer is one too many, whatever the client was like.
        (step(100, 1, BROKEN), MISSED, "1 of 100 answers had status 500"),
        (step(100, 1, BROKEN, **BUSY), MISSED, "status 500"),
        (step(100, 1, TIMEOUT), MISSED, "1 request had no answer"),
        (step(100, 1, TIMEOUT, **BUSY), UNDRIVEN, "had no answer, but client: worker 0 used 100%"),
        # What was held stands; what was missed needs a client that did its part.
        (step(100, **BUSY), HELD, ""),
        (missed(100, **BUSY), UNDRIVEN, "but client: worker 0 used 100%"),
        (missed(100, stalled_s=0.2), UNDRIVEN, "did not run for 0.2 s"),
        (step(100, 1, *[SKIPPED] * COUNT), UNDRIVEN, "nothing was sent"),
        (step(100, 1, *[SKIPPED] * 20, **SLOW), MISSED, "20 requests were not sent; p95 is no answer"),
        # Answers came in time, and were waited for: more connections were needed, not more service.
        (step(100, 1, *[SKIPPED] * 20), UNDRIVEN, "client: requests waited for one of its 200 connections"),
        (step(100, reported=False), UNDRIVEN, "a worker's report is missing"),
        (step(100, interrupted=True), UNDRIVEN, "it was interrupted"),
    ],
)
def test_a_step_is_held_or_missed_or_not_driven(one: Driven, found: StepResult, why: str) -> None:
    got, reason = result(one)
    assert got is found, reason
    assert why in reason


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        (None, "the client was not calibrated"),
        (certificate(trials=certificate().trials[:2]), "2 trials"),
        (certificate(latency_calibration=None), "not checked against known latency"),
    ],
)
def test_a_weak_certificate_carries_no_miss(weak: Any, why: str) -> None:
    got, reason = result(missed(100), certificate=weak)
    assert got is UNDRIVEN
    assert why in reason
    assert result(held(100), certificate=weak)[0] is HELD


def test_a_rate_beyond_the_calibrated_ones_is_not_missed() -> None:
    assert result(missed(2000))[0] is MISSED
    got, why = result(missed(2001))
    assert got is UNDRIVEN
    assert "beyond what it covers" in why


def test_a_client_that_was_late_excuses_only_what_its_lag_explains() -> None:
    assert result(late(100, 2000))[0] is MISSED
    got, why = result(late(100, 580))
    assert got is UNDRIVEN
    assert "the pacer was 100.0 ms late" in why


def test_a_machine_that_was_taken_away_is_not_the_target_s_fault() -> None:
    one = missed(100)
    stolen = Driven(replace(one.report, machine=Interval((1.0, 1.0), 0.3, 0.0)), one.rows)
    assert result(stolen)[0] is UNDRIVEN


def elsewhere(*, cores_busy: tuple[float, ...] = (0.2, 0.2), steal: float = 0.0, clock_ms: float = 0.1) -> Elsewhere:
    return Elsewhere("loader", "another boot", Interval(cores_busy, steal, 0.0), int(clock_ms * MS))


@pytest.mark.parametrize(
    ("there", "found", "why"),
    [
        (elsewhere(), MISSED, "p95 is 900 ms"),
        (elsewhere(steal=0.3), UNDRIVEN, "machine loader: the hypervisor took 30%"),
        # The worker itself used 0.3 cores of it.
        (
            elsewhere(cores_busy=(1.0, 1.0)),
            UNDRIVEN,
            "other processes held 85% of the machine (all on loader 1.7 cores)",
        ),
        (elsewhere(clock_ms=11), UNDRIVEN, "the clock of worker 0 on loader may be off by 11 ms, and 10 ms are"),
    ],
)
def test_what_another_machine_did_is_not_the_target_s_fault(there: Elsewhere, found: StepResult, why: str) -> None:
    got, reason = result(missed(100, elsewhere=there))
    assert got is found, reason
    assert why in reason


def test_workers_that_may_not_have_sent_together_prove_no_rate() -> None:
    assert result(step(100, elsewhere=elsewhere()))[0] is HELD
    assert result(step(100, elsewhere=elsewhere(clock_ms=11)))[0] is UNDRIVEN


def test_each_of_several_native_workers_is_covered_up_to_its_share_of_the_rate() -> None:
    one = missed(4000, 1)
    two = Driven(replace(one.report, workers=one.report.workers * 2), one.rows)
    assert result(one)[0] is UNDRIVEN
    assert result(two, certificate=certificate(workers=1))[0] is MISSED
    assert result(two, certificate=certificate(workers=2))[0] is UNDRIVEN


@pytest.mark.parametrize("kind", ["lost", "duplicated", "altered", "wrong_tenant", "vanished"])
def test_a_rate_at_which_rows_are_wrong_is_not_held(kind: str) -> None:
    one = held(100)
    got, why = result(one, truth=truth([group(one.report.scenario, discrepancies={kind: 2})]))
    assert (got, why) == (MISSED, f"2 rows {kind.replace('_', ' ')}")


def test_a_step_of_which_the_history_lacks_requests_shows_nothing() -> None:
    for one in (held(100), missed(100)):
        got, why = result(replace(one, rows=one.rows[: COUNT // 2]))
        assert (got, "50 requests of capacity" in why) == (UNDRIVEN, True)


def test_a_queue_that_falls_behind_holds_no_rate_although_all_is_answered_at_once() -> None:
    steps = [held(50, 1), held(100, 2)]

    def arrival(one: Driven, lag_ms: float, missing: int = 0) -> Arrival:
        return Arrival(one.report.scenario.label, "capacity", 50, 50, missing, lag_ms, lag_ms, lag_ms, 20.0)

    queue: dict[str, Any] = {"profile": {"truth": {"arrival": {"within_s": 30}}}}

    def found(*arrivals: Arrival) -> list[StepResult]:
        read = truth([group(one.report.scenario) for one in steps], arrivals=arrivals)
        return [each.result for each in find_capacity(searched(*steps, truth=read, **queue)).steps]

    assert found(arrival(steps[0], 300), arrival(steps[1], 390)) == [HELD, HELD]
    assert found(arrival(steps[0], 300), arrival(steps[1], 410)) == [HELD, MISSED]
    assert found(arrival(steps[0], 300), arrival(steps[1], 300, missing=1)) == [HELD, MISSED]
    # A client that is late by a tenth of a second does not explain rows that are late by one.
    steps[1] = late(100, 1, rate_per_s=100, number=2)
    assert found(arrival(steps[0], 300), arrival(steps[1], 450)) == [HELD, UNDRIVEN]
    assert found(arrival(steps[0], 300), arrival(steps[1], 1400)) == [HELD, MISSED]


def test_a_capacity_between_rates_that_were_held_and_missed_passes() -> None:
    rate, bracket = gates(*(held(each, each) for each in (50, 100, 150)), *(missed(each, each) for each in (160, 200)))
    assert (rate.verdict, bracket.verdict) == (PASS, PASS)
    assert "/s, 90 % interval" in str(rate.figures["capacity"])
    assert (rate.figures["highest_held_per_s"], rate.figures["lowest_missed_per_s"]) == (150, 160)


def test_a_target_that_does_not_hold_even_the_lowest_rate_fails() -> None:
    rate, bracket = gates(missed(2, 1), missed(1, 2))
    assert (rate.verdict, bracket.verdict) == (FAIL, NOT_RUN)
    assert rate.reason == "1/s is not held: p95 is 900 ms"
    assert rate.figures["capacity"] == "less than 1/s"


def test_a_client_at_its_limit_is_never_the_capacity_of_the_target() -> None:
    rate, bracket = gates(held(100, 1), missed(200, 2, **BUSY))
    assert (rate.verdict, bracket.verdict) == (PASS, INVALID)
    assert rate.figures["capacity"] == "at least 100/s"
    assert "200/s could not be driven" in bracket.reason
    assert "client: worker 0" in bracket.reason


def test_a_search_without_one_step_that_was_driven_proves_nothing() -> None:
    rate, bracket = gates(missed(50, 1, **BUSY), missed(25, 2, **BUSY))
    assert (rate.verdict, bracket.verdict) == (INVALID, NOT_RUN)
    assert "client: worker 0" in rate.reason


def test_a_lower_rate_that_was_not_driven_blames_nobody() -> None:
    rate, _ = gates(missed(50, 1), missed(25, 2, **BUSY))
    assert rate.verdict is INVALID


def test_a_target_that_holds_all_that_was_asked_for_has_no_bracket() -> None:
    rate, bracket = gates(held(50, 1), held(100, 2), capacity=replace(ASKED, most_per_s=100.0))
    assert (rate.verdict, bracket.verdict) == (PASS, NOT_RUN)
    assert "no more than 100/s was asked for" in bracket.reason


def test_the_time_that_was_over_is_the_reason_why_there_is_no_bracket() -> None:
    rate, bracket = gates(held(50, 1), held(100, 2))
    assert (rate.verdict, bracket.verdict) == (PASS, INVALID)
    assert "the time was over (--minutes)" in bracket.reason


def test_rows_that_nobody_read_prove_no_rate() -> None:
    rate, _ = gates(held(50, 1), missed(100, 2), truth=None)
    assert (rate.verdict, rate.reason) == (INVALID, "the database was not read after the run")


def test_a_target_that_does_not_come_back_fails_whatever_it_held_before() -> None:
    rate, _ = gates(held(50, 1), missed(100, 2), capacity=replace(ASKED, broken="after 100/s the target was of no use"))
    assert (rate.verdict, rate.reason) == (FAIL, "after 100/s the target was of no use")


def test_no_search_has_no_gate_and_one_without_requests_is_not_run() -> None:
    assert check_capacity(case(driven(plan("S2")))) == []
    assert {gate.verdict for gate in gates(step(50, count=0))} == {NOT_RUN}


def test_what_a_target_answers_above_its_capacity_is_no_wrong_answer() -> None:
    whole = searched(held(50, 1), step(500, 2, *[BROKEN] * COUNT))
    assert check_answers(whole) == []
    assert check_sustained_load(whole) == []
    (rows,) = check_rows(whole)
    assert rows.verdict is PASS


def test_a_probe_that_fails_in_a_step_above_the_capacity_is_no_bad_probe() -> None:
    whole = searched(held(50, 1), step(500, 2, *[BROKEN] * COUNT))
    late = whole.history["scenario_run"] == whole.scenario_runs[1].scenario.label
    for column in ("intended_ns", "sent_ns", "done_ns"):
        whole.history.loc[late, column] += 10_000 * MS
    asked = replace(whole, profile={"probes": {"health": "/health"}})
    assert START_NS
    (good,) = check_probes(replace(asked, probes=probes((10, "/health", 200), (10_050, "/health", 503))))
    (bad,) = check_probes(replace(asked, probes=probes((10, "/health", 503), (10_050, "/health", 503))))
    assert (good.verdict, bad.verdict) == (PASS, FAIL)
    assert good.figures["asked"] == 1
    (none,) = check_probes(replace(asked, probes=probes((10_050, "/health", 503))))
    assert (none.verdict, none.figures) == (NOT_RUN, {"asked": 0})


def test_the_diagnosis_looks_at_the_steps_at_the_knee() -> None:
    steps = (held(50, 1), missed(100, 2, took_s=2.0))
    label = steps[1].report.scenario.label
    found = explain(searched(*steps, capacity=replace(ASKED, knee=(label,))))
    assert found is not None
    assert found.of == (label,)


def test_report_and_plot_show_every_step() -> None:
    whole = searched(held(50, 1), missed(100, 2), missed(80, 3, **BUSY))
    rows = list(step_rows(whole))
    assert [(row[1], row[-2]) for row in rows] == [("50", "held"), ("80", "not driven"), ("100", "missed")]
    assert {len(row) for row in rows} == {len(STEP_COLUMNS)}
    (draw,) = (each.draw for each in PLOTS if each.name == "capacity")
    assert draw(whole) is not None
    assert draw(case(driven(plan("S2")))) is None
