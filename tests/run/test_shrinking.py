"""Shrinking of shaped events: to one change, to the least size, to the fewest letters, within what may be sent."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.model import ShapeKind
from rig.requests.shape_values import changes_of
from rig.requests.shapes import Change, EventField, FieldRole
from rig.run.shrinking import Changes, OutOfRequests, Shrinker, find_least

AMOUNT = EventField(("amount",), FieldRole.INTEGER)
NUMBERS = {change.size: change for change in changes_of(AMOUNT) if change.growth and "up" in change.growth.name}


@given(least=st.integers(1, 10**30), above=st.integers(0, 10**30))
def test_the_least_size_that_fails_is_found(least: int, above: int) -> None:
    asked: list[int] = []

    def fails(size: int) -> bool:
        asked.append(size)
        return size >= least

    assert find_least(least + above, fails) == least
    assert len(asked) < 130


@pytest.mark.parametrize("least", [128, 2**31, 2**53, 2**63, 10**12, 1_000])
def test_an_edge_takes_few_requests(least: int) -> None:
    asked: list[int] = []
    assert find_least(10**30, lambda size: bool(asked.append(size)) or size >= least) == least
    assert len(asked) <= 14


def text(value: str) -> Change:
    return Change(ShapeKind.TEXTS, ("name",), "a text", value)


def is_changed_by_nfc(changes: Changes) -> bool:
    return any(isinstance(each.value, str) and not unicodedata.is_normalized("NFC", each.value) for each in changes)


def test_an_event_of_several_fields_becomes_one_of_one_field_and_two_letters() -> None:
    others = [text("plain"), replace(text("emoji \U0001f600"), path=("other",)), NUMBERS[2**31]]
    shrinker = Shrinker((others[0], text("a cafe\u0301 here"), *others[1:]), is_changed_by_nfc)
    shrinker.shrink()
    assert [each.value for each in shrinker.best] == ["e\u0301"]
    assert shrinker.is_smallest


def test_what_only_two_fields_show_together_keeps_both() -> None:
    both = (text("x"), NUMBERS[2**53 + 1])
    shrinker = Shrinker(
        (*both, replace(text("y"), path=("other",))),
        lambda changes: (
            len({each.path for each in changes} & {("name",), ("amount",)}) == 2
            and any(each.size >= 2**31 for each in changes)
        ),
    )
    shrinker.shrink()
    assert sorted(each.least_words for each in shrinker.best) == ["amount >= 2147483648", 'name = "x" (a text)']


def test_without_further_requests_the_smallest_so_far_is_kept() -> None:
    left = 3

    def fails(changes: Changes) -> bool:
        nonlocal left
        if not left:
            raise OutOfRequests
        left -= 1
        return any(each.size >= 2**31 for each in changes)

    shrinker = Shrinker((text("x"), NUMBERS[10**30]), fails)
    shrinker.shrink()
    assert not shrinker.is_smallest
    assert [each.path for each in shrinker.best] == [("amount",)]
