from __future__ import annotations

import numpy as np
import pytest

from rig.report.interval import _t_quantile, interval_of_mean, least_pairs


@pytest.mark.parametrize(
    # of n pairs that all go one way by chance: 2 / 2^n
    ("level", "pairs"),
    [(0.90, 5), (0.95, 6), (0.99, 8)],
)
def test_so_many_pairs_are_needed(level: float, pairs: int) -> None:
    assert least_pairs(level) == pairs
    assert 2 / 2**pairs <= 1 - level < 2 / 2 ** (pairs - 1)


@pytest.mark.parametrize(("freedom", "t"), [(5, 2.5706), (7, 2.3646), (10, 2.2281), (29, 2.0452)])
def test_the_series_gives_students_t(freedom: int, t: float) -> None:
    assert _t_quantile(0.975, freedom) == pytest.approx(t, rel=0.002)


@pytest.mark.parametrize("count", [6, 10, 20])
def test_it_holds_the_truth_as_often_as_it_says(count: int) -> None:
    """A plain percentile bootstrap holds it in 87 of 100 for six values; this one may miss in at most 7."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        low, high = interval_of_mean(rng.normal(0.1, 0.2, count))
        held += low <= 0.1 <= high
    assert held / 300 >= 0.93


def test_the_same_pairs_have_the_same_interval() -> None:
    values = np.array([0.1, 0.2, 0.15, 0.3, 0.05, 0.12])
    assert interval_of_mean(values) == interval_of_mean(values.copy())


def test_what_never_varies_has_no_width() -> None:
    assert interval_of_mean(np.zeros(6)) == (0.0, 0.0)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no interval"):
        interval_of_mean(np.array([1.0]))
