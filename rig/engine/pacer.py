"""When each request is due: pure arithmetic on its number, so that the intended time is never lost.

Every pacer maps a request's number to nanoseconds after the start, whatever became of the earlier ones (open loop;
wrk2, vegeta). Times never decrease with the number, and several workers that share the numbers share one schedule. The
closed loop has no intended times: each connection sends when its last request was answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rig.model import Arrivals, Pace

NS = 1_000_000_000


class Pacer(Protocol):
    """A schedule."""

    def intended_ns(self, seq: int) -> int:
        """When request ``seq`` is due, nanoseconds after the start."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Request n at n ÷ rate."""

    rate_per_s: float

    def intended_ns(self, seq: int) -> int:
        return int(seq * NS / self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Ramp:
    """The rate changes linearly from one to another over ``over_s``, and stays there.

    n(t) = r₀ t + (r₁ - r₀) t² ÷ 2T requests are due by t; solved for t. Both rates are 0 or more, not both 0.
    """

    from_per_s: float
    to_per_s: float
    over_s: float

    def intended_ns(self, seq: int) -> int:
        slope = (self.to_per_s - self.from_per_s) / self.over_s
        in_ramp = (self.from_per_s + self.to_per_s) / 2 * self.over_s
        if seq >= in_ramp and self.to_per_s > 0:
            return int((self.over_s + (seq - in_ramp) / self.to_per_s) * NS)
        # The root that grows from t = 0, written so that nothing cancels out where the slope is small.
        root = math.sqrt(max(0.0, self.from_per_s**2 + 2 * slope * seq))
        return int(2 * seq / (self.from_per_s + root) * NS) if seq else 0


@dataclass(frozen=True, slots=True)
class Burst:
    """``size`` requests at once, so often that the mean rate is kept."""

    rate_per_s: float
    size: int

    def intended_ns(self, seq: int) -> int:
        return int(seq // self.size * self.size * NS / self.rate_per_s)


class Poisson:
    """Independent arrivals: exponential gaps with mean 1 ÷ rate, drawn from the seed.

    The whole schedule is drawn at once (8 bytes a request), so that every worker of a scenario run has the same one.
    """

    def __init__(self, rate_per_s: float, count: int, seed: int) -> None:
        gaps_s = np.random.default_rng(seed).exponential(1 / rate_per_s, count)
        self._times_ns = (np.cumsum(gaps_s) * NS).astype(np.int64)

    def intended_ns(self, seq: int) -> int:
        return int(self._times_ns[seq])


def pacer_for(pace: Pace, count: int, seed: int) -> Pacer | None:
    """The pacer of a scenario with ``count`` requests; None for the closed loop."""
    if pace.rate_per_s is None:
        return None
    match pace.arrivals:
        case Arrivals.CONSTANT:
            return Constant(pace.rate_per_s)
        case Arrivals.POISSON:
            return Poisson(pace.rate_per_s, count, seed)
        case Arrivals.RAMP:
            return Ramp(pace.ramp_from_per_s, pace.rate_per_s, pace.ramp_over_s)
        case Arrivals.BURST:
            return Burst(pace.rate_per_s, pace.burst_size)
