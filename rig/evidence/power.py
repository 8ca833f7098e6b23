"""Detection power: how rare a defect may be that a run would still have found. The formula, and its result in words.

The defect that is meant strikes each trial (a key, a request) alone, with the same probability p, and independently of
the others. A run of n trials misses it with probability (1 − p)^n. So with 95 % it finds every p ≥ 1 − 0.05^(1/n),
which is close to 3/n: the rule of three (J. A. Hanley, A. Lippman-Hand, "If nothing goes wrong, is everything all
right?", JAMA 249(13), 1983, 1743–1745). A defect that strikes at every N-th trial is found for certain where n ≥ N. One
that waits for a condition which the run never had is found by no number of trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rig.text import number

CONFIDENCE = 0.95


def rarest_found(trials: int) -> float | None:
    """N, so that a defect which strikes one trial in N is found with 95 %; None without a trial.

    It is rounded down to three digits, so never more is claimed than was shown.
    """
    if trials <= 0:
        return None
    one_in = 1 / -math.expm1(math.log1p(-CONFIDENCE) / trials)
    step: float = 10.0 ** (math.floor(math.log10(one_in)) - 2)
    return round(math.floor(one_in / step) * step, 2)


@dataclass(frozen=True, slots=True)
class DetectionPower:
    """What a run could have seen of one kind of defect: ``trials`` of its gates were judged.

    ``defect`` and ``of`` say what is meant: a lost row, of acknowledged keys. ``one_in`` is None where nothing of it
    would have been found; ``note`` then says why.
    """

    name: str
    defect: str
    of: str
    trials: int
    one_in: float | None
    note: str = ""

    @property
    def words(self) -> str:
        """As part of a sentence: ``a lost row, 1 in 1,500 or more of 4,493 acknowledged keys``."""
        if self.one_in is None:
            return f"{self.defect}: could not have been found{f', {self.note}' if self.note else ''}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.defect}, 1 in {number(self.one_in)} or more of {self.trials:,} {self.of}{note}"


def power_sentence(powers: Iterable[DetectionPower]) -> str:
    """What a run could have seen and what not, in one sentence; empty where nothing is known of it."""
    powers = tuple(powers)
    found = "; ".join(power.words for power in powers if power.one_in is not None)
    unseen: dict[str, list[str]] = {}
    for power in powers:
        if power.one_in is None:
            unseen.setdefault(power.note, []).append(power.defect)
    parts = [f"would have been found with {CONFIDENCE:.0%}: {found}".replace("%", " %")] if found else []
    if unseen:
        named = (", ".join(defects) + (f" ({why})" if why else "") for why, defects in unseen.items())
        parts.append(f"could not have been found: {'; '.join(named)}")
    return "; ".join(parts)
