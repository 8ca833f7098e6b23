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
    """The rate climbs linearly from 0 to ``to_per_s`` within ``over_s``, and stays there.

    n(t) = r t² ÷ 2T requests are due by t; solved for t.
    """

    to_per_s: float
    over_s: float

    def intended_ns(self, seq: int) -> int:
        in_ramp = self.to_per_s / 2 * self.over_s
        if seq >= in_ramp:
            return int((self.over_s + (seq - in_ramp) / self.to_per_s) * NS)
        return int(math.sqrt(2 * self.over_s * seq / self.to_per_s) * NS)


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
            return Ramp(pace.rate_per_s, pace.ramp_over_s)
