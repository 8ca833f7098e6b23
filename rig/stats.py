"""Latencies in numbers: exact quantiles of raw rows, and HdrHistograms, which merge and which other tools read.

Quantiles that are judged come from the rows themselves. The histograms say the same to three significant digits: each
worker has its own, ``merged`` adds them up (percentiles are never merged), and ``hlog`` writes the standard log that
HdrHistogram's own tools read: an interval a second, tagged ``response`` (from the intended send) and ``service`` (from
the real one), values in microseconds.
Frames have the columns of ``rig.evidence.history``; rows that were never sent are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US, HIGHEST_US, DIGITS = 1, 3_600_000_000, 3
"""From a microsecond to an hour, three significant digits."""
_SINCE = {"response": "intended_ns", "service": "sent_ns"}
_NS = 1_000_000_000
_HEAD = (
    "#[Histogram log format version 1.3]\n"
    "#[StartTime: {start:.3f} (seconds since epoch)]\n"
    "#[BaseTime: {start:.3f} (seconds since epoch)]\n"
    "#[Values in microseconds; Interval_Max in milliseconds]\n"
    '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
)


def elapsed_ns(rows: pd.DataFrame, since: str) -> NDArray[np.int64]:
    """Nanoseconds from ``intended_ns`` or ``sent_ns`` to the end of every request that was sent."""
    sent = rows[rows["sent_ns"] > 0]
    elapsed: NDArray[np.int64] = sent["done_ns"].to_numpy(np.int64) - sent[since].to_numpy(np.int64)
    return elapsed


def pacer_lag_ns(rows: pd.DataFrame) -> NDArray[np.int64]:
    """How late the client was, nanoseconds, for every request of an open loop that was sent, in no order.

    A request that had to wait for a connection was not kept waiting by the client: one counts from the moment when it
    was due *and* the connection that it took had answered its request before.
    """
    sent = rows[rows["sent_ns"] > 0].sort_values(["worker", "connection", "sent_ns"])
    lag: NDArray[np.int64] = np.empty(len(sent), dtype=np.int64)
    if not len(sent):
        return lag
    done, due = sent["done_ns"].to_numpy(np.int64), sent["intended_ns"].to_numpy(np.int64)
    slot = sent[["worker", "connection"]].to_numpy(np.int64)
    same = (slot[1:] == slot[:-1]).all(axis=1)
    free = due.copy()
    free[1:][same] = np.maximum(due[1:], done[:-1])[same]
    lag[:] = np.maximum(0, sent["sent_ns"].to_numpy(np.int64) - free)
    return lag


def histogram(values_ns: NDArray[np.int64]) -> HdrHistogram:
    """The histogram of some durations, in microseconds; what is shorter or longer than its range counts at its end."""
    made = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    values_us, counts = np.unique(np.clip((values_ns + 500) // 1000, LOWEST_US, HIGHEST_US), return_counts=True)
    for value_us, count in zip(values_us.tolist(), counts.tolist(), strict=True):
        made.record_value(value_us, count)
    return made


def merged(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """One histogram of what several workers or processes recorded."""
    whole = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for part in histograms:
        whole.add(part)
    return whole


def by_worker(rows: pd.DataFrame, since: str) -> list[HdrHistogram]:
    """A histogram for each worker of a drive; ``since`` as for ``elapsed_ns``."""
    return [histogram(elapsed_ns(part, since)) for _, part in rows.groupby("worker", observed=True)]


def hlog(rows: pd.DataFrame, *, epoch_ns: int, epoch_unix_s: float) -> str:
    """A drive's rows as a histogram log. ``epoch_ns`` on the rows' clock was ``epoch_unix_s``, seconds since 1970."""
    sent = rows[rows["sent_ns"] > 0]
    if sent.empty:
        return _HEAD.format(start=epoch_unix_s)
    begin_ns = int(sent["intended_ns"].min())
    start_s = epoch_unix_s + (begin_ns - epoch_ns) / _NS
    second = (sent["done_ns"].to_numpy(np.int64) - begin_ns) // _NS
    lines = [_HEAD.format(start=start_s)]
    for number in np.unique(second).tolist():
        part = sent[second == number]
        length_s = min(1.0, (int(sent["done_ns"].max()) - begin_ns) / _NS - number)
        lines += [_line(name, number, length_s, merged(by_worker(part, since))) for name, since in _SINCE.items()]
    return "".join(lines)


def _line(tag: str, start_s: int, length_s: float, interval: HdrHistogram) -> str:
    payload: Any = interval.encode()
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{interval.get_max_value() / 1000:.3f},{payload.decode()}\n"
