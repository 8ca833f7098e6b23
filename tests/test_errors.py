"""How the process ends."""

from __future__ import annotations

import pytest

from rig.errors import worst_exit


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 3], 3),
        ([3, 1, 2], 1),
        ([3, 2], 2),
        ([1, 70], 70),
        ([64, 0], 64),
        ([69, 0], 69),
        ([78, 1], 78),
        ([1, 130], 130),
        ([-9, 0], -9),
    ],
)
def test_of_several_ends_the_worst_counts(codes: list[int], worst: int) -> None:
    assert worst_exit(codes) == worst
