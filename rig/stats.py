"""Latencies in numbers: the rig's one quantile, and HdrHistograms for other tools.

Gates, reports, plots, comparisons and notebooks all take a figure such as ``response_p95_ms`` from ``latency_figures``,
which reads the rows themselves. So one pack shows one value for it, wherever it is printed.

Histograms are an export only. Each worker has one, ``merge_histograms`` adds them up, and ``hlog`` writes the standard
log that HdrHistogram's own tools read: an interval a second, tagged ``response`` or ``service``, values in microseconds
with three significant digits. They count an unanswered request with the time that was waited for it.
Frames have the columns of ``rig.evidence.history``.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, nan
from typing import Any

import numpy as np
import pandas as pd
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US, HIGHEST_US, DIGITS = 1, 3_600_000_000, 3
"""From a microsecond to an hour, three significant digits."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
"""The quantiles that the rig reports, by the word that stands in a figure's name."""
_SINCE = {"response": "intended_ns", "service": "sent_ns"}
_NS = 1_000_000_000
_HEAD = (
    "#[Histogram log format version 1.3]\n"
    "#[StartTime: {start:.3f} (seconds since epoch)]\n"
    "#[BaseTime: {start:.3f} (seconds since epoch)]\n"
    "#[Values in microseconds; Interval_Max in milliseconds]\n"
    '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
)


def quantile(values: NDArray[np.float64] | pd.Series[float], share: float) -> float:
    """The nearest-rank quantile: of n values in order, the one at rank ``ceil(share * n)``; NaN of no values.

    It is always one of the values, so infinite ones need no special case. Hyndman and Fan, Sample Quantiles in
    Statistical Packages, The American Statistician 50:4, 1996, call it definition 1 (``inverted_cdf`` in numpy).
    """
    if not len(values):
        return nan
    rank = max(1, ceil(round(share * len(values), 6)))  # rounded: 0.07 * 100 is 7.000000000000001
    return float(np.partition(np.asarray(values, dtype=np.float64), rank - 1)[rank - 1])


def quantile_figures(name: str, values_ms: NDArray[np.float64] | pd.Series[float]) -> dict[str, float]:
    """``NAME_p50_ms``, ``_p95_ms``, ``_p99_ms`` and ``_max_ms`` of some durations, rounded to the microsecond."""
    return {f"{name}_{word}_ms": round(quantile(values_ms, share), 3) for word, share in QUANTILES.items()}


def response_ms(rows: pd.DataFrame) -> NDArray[np.float64]:
    """From when each request was due to its answer. One without an answer, skipped ones too, counts as infinite."""
    return _until_answer_ms(rows, "intended_ns")


def service_ms(rows: pd.DataFrame) -> NDArray[np.float64]:
    """From when each request was sent to its answer, of those that were sent; infinite where there is no answer."""
    return _until_answer_ms(rows[rows["sent_ns"] > 0], "sent_ns")


def latency_figures(rows: pd.DataFrame) -> dict[str, float]:
    """``response_p50_ms`` … ``service_max_ms`` of a scenario run's rows; NaN where there are no rows."""
    return {**quantile_figures("response", response_ms(rows)), **quantile_figures("service", service_ms(rows))}


def _until_answer_ms(rows: pd.DataFrame, since: str) -> NDArray[np.float64]:
    elapsed = (rows["done_ns"].to_numpy(np.int64) - rows[since].to_numpy(np.int64)) / 1e6
    return np.asarray(np.where(rows["status"].to_numpy() > 0, elapsed, np.inf), dtype=np.float64)


def elapsed_ns(rows: pd.DataFrame, since: str) -> NDArray[np.int64]:
    """Nanoseconds from ``intended_ns`` or ``sent_ns`` to the end of every request that was sent.

    The end is the answer, or the moment when the rig gave the request up.
    """
    sent = rows[rows["sent_ns"] > 0]
    elapsed: NDArray[np.int64] = sent["done_ns"].to_numpy(np.int64) - sent[since].to_numpy(np.int64)
    return elapsed


def pacer_lag_ns(rows: pd.DataFrame) -> NDArray[np.int64]:
    """How late the client sent each request of an open loop, nanoseconds, in no order.

    A request that waits for a busy connection is not late by the client's fault. Its lag therefore counts from the
    moment when it was due and its connection had answered the request before.
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
    """The histogram of some durations, in microseconds; durations outside its range count at its ends."""
    made = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    values_us, counts = np.unique(np.clip((values_ns + 500) // 1000, LOWEST_US, HIGHEST_US), return_counts=True)
    for value_us, count in zip(values_us.tolist(), counts.tolist(), strict=True):
        made.record_value(value_us, count)
    return made


def merge_histograms(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """One histogram of what several workers or processes recorded."""
    whole = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for part in histograms:
        whole.add(part)
    return whole


def by_worker(rows: pd.DataFrame, since: str) -> list[HdrHistogram]:
    """A histogram for each worker of a scenario run; ``since`` as for ``elapsed_ns``."""
    return [histogram(elapsed_ns(part, since)) for _, part in rows.groupby("worker", observed=True)]


def hlog(rows: pd.DataFrame, *, epoch_ns: int, epoch_unix_s: float) -> str:
    """A scenario run's rows as a log. ``epoch_ns`` on their clock was ``epoch_unix_s``, seconds since 1970."""
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
        lines += [
            _line(name, number, length_s, merge_histograms(by_worker(part, since))) for name, since in _SINCE.items()
        ]
    return "".join(lines)


def _line(tag: str, start_s: int, length_s: float, interval: HdrHistogram) -> str:
    payload: Any = interval.encode()
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{interval.get_max_value() / 1000:.3f},{payload.decode()}\n"
