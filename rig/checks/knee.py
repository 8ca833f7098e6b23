"""Where a target stops holding a rate: the estimate from single steps with its interval, and which rate to try next.

Each step at a rate is held or missed. Near the knee chance decides, so one step proves little. The model is the one
that psychophysics measures thresholds with: the probability that a rate r is held falls from 1 to 0 around the knee c,

    P(held | r) = g + (1 - g - e) / (1 + (r / c) ** (1 / s))

``s`` says how wide the knee is (relative). ``e`` is the chance that a step is missed whatever its rate is: a disk or
the machine can take speed away for some seconds, and nothing can add any. So a step that was held says more than one
that was missed. ``g``, the chance that a rate far above the knee is held, is tiny: a queue that grows does not hide. It
is larger for the brief steps on the way up, which show where to look and decide nothing. All steps together give a
posterior over c and s on a grid; the prior is flat over the logarithm of both. Its median is the estimate, its 5th and
95th percentile are the interval. The next step goes to the median, where it teaches most: without noise that is
bisection. (Watson and Pelli, QUEST: a Bayesian adaptive psychometric method, Perception & Psychophysics 33:113-120,
1983; ``e`` and ``g``: Wichmann and Hill, The psychometric function I, the same journal 63:1293-1313, 2001.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from rig.evidence.capacity import StepResult

LEAST_PER_S = 1.0
GROWTH = 2.0
"""Steps grow by this until one is missed."""
WIDTH = 0.04
"""The search ends when the interval is no wider than this share of the estimate. Where errors are normal, a 90 %
interval is 3.3 standard deviations wide and five repeats in 95 % of cases lie within 3.9: within 5 % of each other."""
INTERVAL = 0.9
_STALL, _LUCK, _BRIEF_LUCK = 0.2, 0.001, 0.1
"""``e``, ``g``, and ``g`` of a brief step: a target that stores a burst holds more for a moment."""
_WIDTHS = np.geomspace(0.003, 0.07, 8)
_CLOSE = 1.05
"""Rates that are closer together are one: no step fits between them."""
_NEAR = 1.1
_LEAST_NEAR = 10
"""So many whole steps within a tenth of the estimate at least: fewer agree by chance."""
_GRID = 800
_TIRED = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One step: its rate, how it ended, and whether it was shorter than was asked for."""

    rate_per_s: float
    result: StepResult
    is_brief: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """The knee and its interval, requests/s."""

    per_s: float
    low_per_s: float
    high_per_s: float

    @property
    def width(self) -> float:
        """Of the interval, as a share of the estimate."""
        return (self.high_per_s - self.low_per_s) / self.per_s


def estimate(trials: Sequence[Trial]) -> Estimate | None:
    """The knee; None unless some rate was held and one missed. Steps that were not driven count for nothing.

    Of the brief steps that were held the fastest counts: what deceives one of them deceives all.
    """
    fastest = max(
        (trial.rate_per_s for trial in trials if trial.is_brief and trial.result is StepResult.HELD), default=0
    )
    known = [
        trial
        for trial in trials
        if trial.result is StepResult.MISSED
        or (trial.result is StepResult.HELD and (not trial.is_brief or trial.rate_per_s == fastest))
    ]
    held = np.array([trial.result is StepResult.HELD for trial in known])
    if held.all() or not held.any():
        return None
    rates = np.array([trial.rate_per_s for trial in known])
    knees = np.geomspace(rates.min() / GROWTH, rates.max() * GROWTH, _GRID)
    steepness = np.log(rates[:, None, None] / knees[None, :, None]) / _WIDTHS
    brief = np.array([trial.is_brief for trial in known])[:, None, None]
    luck = np.where(brief, _BRIEF_LUCK, _LUCK)
    chance = luck + (1 - luck - _STALL) / (1 + np.exp(np.clip(steepness, -50, 50)))
    likelihood = np.where(held[:, None, None], chance, 1 - chance)
    weight = np.exp(np.log(likelihood).sum(axis=0)).sum(axis=1)
    share = np.cumsum(weight) / weight.sum()
    low, middle, high = np.interp(((1 - INTERVAL) / 2, 0.5, (1 + INTERVAL) / 2), share, knees).tolist()
    return Estimate(middle, low, high)


def next_rate(trials: Sequence[Trial], first_per_s: float, most_per_s: float) -> float | str:
    """The rate of the next step, or why there is none."""
    if not trials:
        return min(first_per_s, most_per_s)
    held = max(_rates(trials, StepResult.HELD), default=0.0)
    missed = _rates(trials, StepResult.MISSED)
    if not held:
        lowest = min(trial.rate_per_s for trial in trials)
        return "no lower rate makes sense" if lowest <= LEAST_PER_S else max(LEAST_PER_S, lowest / GROWTH)
    if not missed:
        return _higher(trials, held, most_per_s)
    last = trials[-1]
    if len(missed) == 1 and last.result is StepResult.MISSED and last.rate_per_s > held:
        return last.rate_per_s  # once more: a stall of the machine would send the search far below the knee
    if all(trial.result is StepResult.UNDRIVEN for trial in trials[-_TIRED:]):
        return f"{_TIRED} steps one after the other could not be driven"
    found = estimate(trials)
    assert found is not None
    whole = [trial for trial in trials if trial.result is not StepResult.UNDRIVEN and not trial.is_brief]
    near = [trial for trial in whole if 1 / _NEAR <= trial.rate_per_s / found.per_s <= _NEAR]
    if found.width <= WIDTH and len(near) >= _LEAST_NEAR:
        return "the interval is narrow enough"
    if last.result is StepResult.UNDRIVEN and last.rate_per_s > held:
        return _round(sqrt(held * last.rate_per_s))  # less is easier to drive
    return min(most_per_s, max(LEAST_PER_S, _round(found.per_s)))


def may_be_brief(trials: Sequence[Trial], rate_per_s: float) -> bool:
    """Whether a step is on the way up: none was missed, and none was as fast. It narrows nothing down."""
    return all(trial.result is not StepResult.MISSED and trial.rate_per_s < rate_per_s for trial in trials)


def _higher(trials: Sequence[Trial], held: float, most_per_s: float) -> float | str:
    """The next rate while none was missed: below the lowest that could not be driven, where there is one."""
    above = [rate for rate in _rates(trials, StepResult.UNDRIVEN) if rate > held]
    if held >= most_per_s:
        is_sure = not all(trial.is_brief for trial in trials if trial.rate_per_s >= most_per_s)
        return "more was not asked for" if is_sure else most_per_s
    if not above:
        return min(most_per_s, held * GROWTH)
    ceiling = min(above)
    if above.count(ceiling) == 1:
        return ceiling  # once more: something may have disturbed it
    return _round(sqrt(held * ceiling)) if ceiling / held > _CLOSE else "higher rates could not be driven"


def _round(rate_per_s: float) -> float:
    """To three digits: finer than the interval, and people read it."""
    return float(f"{rate_per_s:.3g}")


def _rates(trials: Sequence[Trial], result: StepResult) -> list[float]:
    return [trial.rate_per_s for trial in trials if trial.result is result]
