"""The knee: from steps that were held and missed to an estimate with its interval, and to the next rate."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rig.checks.knee import Trial, estimate, may_be_brief, next_rate
from rig.checks.scalability import fit_law
from rig.evidence.capacity import StepResult

HELD, MISSED, UNDRIVEN = StepResult.HELD, StepResult.MISSED, StepResult.UNDRIVEN
MOST = 50_000.0
THREE_MINUTES = 32
"""So many steps fit in: seven brief ones and whole ones."""


def trials(**rates: tuple[float, ...]) -> list[Trial]:
    return [Trial(rate, StepResult[result.upper()]) for result, each in rates.items() for rate in each]


def search(answer: Callable[[float], StepResult], most_per_s: float = MOST, steps: int = 60) -> tuple[list[Trial], str]:
    """All steps of a search against a target that answers like this, and why it ended."""
    made: list[Trial] = []
    for _ in range(steps):
        following = next_rate(made, 50.0, most_per_s)
        if isinstance(following, str):
            return made, following
        made.append(Trial(following, answer(following), may_be_brief(made, following)))
    return made, "it did not end"


@pytest.mark.parametrize("knee", [1.7, 7.0, 49.0, 333.0, 4_321.0, 31_000.0])
def test_the_knee_of_a_target_without_noise_is_found_to_two_percent(knee: float) -> None:
    made, ended = search(lambda rate: HELD if rate <= knee else MISSED)
    found = estimate(made)
    assert ended == "the interval is narrow enough"
    assert found is not None
    assert found.low_per_s <= knee <= found.high_per_s
    assert found.per_s == pytest.approx(knee, rel=0.02)
    assert found.width <= 0.05


def test_a_stall_on_the_way_up_does_not_end_the_search_below_the_knee() -> None:
    stalls = iter([False, True, *[False] * 100])
    made, _ = search(lambda rate: MISSED if next(stalls) or rate > 700 else HELD)
    found = estimate(made)
    assert found is not None
    assert found.per_s == pytest.approx(700, rel=0.03)


@pytest.mark.full
@pytest.mark.parametrize(("noise", "within"), [(0.01, 0.02), (0.03, 0.05)])
def test_repeats_agree_and_the_interval_holds_the_knee_although_steps_near_it_are_chance(
    noise: float, within: float
) -> None:
    """Fifteen times five searches; ``noise``: how much the rate that a target can do varies from step to step."""
    dice, hits, agreed = random.Random(4), 0, 0
    for _ in range(15):
        knee, shares = dice.uniform(100, 3000), []
        for _ in range(5):
            made, _ = search(
                lambda rate, knee=knee: HELD if rate <= knee * dice.gauss(1, noise) else MISSED,  # type: ignore[misc]
                steps=THREE_MINUTES,
            )
            found = estimate(made)
            assert found is not None
            hits += found.low_per_s <= knee <= found.high_per_s
            shares.append(found.per_s / knee)
        agreed += max(shares) - min(shares) <= within
    assert hits >= 0.85 * 75
    assert agreed >= 14


@pytest.mark.parametrize("stored", [2.0, 8.0])
def test_a_target_that_stores_a_burst_has_no_more_capacity_for_it(stored: float) -> None:
    made: list[Trial] = []
    while not isinstance(following := next_rate(made, 50.0, MOST), str):
        brief = may_be_brief(made, following)
        most = 333.0 * (stored if brief else 1)
        made.append(Trial(following, HELD if following <= most else MISSED, brief))
    found = estimate(made)
    assert found is not None
    assert found.per_s == pytest.approx(333, rel=0.03)
    assert len(made) < 40


def test_steps_are_brief_on_the_way_up_only() -> None:
    made, _ = search(lambda rate: HELD if rate <= 700 else MISSED)
    assert [trial.rate_per_s for trial in made if trial.is_brief] == [50, 100, 200, 400, 800]
    made, _ = search(lambda rate: HELD, most_per_s=330.0)
    assert [(trial.rate_per_s, trial.is_brief) for trial in made[-2:]] == [(330, True), (330, False)]


def test_there_is_no_estimate_without_a_rate_that_was_held_and_one_that_was_missed() -> None:
    assert estimate([]) is None
    assert estimate(trials(held=(50, 100))) is None
    assert estimate(trials(missed=(50, 25))) is None
    assert estimate(trials(held=(50,), undriven=(100,))) is None


def test_steps_that_were_not_driven_change_nothing() -> None:
    known = trials(held=(50, 100, 150), missed=(200, 180))
    assert estimate(known) == estimate([*known, *trials(undriven=(100, 160, 160))])


def test_a_target_that_holds_nothing_is_tried_down_to_one_a_second() -> None:
    made, ended = search(lambda rate: MISSED)
    assert (made[-1].rate_per_s, ended) == (1.0, "no lower rate makes sense")


def test_no_step_is_faster_than_was_asked_for() -> None:
    made, ended = search(lambda rate: HELD, most_per_s=330.0)
    assert (made[-1].rate_per_s, ended) == (330.0, "more was not asked for")


def test_the_search_goes_as_near_as_it_can_to_what_the_client_cannot_drive() -> None:
    made, ended = search(lambda rate: HELD if rate < 1000 else UNDRIVEN)
    assert ended == "higher rates could not be driven"
    assert max(trial.rate_per_s for trial in made if trial.result is HELD) > 930


def test_a_machine_that_is_taken_away_after_the_first_miss_ends_the_search_soon() -> None:
    answers = iter([HELD, HELD, MISSED])
    made, ended = search(lambda rate: next(answers, UNDRIVEN))
    assert ended == "3 steps one after the other could not be driven"
    assert [trial.rate_per_s for trial in made] == [50, 100, 200, 200, 141, 119]


def test_two_counts_of_processes_give_amdahl_s_law() -> None:
    law = fit_law({1: 400.0, 2: 720.0})
    assert law is not None
    assert (law.coherency, law.best_processes) == (0.0, None)
    assert law.rate_per_s(1) == pytest.approx(400)
    assert law.rate_per_s(2) == pytest.approx(720)
    assert law.rate_per_s(4) == pytest.approx(1200)


def test_three_counts_give_the_universal_law_with_its_peak() -> None:
    def rate(n: int) -> float:
        return 500 * n / (1 + 0.05 * (n - 1) + 0.01 * n * (n - 1))

    law = fit_law({n: rate(n) for n in (1, 2, 4, 8)})
    assert law is not None
    assert (law.alone_per_s, law.contention, law.coherency) == pytest.approx((500, 0.05, 0.01))
    assert law.best_processes == pytest.approx(9.747, rel=1e-3)


def test_more_than_twice_as_much_with_two_is_taken_for_twice() -> None:
    law = fit_law({1: 400.0, 2: 840.0})
    assert law is not None
    assert (law.contention, law.coherency) == (0.0, 0.0)
    assert fit_law({2: 700.0}) is None
