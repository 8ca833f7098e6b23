"""What the requests of a scenario run have been answered so far, while it goes on. Not for: a verdict.

Flow: each ``look`` reads the rows that the workers have written since the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rig.errors import ErrorKind
from rig.evidence.failures import failure_words, failures_of, leave_excuses_out
from rig.evidence.history import RowsTail
from rig.evidence.scenario_runs import RESULT
from rig.profile import Profile
from rig.requests.targeter import Targets

_LAST_MOST = 1_000


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """The first failure of its kind in a scenario run."""

    kind: str
    seq: int
    key: str


class AnswersSoFar:
    """``last_rows`` are those of the last requests that ended."""

    def __init__(self, targets: Targets, profile: Profile, files: Sequence[Path]) -> None:
        """``files`` are those of the workers' rows; they need not exist yet."""
        scenario = targets.scenario
        self._targets = targets
        self._expected = [profile.answer(share.request_class, scenario.route).right for share in scenario.shares]
        self._tails = [RowsTail(file) for file in files]
        self.last_rows: NDArray[np.void] = np.empty(0, RESULT)
        self._kinds: Counter[str] = Counter()

    def look(self) -> list[FirstFailure]:
        """Read what is new; the first failure of each kind that there was none of before."""
        rows = np.concatenate([tail.news() for tail in self._tails])
        rows = rows[rows["error_kind"] != ErrorKind.SKIPPED]
        self.last_rows = np.concatenate([self.last_rows, rows])[-_LAST_MOST:]
        wrong = np.sort(rows[failures_of(rows, self._targets.composition.share, self._expected)], order="done_ns")
        codes = np.column_stack([wrong["error_kind"], wrong["status"]])
        found = []
        for code, first, count in zip(*np.unique(codes, axis=0, return_index=True, return_counts=True), strict=True):
            kind, seq = failure_words(*code.tolist()), int(wrong["seq"][first])
            if not self._kinds[kind]:
                found.append(FirstFailure(kind, seq, self._targets.key(seq)))
            self._kinds[kind] += int(count)
        return [each for each in found if each.kind in self.failures]

    @property
    def failures(self) -> dict[str, int]:
        """How many have failed, by kind; without what is excused (``leave_excuses_out``).

        None where they are sent again, because things are broken on purpose: that is judged at the end.
        """
        scenario = self._targets.scenario
        return leave_excuses_out(self._kinds, scenario.count) if scenario.redelivery is None else {}
