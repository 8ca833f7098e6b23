"""S*.rows, totals and duplicates: what must lie in the database, and when that proves anything."""

from __future__ import annotations

from typing import Any

import pytest

from rig.checks.rows import FAULTS, check_rows
from rig.checks.totals import check_totals
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import Discrepancy, DiscrepancyKind, Total
from rig.model import Row
from tests.checks.cases import BROKEN, OK, SKIPPED, TIMEOUT, by_id, case, driven, group, plan, truth

S2 = plan("S2")
BUSY = {"cpu_user_s": 0.7, "cpu_system_s": 0.25, "stalled_s": 0.5}


def rows_gate(*endings: Any, scenario_run: dict[str, Any] | None = None, **changes: Any) -> Gate:
    """The gate of ten requests that ended so and left a group with those changes."""
    (gate,) = check_rows(case(driven(S2, endings, **(scenario_run or {})), truth=truth([group(S2, **changes)])))
    return gate


@pytest.mark.parametrize(
    ("gate", "verdict", "reason"),
    [
        # As many rows as acknowledged requests, each clean.
        (rows_gate(), Verdict.PASS, ""),
        # Expected counts are intervals: an indeterminate request may have left its row, or not.
        (rows_gate(TIMEOUT, canonical_min=9, canonical=9), Verdict.PASS, ""),
        (
            rows_gate(TIMEOUT, canonical_min=9, canonical=10, discrepancies={DiscrepancyKind.RECOVERED: 1}),
            Verdict.PASS,
            "",
        ),
        # What was skipped must not exist, and what must not exist and does not is no fault.
        (rows_gate(SKIPPED, canonical_min=9, canonical_max=9, canonical=9), Verdict.PASS, ""),
        (rows_gate(SKIPPED, canonical_min=9, canonical_max=9, canonical=10), Verdict.FAIL, "canonical 10"),
        # Outside the interval, either side, either table.
        (rows_gate(canonical=9), Verdict.FAIL, "canonical 9 (expected 10..10)"),
        (rows_gate(canonical=11), Verdict.FAIL, "canonical 11"),
        (rows_gate(dead=1), Verdict.FAIL, "dead 1 (expected 0..0)"),
        # Inside it, but not the right rows: numbers that agree by chance are no excuse.
        (
            rows_gate(discrepancies={DiscrepancyKind.LOST: 1, DiscrepancyKind.UNEXPECTED: 1}),
            Verdict.FAIL,
            "1 lost; 1 unexpected",
        ),
        *((rows_gate(discrepancies={kind: 2}), Verdict.FAIL, f"2 {kind.replace('_', ' ')}") for kind in FAULTS),
        # Lost rows are lost however bad the instrument was, and whoever did not report.
        (rows_gate(canonical=9, discrepancies={DiscrepancyKind.LOST: 1}, scenario_run=BUSY), Verdict.FAIL, "1 lost"),
        (
            rows_gate(canonical=9, discrepancies={DiscrepancyKind.LOST: 1}, scenario_run={"reported": False}),
            Verdict.FAIL,
            "1 lost",
        ),
        (
            rows_gate(canonical=9, discrepancies={DiscrepancyKind.LOST: 1}, scenario_run={"interrupted": True}),
            Verdict.FAIL,
            "1 lost",
        ),
        # A missing report takes the claim away, and blames nobody.
        (rows_gate(canonical_min=0, scenario_run={"reported": False}), Verdict.INVALID, "a worker's report is missing"),
        # A busy client cannot make a row appear.
        (rows_gate(scenario_run=BUSY), Verdict.PASS, ""),
        # Vacuous: nothing was acknowledged, so nothing had to exist.
        (rows_gate(*[BROKEN] * 10, canonical_min=0, canonical=0), Verdict.INVALID, "nothing was acknowledged"),
        (rows_gate(*[SKIPPED] * 10, canonical_min=0, canonical_max=0, canonical=0), Verdict.INVALID, "nothing was"),
        # Of a class that must leave no row at all: nothing was expected, and nothing was there.
        (rows_gate(canonical_min=0, canonical_max=0, canonical=0), Verdict.NOT_RUN, "no row was expected"),
        (rows_gate(canonical_min=0, canonical_max=0, canonical=0, dead=1), Verdict.FAIL, "dead 1"),
    ],
)
def test_rows(gate: Gate, verdict: Verdict, reason: str) -> None:
    assert (gate.id, gate.verdict) == ("S2.rows", verdict)
    assert reason in gate.reason
    assert bool(gate.reason) == (verdict is not Verdict.PASS)


