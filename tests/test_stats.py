"""Histograms against the rows that they are made of, and the lag of a pacer that must not be blamed for its target."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, inf, isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rig.stats import (
    DIGITS,
    HIGHEST_US,
    LOWEST_US,
    by_worker,
    elapsed_ns,
    histogram,
    hlog,
    latency_figures,
    merge_histograms,
    pacer_lag_ns,
    quantile,
)

S, MS, US = 1_000_000_000, 1_000_000, 1_000
QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)


def rows(*requests: tuple[int, int, int, int, int]) -> pd.DataFrame:
    """Rows of (worker, connection, intended, sent, done) in nanoseconds; sent 0 is one that was skipped."""
    return pd.DataFrame(requests, columns=["worker", "connection", "intended_ns", "sent_ns", "done_ns"])


@given(st.lists(st.floats(0, 1e6) | st.just(inf), min_size=1), st.sampled_from(["0.5", "0.07", "0.95", "0.99", "1"]))
def test_a_quantile_is_the_value_at_the_nearest_rank(values: list[float], share: str) -> None:
    """Hyndman and Fan's definition 1, in exact arithmetic."""
    rank = ceil(Fraction(share) * len(values))
    assert quantile(np.array(values), float(share)) == sorted(values)[rank - 1]


def test_nothing_has_no_quantile() -> None:
    assert isnan(quantile(np.array([]), 0.5))


def test_a_request_without_an_answer_has_no_time_that_ends() -> None:
    frame = rows((0, 0, S, S, 2 * S), (0, 1, S, 2 * S, 5 * S), (0, 2, S, 0, 0)).assign(status=[200, 0, 0])
    figures = latency_figures(frame)
    assert (figures["response_p50_ms"], figures["response_max_ms"]) == (inf, inf)
    assert (figures["service_p50_ms"], figures["service_max_ms"]) == (1000.0, inf)  # skipped: it was never sent


def exact(values: NDArray[np.int64], percentile: float) -> float:
    """The value at the rank that a histogram counts to."""
    return float(np.sort(values)[max(1, int(percentile / 100 * len(values) + 0.5)) - 1])


def near(value_us: float, value_ns: float) -> bool:
    """True when a histogram's value is the exact one to three significant digits, and to its own microsecond."""
    return abs(value_us - max(value_ns / US, LOWEST_US)) <= max(1.0, 1e-3 * value_us)


@given(st.lists(st.integers(0, 3_500 * S), min_size=1, max_size=200))
def test_a_histogram_says_what_the_rows_say(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    made = histogram(array)
    assert made.get_total_count() == len(values)
    for percentile in QUANTILES:
        assert near(made.get_value_at_percentile(percentile), exact(array, percentile))


def test_what_does_not_fit_counts_at_the_end_of_the_range() -> None:
    made = histogram(np.array([0, 7200 * S], dtype=np.int64))
    assert made.get_total_count() == 2
    assert made.get_min_value() == LOWEST_US
    assert made.get_value_at_percentile(100) == pytest.approx(HIGHEST_US, rel=10**-DIGITS)


def of_workers(count: int = 5_000) -> pd.DataFrame:
    """Three workers of very different latencies; percentiles of percentiles would be far off."""
    rng = np.random.default_rng(1)
    sent = np.sort(rng.integers(S, 4 * S, count))
    worker = rng.integers(0, 3, count)
    service = (rng.lognormal(0, 0.7, count) * (10.0**worker) * MS).astype(np.int64)
    lag = rng.integers(0, 50 * US, count)
    return pd.DataFrame(
        {"worker": worker, "connection": 0, "intended_ns": sent - lag, "sent_ns": sent, "done_ns": sent + service}
    )


@pytest.mark.parametrize("since", ["intended_ns", "sent_ns"])
def test_histograms_of_workers_merge_to_the_quantiles_of_all_rows(since: str) -> None:
    frame = of_workers()
    parts = by_worker(frame, since)
    assert len(parts) == 3
    whole = merge_histograms(parts)
    assert whole.get_total_count() == len(frame)
    for percentile in QUANTILES:
        assert near(whole.get_value_at_percentile(percentile), exact(elapsed_ns(frame, since), percentile))


def test_a_log_is_read_by_the_standard_reader_and_holds_every_request(tmp_path: Path) -> None:
    frame = of_workers()
    frame.loc[:9, "sent_ns"] = 0  # skipped: in no histogram
    file = tmp_path / "drive.hlog"
    file.write_text(hlog(frame, epoch_ns=0, epoch_unix_s=1_800_000_000.0))
    sent = frame[frame["sent_ns"] > 0]
    totals = {tag: HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS) for tag in ("response", "service")}
    reader = HistogramLogReader(str(file), HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS))
    starts = []
    while (interval := reader.get_next_interval_histogram()) is not None:
        totals[interval.get_tag()].add(interval)
        starts.append(interval.get_start_time_stamp())
    reader.close()
    assert starts == sorted(starts)
    assert len(starts) > 4
    for tag, since in (("response", "intended_ns"), ("service", "sent_ns")):
        assert totals[tag].get_total_count() == len(sent)
        for percentile in QUANTILES:
            assert near(totals[tag].get_value_at_percentile(percentile), exact(elapsed_ns(sent, since), percentile))


def test_a_log_of_nothing_is_a_log() -> None:
    lines = hlog(rows((0, 0, S, 0, 0)), epoch_ns=0, epoch_unix_s=1.0).splitlines()
    assert lines[0] == "#[Histogram log format version 1.3]"
    assert not [line for line in lines if line.startswith("Tag")]


@pytest.mark.parametrize(
    ("requests", "lags"),
    [
        # Sent when due; sent late by an idle client.
        ([(0, 0, 1 * MS, 1 * MS, 2 * MS)], [0]),
        ([(0, 0, 1 * MS, 4 * MS, 5 * MS)], [3 * MS]),
        # The second was due at 2 ms, but its connection was busy until 9: only what follows is the client's.
        ([(0, 0, 1 * MS, 1 * MS, 9 * MS), (0, 0, 2 * MS, 10 * MS, 11 * MS)], [0, 1 * MS]),
        # Another connection's business, or another worker's, excuses nothing.
        ([(0, 0, 1 * MS, 1 * MS, 9 * MS), (0, 1, 2 * MS, 10 * MS, 11 * MS)], [0, 8 * MS]),
        ([(0, 0, 1 * MS, 1 * MS, 9 * MS), (1, 0, 2 * MS, 10 * MS, 11 * MS)], [0, 8 * MS]),
        # What was never sent has no lag.
        ([(0, 0, 1 * MS, 0, 0)], []),
        ([], []),
    ],
)
def test_the_pacers_lag_leaves_out_the_wait_for_a_connection(
    requests: list[tuple[int, int, int, int, int]], lags: list[int]
) -> None:
    assert sorted(pacer_lag_ns(rows(*requests)).tolist()) == sorted(lags)
