"""Detection power: what a run could have seen, and that a simulation of the defect agrees."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from rig.checks.power import detection_power
from rig.checks.rows import check_rows
from rig.evidence.gate import Gate, Verdict
from rig.evidence.power import CONFIDENCE, power_sentence, rarest_found
from rig.model import RequestClass, Share
from tests.checks.cases import OK, REFUSED, case, driven, group, plan, truth

SEEDS = 200
POINTS = 0.03


def gates(*ids: str, verdict: Verdict = Verdict.PASS, **figures: object) -> tuple[Gate, ...]:
    return tuple(Gate(name, verdict, "", figures) for name in ids)


def one_in(name: str, *judged: Gate, **parts: object) -> tuple[int, float | None]:
    """Trials and power of one kind of defect."""
    run = driven(plan(count=3000))
    (power,) = (each for each in detection_power(case(run, **parts), judged) if each.name == name)
    return power.trials, power.one_in


def test_the_power_is_close_to_the_rule_of_three_and_never_above_it() -> None:
    assert rarest_found(4500) == 1500
    assert rarest_found(3000) == 1000
    assert rarest_found(1) == pytest.approx(1.05)
    assert rarest_found(0) is None
    for trials in (2, 10, 59, 11_498, 1_000_000):
        found = rarest_found(trials)
        assert found is not None
        assert CONFIDENCE <= 1 - (1 - 1 / found) ** trials < CONFIDENCE + 0.01


@pytest.mark.parametrize("trials", [20, 300, 4493, 60_000])
def test_a_simulation_of_a_loss_at_random_finds_it_as_often_as_stated(trials: int) -> None:
    found = rarest_found(trials)
    assert found is not None
    lost = [np.random.default_rng(seed).binomial(trials, 1 / found) for seed in range(SEEDS)]
    assert abs(np.mean(np.array(lost) > 0) - CONFIDENCE) <= POINTS


def test_a_loss_at_random_turns_the_gate_of_rows_red_as_often_as_stated() -> None:
    run = driven(plan(count=1000))
    found = next(each.one_in for each in detection_power(case(run), gates("S2.rows")) if each.name == "loss")
    assert found is not None

    @cache
    def is_red(lost: int) -> bool:
        rows = group(run.report.scenario, canonical=1000 - lost, discrepancies={"lost": lost} if lost else {})
        return check_rows(case(run, truth=truth([rows])))[0].verdict is Verdict.FAIL

    red = sum(is_red(int((np.random.default_rng(seed).random(1000) < 1 / found).sum())) for seed in range(SEEDS))
    assert abs(red / SEEDS - CONFIDENCE) <= POINTS


def test_a_gate_that_was_not_run_or_is_invalid_has_seen_nothing() -> None:
    assert one_in("loss", *gates("S2.rows")) == (3000, 1000)
    assert one_in("loss", *gates("S2.rows", verdict=Verdict.FAIL)) == (3000, 1000)
    assert one_in("loss", *gates("S2.rows", verdict=Verdict.INVALID)) == (0, None)
    assert one_in("late", *gates("S2.late", verdict=Verdict.NOT_RUN, watched=50)) == (0, None)
    assert one_in("loss") == (0, None)
    assert one_in("loss", *gates("S2.rows"), truth=None) == (0, None)


def test_replays_of_one_key_are_no_trials_of_a_loss_but_of_duplicates() -> None:
    storm = plan("S1", 50, RequestClass.REPLAY, shares=(Share(RequestClass.REPLAY, 50, one_key=True),))
    run = driven(storm, [REFUSED] * 9 + [OK] * 41)
    rows = group(storm, canonical_min=1, canonical_max=1, canonical=1)
    powers = detection_power(case(run, truth=truth([rows])), gates("S1.rows", "duplicates"))
    trials = {power.name: power.trials for power in powers}
    assert trials["loss"] == 0
    assert trials["races"] == 1
    assert trials["repeats"] == 40


def test_one_key_over_all_steps_is_one_race() -> None:
    share = (Share(RequestClass.REPLAY, 10, one_key=True),)
    runs = [driven(plan("S1", step, RequestClass.REPLAY, shares=share, key_step=0, step=step)) for step in (10, 20)]
    powers = {power.name: power.trials for power in detection_power(case(*runs), gates("duplicates"))}
    assert (powers["races"], powers["repeats"]) == (1, 19)


def test_late_and_altered_and_forged_follow_from_what_their_gates_looked_at() -> None:
    assert one_in("late", *gates("S2.late", "S8.late", watched=1500, resolution_ms=4.2)) == (3000, 1000)
    assert one_in("content", *gates("S2.content", compared=3000)) == (3000, 1000)
    assert one_in("forged", *gates("forged", sent=3000)) == (3000, 1000)
    assert one_in("forged", *gates("forged", verdict=Verdict.NOT_RUN, sent=3000)) == (0, None)


def test_requests_with_personal_data_are_trials_of_a_leak() -> None:
    run = driven(plan("S4", 60, RequestClass.PERSONAL), [REFUSED])
    power = {each.name: each for each in detection_power(case(run), gates("privacy.rows"))}["personal"]
    assert (power.trials, power.one_in) == (59, 20.1)


def test_a_run_that_sent_nothing_says_nothing() -> None:
    assert detection_power(case(), ()) == ()
    assert power_sentence(()) == ""


def test_the_sentence_says_how_rare_and_of_how_many_and_what_was_not_seen() -> None:
    run = driven(plan(count=4493))
    powers = detection_power(case(run), gates("S2.rows", "S2.late", watched=300, resolution_ms=4.0))
    said = power_sentence(powers)
    assert said.startswith("would have been found with 95 %: a lost row, 1 in 1,500 or more of 4,493 acknowledged ")
    unseen = said.partition("could not have been found: ")[2]
    assert unseen.startswith("a second row where requests with one key arrive at once, ")
    assert unseen.endswith(
        "altered content, a forged request let in, personal data kept in a table, personal data in an answer "
        "(no gate of this run judged it)"
    )
    assert "a late row, 1 in 100 or more of 300 watched keys (late by more than 4 ms)" in said


def test_what_the_run_did_not_send_is_named_as_the_reason() -> None:
    (races,) = (each for each in detection_power(case(driven(plan())), gates("duplicates")) if each.name == "races")
    assert races.words == (
        "a second row where requests with one key arrive at once: could not have been found, this run has no keys of "
        "several requests at once"
    )


def test_the_keys_of_a_conflict_are_those_of_another_scenario() -> None:
    first, again = driven(plan(count=10)), driven(plan("conflict", 10, RequestClass.CONFLICT, keys_of="S2"))
    powers = detection_power(case(first, again), gates("S2.rows", "conflict.rows"))
    assert powers[0].trials == 10


def test_keys_that_nobody_acknowledged_are_no_trials() -> None:
    run = driven(plan(count=10), [REFUSED] * 10)
    rows = replace(group(run.report.scenario), canonical_min=0)
    assert detection_power(case(run, truth=truth([rows])), gates("S2.rows"))[0].trials == 0
