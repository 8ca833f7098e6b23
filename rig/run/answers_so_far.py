"""What the requests of a scenario run have been answered so far, while it goes on. Not for: a verdict.

Flow: each ``look`` reads the rows that the workers have written since the one before. Requests that are sent one by one
have no such rows: whoever sends them is a ``SeenSoFar`` itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.errors import ErrorKind
from rig.evidence.failures import failure_words, failures_of, leave_excuses_out
from rig.evidence.history import RowsTail
from rig.evidence.scenario_runs import RESULT
from rig.limits import ASK_AGAIN
from rig.profile import Profile
from rig.requests.targeter import Targets
from rig.stats import quantile, response_ms

LAST_MOST = 1_000
"""The p95 is that of so many requests: the last that ended."""


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """The first failure of its kind in a scenario run."""

    kind: str
    seq: int
    key: str
    detail: str = ""

    @property
    def words(self) -> str:
        """Such as ``status 500 for request 3, key k-3``."""
        return f"{self.kind} for request {self.seq}, key {self.key}" + (f": {self.detail}" if self.detail else "")


class SeenSoFar(Protocol):
    """What can be said of a scenario run while it goes on."""

    def look(self) -> list[FirstFailure]:
        """Look at what is new; the first failure of each kind that there was none of before."""

    @property
    def failures(self) -> Mapping[str, int]:
        """How many have failed, by kind."""

    @property
    def p95_ms(self) -> float | None:
        """p95 of the response time of the last requests that ended; None before the first."""


class AnswersSoFar:
    """A ``SeenSoFar`` of requests that load workers send."""

    def __init__(self, targets: Targets, profile: Profile, files: Sequence[Path]) -> None:
        """``files`` are those of the workers' rows; they need not exist yet."""
        scenario = targets.scenario
        self._targets = targets
        self._redelivers = scenario.redelivery is not None
        pairs = [(share.request_class, scenario.route) for share in scenario.shares]
        again = [profile.right_again(*pair) if self._redelivers else () for pair in pairs]
        self._expected = [(*profile.answer(*pair).right, *more) for pair, more in zip(pairs, again, strict=True)]
        self._acknowledged: NDArray[np.bool_] = np.zeros(scenario.count, dtype=bool)
        self._tails = [RowsTail(file) for file in files]
        self._last: NDArray[np.void] = np.empty(0, RESULT)
        self._kinds: Counter[str] = Counter()

    def look(self) -> list[FirstFailure]:
        rows = np.concatenate([tail.news() for tail in self._tails])
        rows = rows[rows["error_kind"] != ErrorKind.SKIPPED]
        self._last = np.concatenate([self._last, rows])[-LAST_MOST:]
        has_failed = failures_of(rows, self._targets.composition.share, self._expected)
        self._acknowledged[rows["seq"][~has_failed]] = True
        wrong = np.sort(rows[has_failed], order="done_ns")
        if self._redelivers:
            wrong = wrong[self._was_given_up(wrong)]
        codes = np.column_stack([wrong["error_kind"], wrong["status"]])
        found = []
        for code, first, count in zip(*np.unique(codes, axis=0, return_index=True, return_counts=True), strict=True):
            kind, seq = failure_words(*code.tolist()), int(wrong["seq"][first])
            if not self._kinds[kind]:
                found.append(FirstFailure(kind, seq, self._targets.key(seq)))
            self._kinds[kind] += int(count)
        return [each for each in found if each.kind in self.failures]

    def _was_given_up(self, wrong: NDArray[np.void]) -> NDArray[np.bool_]:
        """Where requests are sent again, because things are broken on purpose, only what ends that is a failure now."""
        is_final = (wrong["error_kind"] == ErrorKind.NONE) & (wrong["status"] < 500)
        given_up: NDArray[np.bool_] = (
            is_final & ~np.isin(wrong["status"], ASK_AGAIN) & ~self._acknowledged[wrong["seq"]]
        )
        return given_up

    @property
    def failures(self) -> Mapping[str, int]:
        """See ``SeenSoFar``; without what is excused (``leave_excuses_out``)."""
        return leave_excuses_out(self._kinds, self._targets.scenario.count)

    @property
    def p95_ms(self) -> float | None:
        """See ``SeenSoFar``. Where requests are sent again, since things are broken on purpose, only answers count."""
        times_ms = response_ms(pd.DataFrame(self._last))
        if self._redelivers:
            times_ms = times_ms[np.isfinite(times_ms)]
        return quantile(times_ms, 0.95) if len(times_ms) else None
