"""Failures: requests without a proper answer, or with an answer that their class does not ask for.

They are counted while requests are still being sent, so what is judged later is left out. No pandas here: load workers
import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rig.errors import ErrorKind
from rig.limits import STALE_MOST

_OWN_DOING = frozenset({"skipped", "aborted"})
_STALE = "stale connection"
_KINDS_MOST = 3


def failures_of(
    rows: NDArray[np.void], share: NDArray[np.int64], expected: Sequence[Sequence[int]]
) -> NDArray[np.bool_]:
    """Which rows (``RESULT``) are failures.

    ``share`` (shape (count,)) gives the share of a request by its seq, ``expected`` the right statuses by share.
    """
    good = np.zeros(len(rows), dtype=bool)
    share_of_row = share[rows["seq"]]
    for number, statuses in enumerate(expected):
        good |= (share_of_row == number) & np.isin(rows["status"], statuses)
    failed: NDArray[np.bool_] = ~(good & (rows["error_kind"] == ErrorKind.NONE))
    return failed


def failure_words(error_kind: int, status: int) -> str:
    """What kind of failure a row is, such as ``status 500`` and ``connection lost``."""
    return f"status {status}" if error_kind == ErrorKind.NONE else ErrorKind(error_kind).name.lower().replace("_", " ")


def leave_excuses_out(kinds: Mapping[str, int], requests: int) -> dict[str, int]:
    """Failures by kind (``failure_words``), without those that the target need not answer for.

    These are what the rig skipped or gave up, and a few stale connections (``STALE_MOST``).
    """
    counts = {kind: count for kind, count in kinds.items() if count and kind not in _OWN_DOING}
    if counts.get(_STALE, 0) <= STALE_MOST * requests:
        counts.pop(_STALE, None)
    return counts


def describe_failures(counts: Mapping[str, int]) -> str:
    """How many have failed, and of which kind: ``3 failed: timeout (2), status 500 (1)``."""
    most = sorted(counts.items(), key=lambda item: -item[1])[:_KINDS_MOST]
    kinds = ", ".join(f"{kind} ({count:,})" if len(counts) > 1 else kind for kind, count in most)
    return f"{sum(counts.values()):,} failed" + (f": {kinds}" if kinds else "")