def test_the_first_unclean_keys_of_the_scenario_are_named() -> None:
    keys = [Discrepancy(DiscrepancyKind.LOST, S2.label, "S2", "A", f"key-{number}") for number in range(9)]
    other = Discrepancy(DiscrepancyKind.LOST, "S1-50-stripe-1", "S1", "A", "of another")
    benign = Discrepancy(DiscrepancyKind.RECOVERED, S2.label, "S2", "A", "of no fault")
    report = truth([group(S2, canonical=1, discrepancies={"lost": 9})], discrepancies=(benign, other, *keys))
    (gate,) = check_rows(case(driven(S2), truth=report))
    assert gate.figures["keys"] == [f"lost key-{number}" for number in range(5)]
    assert gate.figures["lost"] == 9


@pytest.mark.parametrize(
    ("profile", "scenarios", "said"),
    [
        ({"channels": []}, 7, True),
        # With --only, who leaves S9 out knows it.
        ({"channels": []}, 6, False),
        ({"channels": [{"sources": ["fb", "facebook"], "channel": "facebook_paid"}]}, 7, False),
    ],
)
def test_a_whole_ladder_says_that_there_was_no_s9(profile: dict[str, Any], scenarios: int, said: bool) -> None:
    scenario_runs = [driven(plan(f"S{number}")) for number in range(1, scenarios + 1)]
    gates = by_id(check_rows(case(*scenario_runs, profile=profile)))
    assert ("S9.rows" in gates) is said
    if said:
        assert (gates["S9.rows"].verdict, "[[channels]]" in gates["S9.rows"].reason) == (Verdict.NOT_RUN, True)


def test_every_scenario_run_must_be_in_the_truth_and_prove_something() -> None:
    small, large = plan("S1", step=50), plan("S1", step=250)
    both = [group(small), group(large)]
    (gate,) = check_rows(case(driven(small), driven(large), truth=truth(both)))
    assert (gate.verdict, gate.figures["scenario_runs"]) == (Verdict.PASS, 2)
    # A scenario run that the truth does not mention, beside one that it does.
    (gate,) = check_rows(case(driven(small), driven(large), truth=truth(both[:1])))
    assert (gate.verdict, gate.reason) == (Verdict.INVALID, f"the truth says nothing about {large.label}")
    # A good scenario run does not vouch for one that never sent anything.
    unsent = group(large, canonical_min=0, canonical_max=0, canonical=0)
    (gate,) = check_rows(case(driven(small), driven(large, [SKIPPED] * 10), truth=truth([both[0], unsent])))
    assert (gate.verdict, large.label in gate.reason) == (Verdict.INVALID, True)


def test_an_empty_truth_or_none_is_never_pass() -> None:
    for report in (None, truth()):
        (gate,) = check_rows(case(driven(S2), truth=report))
        assert gate.verdict is Verdict.INVALID
    assert check_rows(Case()) == []


def totals(case_: Case) -> tuple[Gate, Gate]:
    gates = by_id(check_totals(case_))
    return gates["totals"], gates["duplicates"]


def total(observed: int, least: int = 10, most: int = 10, row: Row = Row.CANONICAL) -> Total:
    return Total("A", row, least, most, observed)


