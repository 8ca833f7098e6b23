"""How sure a mean of a few paired differences is: a bootstrap interval, widened for small samples. Pure and seeded.

Flow: ``interval_of_mean`` resamples the pairs and reads two percentiles off the means; ``least_pairs`` says below how
many pairs no interval at that level can mean anything.

The plain percentile bootstrap is too narrow for few pairs: of six it misses the truth one time in eight, not one in
twenty. The percentiles are therefore moved outwards to where a t interval would be ("expanded percentile": Hesterberg,
What Teachers Should Know About the Bootstrap, The American Statistician 69:4, 2015, section 3.4).
"""

from __future__ import annotations

from math import ceil, log2, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rig.stats import quantile

LEVEL = 0.95
RESAMPLES = 20_000
"""So many that the outermost percentile that is read, a quarter of a percent, rests on fifty means."""
_SEED = 20_151
"""The same pairs have the same interval whenever they are asked for."""


def least_pairs(level: float = LEVEL) -> int:
    """So many pairs are needed before even "all of them went one way" is rarer by chance than 1 - ``level``: 6."""
    return ceil(log2(2 / (1 - level)))


def interval_of_mean(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The interval that holds the mean behind ``values`` (shape (n,), n ≥ 2) with the probability ``level``."""
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} value has no interval")
    chosen = np.random.default_rng(_SEED).integers(0, count, (RESAMPLES, count))
    tail = _expanded_tail(level, count)
    means = values[chosen].mean(axis=1)
    return quantile(means, tail), quantile(means, 1 - tail)


def _expanded_tail(level: float, count: int) -> float:
    """Which percentile of the bootstrap means lies where the t interval of so many values ends."""
    return NormalDist().cdf(-sqrt(count / (count - 1)) * _t_quantile((1 + level) / 2, count - 1))


def _t_quantile(share: float, freedom: int) -> float:
    """Student's t from the normal one (Abramowitz and Stegun 26.7.5): within 0.2 % from 5 degrees of freedom on."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
