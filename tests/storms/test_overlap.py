"""What runs side by side, by tables."""

from __future__ import annotations

import pytest

from rig.evidence.overlap import most_at_once


@pytest.mark.parametrize(
    ("stretches", "most"),
    [
        ([], 0),
        ([(0, 5)], 1),
        ([(0, 5), (5, 9)], 1),  # one begins as the other ends
        ([(0, 5), (4, 9)], 2),
        ([(0, 9), (1, 2), (3, 4), (5, 6)], 2),
        ([(0, 9), (1, 8), (2, 7), (10, 11)], 3),
    ],
)
def test_most_at_once(stretches: list[tuple[int, int]], most: int) -> None:
    assert most_at_once(stretches) == most
