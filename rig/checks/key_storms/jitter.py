"""Is there a random share in the delays of a schedule? Pure statistics, for ``storm.*.jitter``.

The subject may have written its delays down. Otherwise there are only the gaps between fetches at the origin. A gap is
a delay and perhaps a lag of the machine, and a lag looks like jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LAG_S = 0.03
"""The callers' pace and the scheduler may make a gap so much longer than the delay. Where a caller had been waiting for
some time when the fetch began, the lag may be so much longer."""
LEAST_DELAYS = 3
"""Fewer delays show no schedule."""
_DECIDED_SPREAD = 1 / 40
"""Delays that the subject wrote down must differ by this share of the declared jitter."""
_CHANCE = 1e-3
"""The probability of a FAIL for a subject that has the jitter that it declares."""


class Undecided(Exception):
    """Jitter may have made the delays differ, and so may lags. The message has the figures."""


@dataclass(frozen=True, slots=True)
class Delay:
    """One delay of an outage, seconds: its length, its length in the schedule, and how much of it may be a lag."""

    took_s: float
    due_s: float
    lag_s: float = 0.0

    @property
    def stretch(self) -> float:
        """By which share it is longer than the schedule has it."""
        return self.took_s / self.due_s - 1

    @property
    def least_stretch(self) -> float:
        """The same, if all that may be a lag is one."""
        return (self.took_s - self.lag_s) / self.due_s - 1


def spread(delays: Sequence[Delay]) -> float:
    """How far the stretches lie apart."""
    stretches = [delay.stretch for delay in delays]
    return max(stretches) - min(stretches)


def find_alike_decisions(delays: Sequence[Delay], jitter: float) -> str:
    """What is wrong with the spread of delays that the subject wrote down; empty where nothing is."""
    found = spread(delays)
    return "" if found > jitter * _DECIDED_SPREAD else f"they differ by {found:.4f} only"


def find_alike_gaps(delays: Sequence[Delay], jitter: float) -> str:
    """What is wrong with the spread of gaps at the origin; empty where nothing is, Undecided where nobody can tell.

    Two gaps that differ by more than their lags show jitter. There is none where gaps with the declared jitter would
    hardly ever differ so little.
    """
    if max(delay.least_stretch for delay in delays) > min(delay.stretch for delay in delays):
        return ""
    longest_s = max(delay.due_s for delay in delays)
    at_longest = [delay for delay in delays if delay.due_s == longest_s]
    weighed = at_longest if len(at_longest) >= LEAST_DELAYS else delays  # a lag matters least in the longest
    found = spread(weighed)
    # n uniform shares of the whole jitter lie within r of it with a probability below n * r ** (n - 1); with lags, too.
    count = len(weighed)
    level = jitter * (_CHANCE / count) ** (1 / (count - 1))
    if found > level:
        raise Undecided(
            f"{count} delays differ by {found:.4f}: lags of {LAG_S:g} s and more may explain that, so there may be no "
            f"jitter; only below {level:.4f} would jitter of {jitter:g} be ruled out"
        )
    return f"they differ by {found:.4f} only, a lag included"
