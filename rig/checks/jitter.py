"""Is there a random share in the delays of a schedule? Pure statistics, for ``storm.*.jitter``.

Delays that the subject wrote down are what it decided. Gaps between fetches, as the origin saw them, are each a delay
and perhaps a lag, and a lag looks like jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LAG_S = 0.03
"""Callers' pace and the scheduler may make a gap, as the origin sees it, so much longer than was decided; longer still
where somebody had begun to ask long before the fetch began."""
LEAST_DELAYS = 3
"""A schedule shows in no fewer."""
_DECIDED_SPREAD = 1 / 40
"""Delays that were written down must differ by this share of the declared jitter."""
_CHANCE = 1e-3
"""Jitter as declared is found wanting with no more than this probability."""


class Undecided(Exception):
    """The delays are what jitter makes as well as what lags make; says how they were weighed."""


@dataclass(frozen=True, slots=True)
class Delay:
    """One delay of an outage, seconds: how long it was, what the schedule has in its place, what may be a lag of it."""

    took_s: float
    due_s: float
    lag_s: float = 0.0

    @property
    def stretch(self) -> float:
        """By which share of its place in the schedule it is longer."""
        return self.took_s / self.due_s - 1

    @property
    def least_stretch(self) -> float:
        """The same where all that may be a lag is one."""
        return (self.took_s - self.lag_s) / self.due_s - 1


def spread(delays: Sequence[Delay]) -> float:
    """How far the stretches lie apart."""
    stretches = [delay.stretch for delay in delays]
    return max(stretches) - min(stretches)


def alike_as_decided(delays: Sequence[Delay], jitter: float) -> str:
    """What is wrong with the spread of delays that the subject wrote down; empty where nothing is."""
    found = spread(delays)
    return "" if found > jitter * _DECIDED_SPREAD else f"they differ by {found:.4f} only"


def alike_as_seen(delays: Sequence[Delay], jitter: float) -> str:
    """What is wrong with the spread of gaps at the origin; empty where nothing is, Undecided where nobody can tell.

    Two of which no lag can make one and the same stretch show jitter. That there is none is said only where jitter as
    declared would hardly ever differ so little.
    """
    if max(delay.least_stretch for delay in delays) > min(delay.stretch for delay in delays):
        return ""
    longest_s = max(delay.due_s for delay in delays)
    at_longest = [delay for delay in delays if delay.due_s == longest_s]
    weighed = at_longest if len(at_longest) >= LEAST_DELAYS else delays  # a lag blurs the longest least
    found = spread(weighed)
    # n uniform shares of the whole jitter lie within r of it with a probability below n * r ** (n - 1); with lags, too.
    count = len(weighed)
    level = jitter * (_CHANCE / count) ** (1 / (count - 1))
    if found > level:
        raise Undecided(
            f"lags of {LAG_S:g} s and more may have made all the difference between the delays, but {count} of them "
            f"differ by {found:.4f}, and only below {level:.4f} would jitter of {jitter:g} be ruled out"
        )
    return f"they differ by {found:.4f} only, a lag included"
