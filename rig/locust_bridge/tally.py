"""From rows of the history to locust's statistics: one delta for each user class and second. Pure.

Requests are never counted twice in two ways: what the master is told is computed from the very rows that the history
will hold. Buckets have three significant digits (locust's own have two).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rig.errors import ErrorKind
from rig.evidence.failures import failure_words

METHOD = "POST"
_SIGNIFICANT = 3
_NS_PER_MS = 1e6


@dataclass(slots=True)
class Tally:
    """Statistics since the last report. ``wall_offset_ns`` turns a time of the rows into the master's wall clock."""

    wall_offset_ns: int = 0
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    """The key of the first request of each error, by the error's name in ``errors``. They are kept."""

    def add(
        self, name: str, rows: NDArray[np.void], failed: NDArray[np.bool_], key: Callable[[int], str] = str
    ) -> None:
        """Count rows under a name; skipped ones are no requests. ``key`` says a request's key by its seq."""
        sent = rows["error_kind"] != ErrorKind.SKIPPED
        if not sent.all():
            rows, failed = rows[sent], failed[sent]
        if not len(rows):
            return
        # Side by side they are several times faster to reckon with than as columns of packed rows.
        intended_ns, sent_ns, done_ns = (rows[column].copy() for column in ("intended_ns", "sent_ns", "done_ns"))
        response_ms = (done_ns - intended_ns) / _NS_PER_MS
        done_ns += self.wall_offset_ns
        delta = {
            "name": name,
            "method": METHOD,
            "last_request_timestamp": float(done_ns.max()) / 1e9,
            "start_time": float(sent_ns.min() + self.wall_offset_ns) / 1e9,
            "num_requests": len(rows),
            "num_none_requests": 0,
            "num_failures": int(failed.sum()),
            "total_response_time": float(response_ms.sum()),
            "max_response_time": float(response_ms.max()),
            "min_response_time": float(response_ms.min()),
            "total_content_length": 0,
            "response_times": _count_values(round_significant(response_ms)),
            "num_reqs_per_sec": _count_values(done_ns // 1_000_000_000),
            "num_fail_per_sec": _count_values(done_ns[failed] // 1_000_000_000),
        }
        self.entries[name] = _sum(self.entries.get(name), delta)
        self._count_errors(name, rows[failed], done_ns[failed], key)

    def _count_errors(
        self, name: str, rows: NDArray[np.void], done_ns: NDArray[np.int64], say_key: Callable[[int], str]
    ) -> None:
        kinds = rows["error_kind"].astype(np.int64) * 65536 + rows["status"]
        for code in np.unique(kinds):
            is_kind = kinds == code
            of_kind = done_ns[is_kind]
            error = failure_words(int(code) // 65536, int(code) % 65536)
            key = f"{METHOD}/{name}/{error}"
            if key not in self.examples:
                self.examples[key] = say_key(int(rows["seq"][is_kind][of_kind.argmin()]))
            known = self.errors.setdefault(
                key, {"method": METHOD, "name": name, "error": error, "occurrences": 0, "first_seen": np.inf}
            )
            known["occurrences"] += len(of_kind)
            known["first_seen"] = min(known["first_seen"], float(of_kind.min()) / 1e9)
            known["last_seen"] = float(of_kind.max()) / 1e9

    def take(self) -> dict[str, Any]:
        """What to report now, in the form of locust's ``stats`` message; the tally starts anew."""
        total: dict[str, Any] = _empty()
        for delta in self.entries.values():
            total = _sum(total, delta)
        total |= {"name": "Aggregated", "method": ""}
        report = {"stats": list(self.entries.values()), "stats_total": total, "errors": self.errors}
        self.entries, self.errors = {}, {}
        return report


def round_significant(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To three significant digits."""
    magnitude = np.floor(np.log10(np.maximum(values, 1e-6))).astype(np.int64)
    scale = 10.0 ** (_SIGNIFICANT - 1 - magnitude)
    result: NDArray[np.float64] = np.rint(values * scale) / scale
    return result


def _empty() -> dict[str, Any]:
    return {
        "name": "Aggregated",
        "method": "",
        "last_request_timestamp": None,
        "start_time": np.inf,
        "num_requests": 0,
        "num_none_requests": 0,
        "num_failures": 0,
        "total_response_time": 0.0,
        "max_response_time": 0.0,
        "min_response_time": None,
        "total_content_length": 0,
        "response_times": {},
        "num_reqs_per_sec": {},
        "num_fail_per_sec": {},
    }


def _sum(left: Mapping[str, Any] | None, right: Mapping[str, Any]) -> dict[str, Any]:
    """Two deltas as one."""
    if left is None:
        return dict(right)
    both = dict(left)
    for key, value in right.items():
        before = left[key]
        if isinstance(value, dict):
            both[key] = dict(Counter(before) + Counter(value))
        elif key in ("last_request_timestamp", "max_response_time"):
            both[key] = value if before is None else max(before, value)
        elif key in ("start_time", "min_response_time"):
            both[key] = value if before is None else min(before, value)
        elif key not in ("name", "method"):
            both[key] = before + value
    return both


def _count_values(values: NDArray[Any]) -> dict[Any, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
