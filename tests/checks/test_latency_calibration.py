"""calibration.ruler, what it covers, and what turns a missed latency limit into INVALID."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.instrument import client_limits
from rig.checks.latency_calibration import check_latency_calibration, coverage_gaps, schedule_limits, too_close
from rig.checks.performance import check_sustained_load
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.latency_calibration import LatencyCalibration, LatencyStep
from rig.evidence.scenario_runs import Interval, ScenarioRun
from rig.model import Pace
from tests.checks.cases import (
    BROKEN,
    MS,
    OK,
    SKIPPED,
    Driven,
    by_id,
    case,
    certificate,
    driven,
    freeze,
    latency_calibration,
    latency_step,
    plan,
    slow_certificate,
)

PASS, FAIL, INVALID, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.NOT_RUN
ASKED = {"latency_calibration": "quick"}


def gate(given: LatencyCalibration | None, settings: dict[str, Any] | None = None) -> Gate:
    (found,) = check_latency_calibration(
        Case(certificate=certificate(latency_calibration=given), settings=settings or {})
    )
    assert found.id == "calibration.ruler"
    return found


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        (latency_calibration(), PASS, ""),
        # Not exact is a coarser resolution, not a fault.
        (latency_calibration(latency_step(error_p99_ms=8.0, exact_share=0.6)), PASS, ""),
        # A high rate that is not covered is a figure: who claims something there is refused.
        (latency_calibration(latency_step(), latency_step(10_000.0, lag_p99_ms=80.0)), PASS, ""),
        # Nothing is covered.
        (latency_calibration(latency_step(error_p99_ms=51.0)), INVALID, "1 % of the latencies were off by 51.0 ms"),
        (latency_calibration(latency_step(lag_p99_ms=51.0)), INVALID, "behind schedule"),
        (latency_calibration(latency_step(unanswered=1)), INVALID, "1 requests had no answer"),
        (latency_calibration(latency_step(skipped=1), latency_step(2000.0)), INVALID, "5ms at 500/s"),
        (LatencyCalibration(False, (), freeze()), INVALID, "nothing was measured"),
        # The freeze: hidden from response time, shown beyond what was in flight, or not seen at all.
        (latency_calibration(freeze=freeze(response_p95_ms=399.0)), INVALID, "response time hid it: p95 399 ms"),
        (latency_calibration(freeze=freeze(service_p99_ms=10.0)), INVALID, "beyond the requests in flight"),
        (latency_calibration(freeze=freeze(service_max_ms=20.0)), INVALID, "the longest service time was 20 ms"),
        (latency_calibration(freeze=freeze(skipped=3)), INVALID, "3 were not sent"),
        # A shorter freeze is held to its own length.
        (latency_calibration(freeze=freeze(froze_s=0.3, response_p95_ms=150.0, service_max_ms=301.0)), PASS, ""),
        (
            latency_calibration(freeze=freeze(froze_s=0.3, response_p95_ms=119.0, service_max_ms=301.0)),
            INVALID,
            "hid it",
        ),
    ],
)
def test_the_gate(given: LatencyCalibration, verdict: Verdict, reason: str) -> None:
    found = gate(given, ASKED)
    assert found.verdict is verdict
    assert reason in found.reason


def test_not_run_only_where_it_was_not_asked_for() -> None:
    assert gate(None).verdict is NOT_RUN
    assert gate(None, {"latency_calibration": "none"}).verdict is NOT_RUN
    assert gate(None, ASKED).verdict is INVALID
    (below,) = check_latency_calibration(
        Case(certificate=replace(slow_certificate("client-bound"), latency_calibration=None), settings=ASKED)
    )
    assert (below.verdict, below.reason) == (NOT_RUN, "the client was not certified before")
    (without,) = check_latency_calibration(Case(settings=ASKED))
    assert without.verdict is NOT_RUN


@pytest.mark.parametrize(
    ("steps", "covered", "resolution_ms"),
    [
        ((latency_step(),), 500.0, 0.3),
        ((latency_step(), latency_step(2000.0, error_p99_ms=1.5)), 2000.0, 1.5),
        # A schedule that lags blurs response times as an error does.
        ((latency_step(), latency_step(2000.0, lag_p99_ms=4.0)), 2000.0, 4.0),
        # A flaw at a rate ends what is covered below it, whatever is beyond; its error is no part of the resolution.
        ((latency_step(), latency_step(2000.0, error_p99_ms=60.0), latency_step(10_000.0)), 500.0, 0.3),
        # One delay of several at a rate that fails takes the rate with it.
        ((latency_step(), latency_step(2000.0), latency_step(2000.0, unanswered=1)), 500.0, 0.3),
        # 2 % of a long delay is more than 50 ms.
        ((latency_step(delivered_p50_ms=5000.0, delivered_p99_ms=5000.0, error_p99_ms=90.0),), 500.0, 90.0),
        ((latency_step(unanswered=1),), 0.0, 0.3),
    ],
)
def test_the_certificate_names_rate_and_resolution(
    steps: tuple[LatencyStep, ...], covered: float, resolution_ms: float
) -> None:
    given = latency_calibration(*steps)
    assert (given.covered_rate_per_s, given.resolution_ms) == (covered, resolution_ms)


def test_exact_is_within_tolerance_at_the_99th_percentile() -> None:
    assert latency_calibration(latency_step(exact_share=0.99)).exact
    assert not latency_calibration(latency_step(exact_share=0.989)).exact


# --- what turns FAIL into INVALID ---

OPEN = plan("sustained", 100, p95_limit_ms=500.0, pace=Pace(10, rate_per_s=1000.0))
TOO_SLOW = [600.0] * 100


def p95(given: Driven, found: Any = None) -> Gate:
    return by_id(check_sustained_load(case(given, certificate=found or certificate())))["sustained.p95"]


def late(given: Driven, lag_ms: float) -> Driven:
    """The same, every request sent so late by a client whose connections were all free."""
    rows = given.rows.assign(
        sent_ns=given.rows["sent_ns"] + int(lag_ms * MS),
        done_ns=given.rows["done_ns"] + int(lag_ms * MS),
        connection=range(len(given.rows)),
    )
    return Driven(given.report, rows)


def on(given: Driven, machine: Interval) -> Driven:
    return Driven(replace(given.report, machine=machine), given.rows)


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        (driven(OPEN, response_ms=TOO_SLOW), FAIL, "p95 is 600.0 ms"),
        # The worker at 90 % of what it is allowed, be that a core or a part of one.
        (driven(OPEN, response_ms=TOO_SLOW, cpu_user_s=0.79), FAIL, "p95"),
        (driven(OPEN, response_ms=TOO_SLOW, cpu_user_s=0.8), INVALID, "used 90% of its core"),
        (driven(OPEN, response_ms=TOO_SLOW, cores_allowed=0.3), INVALID, "used 100% of the 0.3 cores"),
        # The pacer: up to a twentieth of the limit cannot explain that it was missed.
        (late(driven(OPEN, response_ms=TOO_SLOW), 25.0), FAIL, "p95"),
        (late(driven(OPEN, response_ms=TOO_SLOW), 26.0), INVALID, "the pacer was 26.0 ms late at p99"),
        # Arrivals that were skipped: the rate was not offered.
        (driven(OPEN, [*[OK] * 94, *[SKIPPED] * 6], response_ms=TOO_SLOW), INVALID, "6 arrivals were skipped"),
        # What was taken from everybody.
        (on(driven(OPEN, response_ms=TOO_SLOW), Interval((0.5,), 0.09, 0.09)), FAIL, "p95"),
        (on(driven(OPEN, response_ms=TOO_SLOW), Interval((0.5,), 0.1, 0.0)), INVALID, "hypervisor took 10%"),
        (on(driven(OPEN, response_ms=TOO_SLOW), Interval((0.5,), 0.0, 0.1)), INVALID, "quota held it back for 0.1 s"),
        # A limit that was met stands, all the same.
        (late(driven(OPEN, cpu_user_s=0.9), 100.0), PASS, ""),
        (on(driven(OPEN), Interval((1.0,), 0.5, 1.0)), PASS, ""),
        # Without a worker's report nothing is claimed in either direction.
        (driven(OPEN, reported=False), INVALID, "report is missing"),
    ],
)
def test_a_missed_limit_is_the_targets_only_where_the_instrument_was_beyond_doubt(
    given: Driven, verdict: Verdict, reason: str
) -> None:
    found = p95(given)
    assert found.verdict is verdict
    assert reason in found.reason


@pytest.mark.parametrize(
    ("given", "response_ms", "verdict", "reason"),
    [
        # The rate of the claim against the rate that is covered.
        (latency_calibration(latency_step()), 600.0, INVALID, "1,000/s is beyond what it covers (500/s)"),
        (latency_calibration(latency_step(unanswered=1)), 600.0, INVALID, "beyond what it covers (no rate)"),
        (latency_calibration(freeze=freeze(response_p95_ms=1.0)), 600.0, INVALID, "a freeze was not seen"),
        (None, 600.0, INVALID, "not checked against known latency"),
        # Missed by less than the calibration's resolution.
        (latency_calibration(latency_step(2000.0, error_p99_ms=8.0)), 508.0, INVALID, "its resolution is 8.0 ms"),
        (latency_calibration(latency_step(2000.0, error_p99_ms=8.0)), 508.1, FAIL, "508.1"),
        # An upper bound that was met stands with any latency certificate, and without one.
        (latency_calibration(latency_step(unanswered=1)), 499.0, PASS, ""),
        (None, 499.0, PASS, ""),
    ],
)
def test_a_missed_limit_needs_a_certificate_that_covers_it(
    given: LatencyCalibration | None, response_ms: float, verdict: Verdict, reason: str
) -> None:
    found = p95(driven(OPEN, response_ms=[response_ms] * 100), certificate(latency_calibration=given))
    assert found.verdict is verdict
    assert reason in found.reason


def test_a_closed_loop_asks_no_ruler_and_has_no_schedule() -> None:
    closed = driven(plan("S8", 10, limit_s=10.0), [SKIPPED, BROKEN])
    assert coverage_gaps(certificate(latency_calibration=None), closed.report) == []
    assert schedule_limits(closed.report, closed.rows) == []


def test_nobody_watched_the_machine() -> None:
    report = driven(OPEN).report
    assert report.machine is None
    assert client_limits(report) == []
    assert client_limits(replace(report, machine=Interval((1.0, 1.0), 0.0, 0.0))) == []
    # A scenario run without an elapsed time was not held back.
    silent = ScenarioRun(OPEN, (None,), machine=Interval((1.0,), 1.0, 1.0))
    assert client_limits(silent) == []


def test_too_close_speaks_of_values_just_above_the_limit_only() -> None:
    blurred = certificate(latency_calibration=latency_calibration(latency_step(error_p99_ms=10.0)))
    assert too_close(blurred, 500.0, 500.0) == []
    assert too_close(blurred, 509.0, 500.0)
    assert too_close(blurred, 511.0, 500.0) == []
    assert too_close(certificate(latency_calibration=None), 509.0, 500.0) == []
    assert too_close(None, 509.0, 500.0) == []