def test_clean_totals_pass_and_are_shown_by_tenant() -> None:
    whole, duplicates = totals(case(driven(S2), truth=truth(totals=(total(10), total(3, 3, 3, Row.DEAD)))))
    assert (whole.verdict, duplicates.verdict) == (Verdict.PASS, Verdict.PASS)
    assert whole.figures == {"tenants": 1, "canonical": 10, "dead": 3, "tenant_A": "10 / 3"}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (total(9), "tenant A: 9 canonical rows, expected 10"),
        (total(11), "tenant A: 11 canonical rows, expected 10"),
        (total(8, 9, 10), "tenant A: 8 canonical rows, expected 9..10"),
        (total(1, 0, 0, Row.DEAD), "tenant A: 1 dead row, expected 0"),
    ],
)
def test_wrong_totals_fail_whatever_else_is_missing(found: Total, reason: str) -> None:
    for how in ({}, {"reported": False}, {"interrupted": True}, BUSY):
        whole, _ = totals(case(driven(S2, **how), truth=truth(totals=(found,))))
        assert (whole.verdict, whole.reason) == (Verdict.FAIL, reason)


def test_rows_that_no_request_explains_fail_though_the_numbers_agree() -> None:
    """An unexpected row can hide in the interval that an indeterminate request leaves open."""
    stray = Discrepancy(DiscrepancyKind.UNEXPECTED, "", "", "A", "somebody-else")
    whole, _ = totals(case(driven(S2, [TIMEOUT]), truth=truth(totals=(total(10, 9, 10),), discrepancies=(stray,))))
    assert (whole.verdict, whole.reason) == (Verdict.FAIL, "tenant A: unexpected somebody-else")


def test_duplicates_fail_whatever_else_is_missing() -> None:
    for how in ({}, {"reported": False}, BUSY):
        _, duplicates = totals(case(driven(S2, **how), truth=truth(totals=(total(10),), duplicated_keys=3)))
        assert (duplicates.verdict, duplicates.reason) == (Verdict.FAIL, "3 keys have more than one row")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (case(driven(S2), truth=None), "was not read"),
        (case(driven(S2, reported=False), driven(plan("S1"), [OK])), "a worker's report is missing"),
        (case(driven(S2, [BROKEN] * 10), truth=truth(totals=(total(0, 0, 10),))), "nothing was acknowledged"),
        (Case(truth=truth(totals=(total(0, 0, 0),))), "nothing was acknowledged"),
        (Case(), "was not read"),
    ],
)
def test_totals_without_evidence_are_invalid(wrong: Case, reason: str) -> None:
    for gate in totals(wrong):
        assert (gate.verdict, reason in gate.reason) == (Verdict.INVALID, True)


def test_totals_of_no_tenant_are_invalid() -> None:
    whole, _ = totals(case(driven(S2), truth=truth(totals=())))
    assert (whole.verdict, whole.reason) == (Verdict.INVALID, "the rows of no tenant were counted")


def test_totals_of_no_row_were_not_tried() -> None:
    nothing = (total(0, 0, 0), total(0, 0, 0, Row.DEAD))
    for gate in totals(case(driven(S2), truth=truth(totals=nothing))):
        assert (gate.verdict, "none was there" in gate.reason) == (Verdict.NOT_RUN, True)
    whole, duplicates = totals(case(driven(S2), truth=truth(totals=(total(0, 0, 0), total(2, 2, 2, Row.DEAD)))))
    assert (whole.verdict, duplicates.verdict) == (Verdict.PASS, Verdict.NOT_RUN)


def test_totals_say_that_the_profile_has_no_dead_letters() -> None:
    found = truth(totals=(total(10), total(0, 0, 0, Row.DEAD)))
    whole, _ = totals(case(driven(S2), truth=found, profile={"truth": {"dead": None}}))
    assert (whole.verdict, whole.figures["dead"]) == (Verdict.PASS, "NOT-RUN: the profile has no dead letters")
