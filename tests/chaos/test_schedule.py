"""Which faults strike when follows from the seed alone."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from rig.chaos.catalog import BUILT_IN
from rig.chaos.fault import Fault, Struck
from rig.chaos.minimise import minimise
from rig.chaos.schedule import FIRST_S, REST_S, SLOW_S, plan_faults, repeat, rest_after_faults, seconds_for
from scenarios.s11 import SHORT_S

FAULTS = tuple(Fault(name, name, lambda target: "", lambda target, chance: nullcontext(Struck())) for name in "abcd")


def test_a_seed_gives_the_same_schedule_whatever_the_order_of_the_faults() -> None:
    planned = plan_faults(3, FAULTS, 60)
    assert planned == plan_faults(3, tuple(reversed(FAULTS)), 60)
    assert planned != plan_faults(4, FAULTS, 60)


def test_each_fault_comes_once_before_any_comes_twice() -> None:
    planned = plan_faults(1, FAULTS, 60)
    assert len(planned) > 8
    assert set(Counter(fault.fault for fault in planned[:8]).values()) == {2}


def test_faults_rest_between_each_other_and_before_the_end() -> None:
    planned = plan_faults(1, FAULTS, 60)
    assert planned[0].at_s == FIRST_S
    for one, next_one in pairwise(planned):
        assert next_one.at_s >= one.at_s + one.for_s + REST_S - 0.01
    assert seconds_for(planned) <= 60.01


@pytest.mark.parametrize("seed", range(20))
def test_three_faults_have_room_in_the_short_chaos_of_a_run(seed: int) -> None:
    long = tuple(Fault(each.name, each.name, each.missing, each.strike, (0.5, 3.0)) for each in FAULTS)
    assert len(plan_faults(seed, long, SHORT_S)) >= 3


def test_a_fault_that_takes_long_has_the_room_that_it_takes_and_gives_way_where_there_is_none() -> None:
    slow = replace(FAULTS[0], name="slots-taken")
    planned = plan_faults(1, (slow, *FAULTS[1:]), 60)
    for one, next_one in pairwise(planned):
        assert next_one.at_s >= one.at_s + one.for_s + SLOW_S.get(one.fault, 0) + REST_S - 0.01
    assert seconds_for(planned) <= 60.01
    short = [plan_faults(seed, (slow, *FAULTS[1:]), 9) for seed in range(20)]
    assert all(short) and "slots-taken" not in {fault.fault for each in short for fault in each}


@pytest.mark.parametrize(
    ("recovery_s", "seconds", "rest_s"),
    [(None, 60, REST_S), (1.0, 60, REST_S), (5.0, 60, 5.5), (10.0, 60, 9.0), (10.0, 180, 10.5), (10.0, SHORT_S, 3.0)],
)
def test_a_target_is_left_alone_for_as_long_as_it_may_take_where_the_load_has_room(
    recovery_s: float | None, seconds: float, rest_s: float
) -> None:
    assert rest_after_faults(recovery_s, seconds) == rest_s
    planned = plan_faults(1, FAULTS, seconds, rest_s)
    for one, next_one in pairwise(planned):
        assert next_one.at_s >= one.at_s + one.for_s + rest_s - 0.01
    assert seconds_for(planned, rest_s) <= seconds + 0.01


def test_too_short_a_load_and_no_faults_plan_nothing() -> None:
    assert plan_faults(1, FAULTS, 2) == plan_faults(1, (), 60) == ()


def test_a_repeated_schedule_keeps_faults_order_and_lengths() -> None:
    planned = plan_faults(1, FAULTS, 60)[2:5]
    again = repeat(planned)
    assert [(fault.fault, fault.for_s) for fault in again] == [(fault.fault, fault.for_s) for fault in planned]
    assert [fault.number for fault in again] == [1, 2, 3]
    assert again[0].at_s == FIRST_S


@pytest.mark.parametrize("guilty", [{3}, {0, 7}, {1, 2, 6}, set(range(8))])
def test_the_fewest_faults_are_found(guilty: set[int]) -> None:
    tried: list[tuple[int, ...]] = []

    def fails(part: tuple[int, ...]) -> bool:
        tried.append(part)
        return guilty <= set(part)

    assert set(minimise(range(8), fails)) == guilty
    assert len(tried) == len(set(tried)), "each part is tried once"


def test_a_suspect_that_fails_alone_is_found_at_once_and_one_that_does_not_costs_one_try() -> None:
    tried: list[tuple[int, ...]] = []

    def fails(part: tuple[int, ...]) -> bool:
        tried.append(part)
        return 5 in part

    assert minimise(range(8), fails, suspects=(2, 5)) == (5,)
    assert tried == [(2,), (5,)]
    tried.clear()
    assert minimise(range(8), fails, suspects=(2, 3)) == (5,)
    assert tried[:2] == [(2,), (3,)]
    assert len(tried) == len(set(tried)), "each part is tried once"


def test_the_page_about_chaos_names_every_fault() -> None:
    table = Path("docs/chaos.md").read_text().partition("## The faults\n")[2].partition("\n\n## ")[0]
    assert set(re.findall(r"`([a-z]+-[a-z-]+|deploy)`", table)) >= {fault.name for fault in BUILT_IN}
