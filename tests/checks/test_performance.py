"""S8.time and sustained.*: an upper bound that was met stands; one that was missed needs a client beyond doubt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rig.checks.performance import check_sustained_load, check_time
from rig.evidence.case import Case
from rig.evidence.certificate import Certificate
from rig.evidence.gate import Gate, Verdict
from rig.evidence.sample_names import PIDS
from rig.evidence.samples import SamplerReport
from rig.model import Pace
from rig.run.scenarios import MissedTrials
from tests.checks.cases import (
    BROKEN,
    MS,
    OK,
    RESET,
    SKIPPED,
    START_NS,
    TIMEOUT,
    Driven,
    beside,
    by_id,
    case,
    certificate,
    driven,
    plan,
)

PASS, FAIL, INVALID = Verdict.PASS, Verdict.FAIL, Verdict.INVALID
BUSY = {"cpu_user_s": 0.5, "cpu_system_s": 0.4}
STALLED = {"stalled_s": 0.1}


def trial(took_s: float, number: int = 1, endings: Sequence[Any] = (), **how: Any) -> Driven:
    """A trial of a gate of 10 s, 120 s to its deadline."""
    return driven(plan("S8", trial=number, limit_s=10.0), endings, took_s=took_s, **how)


def time_gate(*trials: Driven, **parts: Any) -> Gate:
    (gate,) = check_time(case(*trials, **parts))
    assert gate.id == "S8.time"
    json.dumps(dict(gate.figures), allow_nan=False)  # what is written into the pack must be JSON
    return gate


@pytest.mark.parametrize(
    ("gate", "verdict", "reason"),
    [
        # The median decides, not the mean and not the best.
        (time_gate(trial(9.9)), PASS, ""),
        (time_gate(trial(3.0), trial(4.0, 2), trial(30.0, 3)), PASS, ""),
        (time_gate(trial(3.0), trial(12.5, 2), trial(30.0, 3)), FAIL, "12.50 s"),
        # Under ten seconds is under.
        (time_gate(trial(10.0)), FAIL, "10.00 s"),
        # A limit that was met stands whatever the client was: it cannot make a service look fast.
        (time_gate(trial(9.0, **BUSY)), PASS, ""),
        (time_gate(trial(9.0, **STALLED)), PASS, ""),
        (time_gate(trial(9.0), certificate=None), PASS, ""),
        # One that was missed is the target's fault only when the client was not at its own limit.
        (time_gate(trial(35.13, **BUSY)), INVALID, "35.13 s, but client: worker 0 used 90% of its core"),
        (time_gate(trial(35.13, **STALLED)), INVALID, "35.13 s, but client: worker 0 did not run for 0.1 s of 1.0 s"),
        (time_gate(trial(35.13, cpu_user_s=0.5, cpu_system_s=0.39, stalled_s=0.09)), FAIL, "35.13 s"),
        (time_gate(trial(12.0), trial(13.0, 2), trial(14.0, 3, **BUSY)), INVALID, "but client"),
        # A weak certificate, or none, cannot carry the blame.
        (time_gate(trial(35.13), certificate=None), INVALID, "not calibrated"),
        (time_gate(trial(35.13), certificate=certificate(trials=certificate().trials[:2])), INVALID, "2 trials"),
        # One of three unfinished: the median has its figure. Two: it is "more than".
        (time_gate(trial(3.0), trial(4.0, 2), trial(120.0, 3, [SKIPPED])), PASS, ""),
        (time_gate(trial(3.0), trial(120.0, 2, [SKIPPED]), trial(120.0, 3, [SKIPPED])), FAIL, "more than 120 s"),
        (time_gate(trial(120.0, 1, [SKIPPED])), FAIL, "more than 120 s"),
        (time_gate(trial(120.0, 1, [SKIPPED], **BUSY)), INVALID, "more than 120 s, but client"),
        # Of two there is no middle one.
        (time_gate(trial(3.0), trial(120.0, 2, [SKIPPED])), FAIL, "more than 120 s"),
        # A request without an answer has no time either, and that is not the deadline's doing.
        (time_gate(trial(4.0, 1, [TIMEOUT, RESET])), FAIL, "2 requests without an answer"),
        # A wrong answer is an answer: S8.answers and S8.rows speak of it, and EG3.4 hears all three.
        (time_gate(trial(4.0, 1, [BROKEN])), PASS, ""),
        # Without all evidence no claim, in either direction.
        (time_gate(trial(4.0), trial(5.0, 2, interrupted=True)), INVALID, "interrupted"),
        (time_gate(trial(4.0, reported=False)), INVALID, "a worker's report is missing"),
        (time_gate(trial(4.0), trial(5.0, 2, reported=False, notes=["worker 0 died"])), INVALID, "worker 0 died"),
        (time_gate(trial(40.0, reported=False)), INVALID, "a worker's report is missing"),
    ],
)
def test_time(gate: Gate, verdict: Verdict, reason: str) -> None:
    assert gate.verdict is verdict
    assert reason in gate.reason
    assert bool(gate.reason) == (verdict is not PASS)


def test_a_gate_that_fails_still_has_its_figures() -> None:
    gate = time_gate(trial(3.0), trial(35.13, 2), trial(120.0, 3, [SKIPPED]))
    assert gate.figures["median_s"] == 35.13
    assert gate.figures["trials_s"] == [3.0, 35.13, "more than 120 s"]
    assert (gate.figures["limit_s"], gate.figures["requests"], gate.figures["requests_per_s"]) == (10.0, 10, 0)
    assert gate.figures["client_cpu_us_per_request"] == pytest.approx(0.3 / 10 * 1e6)


def test_only_scenarios_with_a_limit_have_a_time() -> None:
    assert check_time(case(driven(plan("S2")))) == []
    assert check_time(Case()) == []


def test_requests_that_the_history_does_not_know_blame_nobody_and_prove_nothing() -> None:
    (gate,) = check_time(Case(scenario_runs=(trial(4.0).report,), certificate=certificate()))
    assert (gate.verdict, "10 requests of S8" in gate.reason) == (INVALID, True)
    whole = driven(SUSTAINED, response_ms=[1.0] * 90 + [900.0] * 10)
    for kept in (whole.rows[:90], whole.rows[90:]):
        gates = check_sustained_load(case(replace(whole, rows=kept.reset_index(drop=True))))
        assert {gate.verdict for gate in gates} == {INVALID}


# --- sustained ---

COUNT = 100
SUSTAINED = plan("sustained", COUNT, p95_limit_ms=500.0, pace=Pace(10, rate_per_s=1000.0))


def sustained(endings: Sequence[Any] = (), response_ms: Sequence[float] = (), **how: Any) -> dict[str, Gate]:
    """The gates of 100 requests at 1,000/s, 1 ms each unless told otherwise."""
    given: Certificate | None = how.pop("certificate", certificate())
    gates = check_sustained_load(case(driven(SUSTAINED, endings, response_ms=response_ms, **how), certificate=given))
    for gate in gates:
        json.dumps(dict(gate.figures), allow_nan=False)
    found = by_id(gates)
    assert list(found) == ["sustained.rate", "sustained.p95", "sustained.degradation"]
    return {name.removeprefix("sustained."): gate for name, gate in found.items()}


EVEN = [100.0] * COUNT


@pytest.mark.parametrize(
    ("gates", "rate", "p95", "degradation"),
    [
        # On schedule, fast, and as fast at the end as at the start.
        (sustained(), PASS, PASS, PASS),
        (sustained(response_ms=EVEN), PASS, PASS, PASS),
        # p95: five of a hundred may be slow, six may not.
        (sustained(response_ms=[1.0] * 40 + [900.0] * 5), PASS, PASS, PASS),
        (sustained(response_ms=[1.0] * 40 + [900.0] * 6), PASS, FAIL, PASS),
        (sustained(response_ms=[500.0] * COUNT), PASS, PASS, PASS),
        (sustained(response_ms=[501.0] * COUNT), PASS, FAIL, PASS),
        # The last fifth may take half as long again as the first.
        (sustained(response_ms=[*EVEN[:80], *[150.0] * 20]), PASS, PASS, PASS),
        (sustained(response_ms=[*EVEN[:80], *[151.0] * 20]), PASS, PASS, FAIL),
        # Within a tenth of the limit (500 ms) a few milliseconds more are the machine's.
        (sustained(response_ms=[4.0] * 80 + [50.0] * 20), PASS, PASS, PASS),
        (sustained(response_ms=[4.0] * 80 + [51.0] * 20), PASS, PASS, FAIL),
        # Skipped work is not fast work: it waits for ever. But the rate was not offered, so nobody is blamed either.
        (sustained([*[OK] * 95, *[SKIPPED] * 5]), INVALID, PASS, INVALID),
        (sustained([*[OK] * 94, *[SKIPPED] * 6]), INVALID, INVALID, INVALID),
        # A request that is lost at once is not a fast one either.
        (sustained([*[OK] * 94, *[RESET] * 6]), PASS, FAIL, FAIL),
        # Where the first fifth is broken there is nothing to compare the last with.
        (sustained([RESET] * 6), PASS, FAIL, INVALID),
        (sustained([TIMEOUT] * COUNT), PASS, FAIL, INVALID),
        # A client at its limit, or one that nobody knows, carries no blame; but bounds that were met stand.
        (sustained([*[OK] * 94, *[SKIPPED] * 6], **BUSY), INVALID, INVALID, INVALID),
        (sustained([*[OK] * 94, *[SKIPPED] * 6], **STALLED), INVALID, INVALID, INVALID),
        (sustained([*[OK] * 94, *[SKIPPED] * 6], certificate=None), INVALID, INVALID, INVALID),
        (sustained(**BUSY), PASS, PASS, PASS),
        (sustained(certificate=None), PASS, PASS, PASS),
        # Without all evidence no claim.
        (sustained(reported=False), INVALID, INVALID, INVALID),
        (sustained(interrupted=True), INVALID, INVALID, INVALID),
    ],
)
def test_sustained(gates: dict[str, Gate], rate: Verdict, p95: Verdict, degradation: Verdict) -> None:
    assert {name: gate.verdict for name, gate in gates.items()} == {
        "rate": rate,
        "p95": p95,
        "degradation": degradation,
    }


def test_one_stall_is_no_degradation_but_a_slowness_that_lasts_is() -> None:
    """400 requests are a fifth, 80 a part: a stall reaches two parts of five, one that lasts reaches three."""
    scenario = plan("sustained", 2000, p95_limit_ms=500.0, pace=Pace(10, rate_per_s=1000.0))

    def degradation(begin: int, end: int) -> Gate:
        response_ms = [90.0 if begin <= number < end else 2.0 for number in range(2000)]
        return by_id(check_sustained_load(case(driven(scenario, response_ms=response_ms))))["sustained.degradation"]

    assert degradation(1700, 1800).verdict is PASS
    assert degradation(1900, 2000).verdict is PASS
    found = degradation(1800, 2000)
    assert found.verdict is FAIL
    assert (found.figures["first_fifth_p95_ms"], found.figures["last_fifth_p95_ms"]) == (2.0, 90.0)


def test_quantiles_are_of_the_response_time_and_say_where_it_has_no_end() -> None:
    gates = sustained([*[SKIPPED] * 4], [*[9.0] * 4, *[100.0] * 96])
    assert gates["p95"].figures["response_p50_ms"] == 100.0
    assert gates["p95"].figures["response_p95_ms"] == 100.0
    assert gates["p95"].figures["response_p99_ms"] == "no answer"
    assert gates["p95"].figures["service_max_ms"] == 100.0
    assert gates["rate"].figures["lag_max_ms"] == 0.0


@pytest.mark.parametrize(
    ("fifth", "slow", "verdict"),
    [
        (20, 2, FAIL),
        # The p95 of fewer is the slowest of them: one slow request is no degradation, most of them are.
        (19, 1, INVALID),
        (19, 9, INVALID),
        (19, 10, FAIL),
        (5, 3, FAIL),
        (4, 4, INVALID),
        (1, 1, INVALID),
        (1, 0, PASS),
    ],
)
def test_one_slow_request_of_few_is_no_degradation(fifth: int, slow: int, verdict: Verdict) -> None:
    count = 5 * fifth
    scenario = plan("sustained", count, p95_limit_ms=500.0, pace=Pace(1, rate_per_s=10.0))
    run = driven(scenario, response_ms=[4.0] * (count - slow) + [60.0] * slow)
    gates = by_id(check_sustained_load(case(run)))
    assert gates["sustained.degradation"].verdict is verdict


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_requests_have_no_fifths(count: int) -> None:
    scenario = plan("sustained", count, p95_limit_ms=500.0, pace=Pace(1, rate_per_s=1.0))
    gates = by_id(check_sustained_load(case(driven(scenario))))
    assert gates["sustained.degradation"].verdict is INVALID
    assert gates["sustained.p95"].verdict is PASS


def test_without_history_nothing_is_fast() -> None:
    gates = by_id(check_sustained_load(Case(scenario_runs=(driven(SUSTAINED).report,), certificate=certificate())))
    assert PASS not in {gate.verdict for gate in gates.values()}
    assert check_sustained_load(Case()) == []


# --- a machine that is shared ---


def at(begin_s: float, took_s: float, number: int = 1, endings: Sequence[Any] = ()) -> Driven:
    """A trial that began at that second of the minute."""
    begin_ns = START_NS + int(begin_s * 1e9)
    return trial(took_s, number, endings, first_sent_ns=begin_ns, last_done_ns=begin_ns + int(took_s * 1e9))


@pytest.mark.parametrize(
    ("trials", "stretch", "verdict"),
    [
        ([at(0, 35.0)], (0, 60, 0.06), FAIL),
        ([at(0, 35.0)], (0, 60, 0.35), FAIL),
        ([at(0, 35.0)], (0, 60, 0.37), INVALID),
        ([at(0, 9.0)], (0, 60, 0.9), PASS),
        # Below a twentieth the machine was the run's own.
        ([at(0, 10.4)], (0, 60, 0.04), FAIL),
        ([at(0, 10.4)], (0, 60, 0.06), INVALID),
        # Weighed for each trial: two undisturbed ones decide, and one that was disturbed may decide.
        ([at(0, 12.0), at(15, 13.0, 2), at(30, 14.0, 3)], (0, 12, 0.5), FAIL),
        ([at(0, 9.0), at(15, 13.0, 2), at(30, 14.0, 3)], (15, 28, 0.5), INVALID),
        ([at(0, 9.0), at(15, 13.0, 2), at(30, 14.0, 3)], (0, 12, 0.5), FAIL),
        # A trial with timeouts took its time; a lost connection is nobody's load.
        ([at(0, 30.0, 1, [TIMEOUT])], (0, 60, 0.1), FAIL),
        ([at(0, 30.0, 1, [TIMEOUT])], (0, 60, 0.4), INVALID),
        ([at(0, 4.0, 1, [RESET])], (0, 60, 0.4), FAIL),
    ],
)
def test_strangers_excuse_a_missed_limit_only_where_they_explain_it(
    trials: list[Driven], stretch: tuple[float, float, float], verdict: Verdict
) -> None:
    gate = time_gate(*trials, samples=beside(stretch))
    assert gate.verdict is verdict, gate.reason


def test_a_gate_names_the_strangers_and_says_what_to_do() -> None:
    gate = time_gate(at(0, 12.0), samples=beside((0, 60, 0.4)))
    assert gate.reason == (
        "12.00 s, but the machine was busy: other processes held 40% of the machine (compiler 0.8 cores): "
        "try again on a quiet one"
    )
    assert gate.figures["strangers_share"] == 0.4
    gate = time_gate(at(0, 12.0), samples=beside((0, 60, 0.06)))
    assert gate.reason.startswith("12.00 s, which does not come from others: other processes held 6% of the machine")
    assert gate.reason.endswith(", and without them it would be 10.56 s at least")


def test_where_the_database_was_not_found_nobody_is_called_a_stranger() -> None:
    unknown = replace(beside((0, 60, 0.9)), reports=(SamplerReport(name=PIDS, facts={"cores": 2}),))
    assert time_gate(at(0, 12.0), samples=unknown).verdict is FAIL


def test_timeouts_fail_a_trial_with_the_time_that_it_took() -> None:
    gate = time_gate(trial(91.0, 1, [TIMEOUT] * 3), trial(92.0, 2, [TIMEOUT]))
    assert (gate.verdict, gate.reason) == (FAIL, "≥ 91.00 s, 3 requests without an answer")


@pytest.mark.parametrize(
    ("ran", "decided"),
    [
        ([trial(12.0)], False),
        ([trial(12.0), trial(9.0, 2)], False),
        ([trial(12.0), trial(13.0, 2)], True),
        ([trial(12.0), trial(4.0, 2, [TIMEOUT])], True),
        ([trial(3.0), trial(4.0, 2)], False),
    ],
)
def test_a_trial_that_cannot_change_a_missed_median_is_not_sent(ran: list[Driven], decided: bool) -> None:
    planned = [plan("S8", trial=number, limit_s=10.0) for number in (1, 2, 3)]
    missed = MissedTrials(planned)
    for each in ran:
        missed.add(each.report, each.rows)
    assert missed.decide(planned[2]) is decided


MINUTE = plan("sustained", 600, p95_limit_ms=500.0, pace=Pace(10, rate_per_s=100.0))


@pytest.mark.parametrize(
    ("late_ms", "stretch", "p95", "degradation"),
    [
        # Strangers count in the moments in which requests were late, and in no others.
        (600.0, (4.8, 8.0, 0.2), INVALID, FAIL),
        (600.0, (4.8, 8.0, 0.48), INVALID, INVALID),
        (600.0, (0.0, 4.0, 0.9), FAIL, FAIL),
        (2000.0, (4.8, 8.0, 0.06), FAIL, FAIL),
        # In an open loop a queue grows for as long as cores are missing.
        (9000.0, (4.8, 20.0, 0.9), INVALID, INVALID),
        (9000.0, (4.8, 20.0, 0.3), FAIL, FAIL),
    ],
)
def test_one_rule_for_strangers_holds_over_all_gates_of_time(
    late_ms: float, stretch: tuple[float, float, float], p95: Verdict, degradation: Verdict
) -> None:
    run = driven(MINUTE, response_ms=[20.0] * 480 + [late_ms] * 120)
    run.rows["intended_ns"] = START_NS + run.rows["seq"] * 10 * MS
    run.rows["sent_ns"] = run.rows["intended_ns"]
    run.rows["done_ns"] = run.rows["intended_ns"] + (run.rows["done_ns"] - START_NS) - run.rows["seq"] * MS
    gates = by_id(check_sustained_load(case(run, samples=beside(stretch), certificate=certificate())))
    assert {name: gate.verdict for name, gate in gates.items()} == {
        "sustained.rate": PASS,
        "sustained.p95": p95,
        "sustained.degradation": degradation,
    }
