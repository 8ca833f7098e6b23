"""What more processes would bring: the universal scalability law, fitted to a few counts of processes.

    X(N) = λ N / (1 + σ (N - 1) + κ N (N - 1))

λ is what one process does alone, σ the share of its work for which all wait in turn (contention), κ what it costs each
to agree with every other (coherency). Both are at least 0. N / X(N) is linear in the three, so least squares finds
them. Two counts determine λ and σ only: the law is Amdahl's then. (Gunther, Guerrilla Capacity Planning, Springer 2007,
chapters 4 to 6.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np


@dataclass(frozen=True, slots=True)
class ScalabilityLaw:
    """λ (requests/s), σ and κ."""

    alone_per_s: float
    contention: float
    coherency: float

    def rate_per_s(self, processes: float) -> float:
        """What so many processes would do."""
        cost = 1 + self.contention * (processes - 1) + self.coherency * processes * (processes - 1)
        return self.alone_per_s * processes / cost

    @property
    def best_processes(self) -> float | None:
        """Where one more would bring less; None where there is no such count."""
        return sqrt((1 - self.contention) / self.coherency) if self.coherency > 0 and self.contention < 1 else None


def fit_law(rates_per_s: Mapping[int, float]) -> ScalabilityLaw | None:
    """The law that fits what some counts of processes did; None with fewer than two."""
    if len(rates_per_s) < 2:
        return None
    counts, rates = np.array(list(rates_per_s), dtype=float), np.array(list(rates_per_s.values()))
    terms = np.stack([np.ones_like(counts), counts - 1, counts * (counts - 1)], axis=1)
    costs = counts / rates
    best, least = np.array([costs.mean(), 0.0, 0.0]), np.inf
    # Of few terms the best fit without a negative one is found among the fits of all their subsets.
    for size in range(1, min(3, len(counts)) + 1):
        for rest in combinations((1, 2), size - 1):
            if len(counts) == 2 and 2 in rest:
                continue
            chosen = [0, *rest]
            found = np.zeros(3)
            found[chosen] = np.linalg.lstsq(terms[:, chosen], costs, rcond=None)[0]
            off = float(((terms @ found - costs) ** 2).sum())
            if (found >= 0).all() and off < least:
                best, least = found, off
    alone, contention, coherency = best.tolist()
    return ScalabilityLaw(1 / alone, contention / alone, coherency / alone)
