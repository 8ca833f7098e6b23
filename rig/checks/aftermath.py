"""What came of each fault of S11: when requests failed, when the first good answer came, when the rate was back. Pure.

Times are seconds from the strike of the fault, or from its healing where the name says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.diagnose.strangers import Span, find_strangers, merge_spans
from rig.evidence.case import Case
from rig.evidence.chaos import S11, SOON_NS, ChaosReport, FaultRecord
from rig.evidence.history import was_skipped
from rig.evidence.truth import DiscrepancyKind
from rig.model import Outcome

CROWDED = 0.2
"""Share of the machine. Others who hold less do not explain that a request waits in vain until its timeout."""
RATE_SHARE = 0.9
"""The rate is back once so much of the former one is answered well."""
_SPAN_NS = 250_000_000
"""Over so long a rate is counted."""
_STEP_NS = 25_000_000
_LOOKED_AT = 1000
"""Requests whose time is looked at; more would cost more than they tell."""
_WARM_NS = 500_000_000
"""The first half second of a load says nothing about its rate."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What came of one fault until the next, or the end of the load. NaN: it did not happen.

    ``first_good_s`` and ``back_s`` count from the healing: the first good answer, and the former rate. Both look at the
    attempts that were sent after the healing, of which there were ``tried_after``: an answer that the fault only held
    back shows nothing about what comes later. For so long after the healing a good answer (``watched_s``) and the rate
    (``rate_watched_s``, NaN where the former one is not known) could be seen. ``unexcused`` attempts failed although
    nothing was broken any more.
    """

    record: FaultRecord
    attempts: int
    failed: int
    first_failure_s: float
    last_failure_s: float
    first_good_s: float
    back_s: float
    tried_after: int
    watched_s: float
    rate_watched_s: float
    lost: int
    doubled: int
    unexcused: int


def attempts_of(case: Case) -> pd.DataFrame:
    """The attempts of S11 that the rig tried to make."""
    rows = case.history[case.history["scenario"] == S11]
    return rows[~was_skipped(rows)]


def describe_neighbours(case: Case, spans: Sequence[Span]) -> str:
    """Who else held much of the machine within the spans, in words; empty where nobody did or it is not known."""
    strangers = find_strangers(case.samples, merge_spans(spans)) if spans else None
    if strangers is None or strangers.share < CROWDED:
        return ""
    return f"the machine was busy: {strangers}: try again on a quiet one"


def waits_of(rows: pd.DataFrame) -> list[Span]:
    """When these requests waited; of many the first, which is enough to see who else was there."""
    return [Span(sent, done) for sent, done in rows[["sent_ns", "done_ns"]].head(_LOOKED_AT).itertuples(index=False)]


def was_broken(case: Case, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which attempts fell into a time in which the rig had broken something, or in the grace after it."""
    begun, ended = rows["intended_ns"].to_numpy(np.int64), rows["done_ns"].to_numpy(np.int64)
    broken = np.zeros(len(rows), dtype=bool)
    for since_ns, until_ns in case.chaos.windows(grace_s(case)) if case.chaos is not None else ():
        broken |= (ended >= since_ns) & (begun <= until_ns)
    return broken


def grace_s(case: Case) -> float:
    """How long after a healing attempts are excused: the timeout of a request, or what the profile allows."""
    timeout_s = max((run.scenario.timeout_s for run in case.scenario_runs_of(S11)), default=0.0)
    return max(timeout_s, (case.profile.get("faults") or {}).get("recovery_s") or 0.0)


def aftermaths(case: Case) -> tuple[Aftermath, ...]:
    """One for each fault that struck, in their order; none where nothing was sent."""
    rows = attempts_of(case)
    if case.chaos is None or not case.chaos.struck or rows.empty:
        return ()
    good_ns = np.sort(rows.loc[rows["outcome"] == Outcome.ACKNOWLEDGED, "done_ns"].to_numpy(np.int64))
    struck = case.chaos.struck
    ends = [later.strike_begun_ns for later in struck[1:]] + [_end_of_load(rows)]
    usual = _usual_rate(rows, good_ns, struck[0].strike_begun_ns)
    acknowledged = first_acknowledgements(rows)
    is_unexcused = (rows["outcome"] != Outcome.ACKNOWLEDGED) & ~was_broken(case, rows)
    last_healed = np.searchsorted([record.healed_ns for record in struck], rows.loc[is_unexcused, "intended_ns"]) - 1
    unexcused = np.bincount(last_healed[last_healed >= 0], minlength=len(struck))
    return tuple(
        _aftermath(record, end_ns, rows, usual, (*_wrong_near(case.chaos, record, end_ns, acknowledged), late))
        for record, end_ns, late in zip(struck, ends, unexcused.tolist(), strict=True)
    )


def rank_faults(found: Sequence[Aftermath]) -> list[FaultRecord]:
    """The faults, those first near which most went wrong: wrong events, no good answer again, failed attempts.

    Attempts that failed although nothing was broken any more count first.
    """

    def wrongs(each: Aftermath) -> tuple[int, bool, int, int]:
        return each.lost + each.doubled, math.isnan(each.first_good_s), each.unexcused, each.failed

    return [each.record for each in sorted(found, key=wrongs, reverse=True)]


def first_acknowledgements(rows: pd.DataFrame) -> pd.Series[int]:
    """When each acknowledged event was acknowledged first (``done_ns``), by the number of its request."""
    good = rows[rows["outcome"] == Outcome.ACKNOWLEDGED]
    return good.groupby("seq")["done_ns"].min()


def _end_of_load(rows: pd.DataFrame) -> int:
    """When the last event was due for the first time: later there are only events that are sent again."""
    first = rows.loc[rows["attempt"] == 1, "intended_ns"]
    return int(first.max()) + 1 if len(first) else 0


def _usual_rate(rows: pd.DataFrame, good_ns: NDArray[np.int64], until_ns: int) -> float:
    """Good answers a second before anything was broken; NaN where nothing was seen."""
    if rows.empty:
        return math.nan
    since_ns = int(rows["intended_ns"].min()) + _WARM_NS
    count = int(np.searchsorted(good_ns, until_ns) - np.searchsorted(good_ns, since_ns))
    return count / ((until_ns - since_ns) / 1e9) if until_ns > since_ns and count else math.nan


def _aftermath(
    record: FaultRecord, end_ns: int, rows: pd.DataFrame, usual: float, wrong: tuple[int, int, int]
) -> Aftermath:
    near = rows[(rows["done_ns"] >= record.strike_begun_ns) & (rows["intended_ns"] < max(end_ns, record.healed_ns))]
    failed = near.loc[near["outcome"] != Outcome.ACKNOWLEDGED, "done_ns"]
    # After the end of the load there are still the events that are sent again.
    last_ns = int(rows["done_ns"].max()) if end_ns >= _end_of_load(rows) else end_ns
    after = rows[(rows["sent_ns"] > record.healed_ns) & (rows["done_ns"] <= last_ns)]
    is_good = after["outcome"] == Outcome.ACKNOWLEDGED
    good_ns, failed_ns = (np.sort(after.loc[chosen, "done_ns"].to_numpy(np.int64)) for chosen in (is_good, ~is_good))
    return Aftermath(
        record,
        len(near),
        len(failed),
        (int(failed.min()) - record.strike_begun_ns) / 1e9 if len(failed) else math.nan,
        (int(failed.max()) - record.strike_begun_ns) / 1e9 if len(failed) else math.nan,
        (int(good_ns[0]) - record.healed_ns) / 1e9 if len(good_ns) else math.nan,
        _back_s(good_ns, failed_ns, record.healed_ns, end_ns, usual),
        len(after),
        (last_ns - record.healed_ns) / 1e9,
        math.nan if math.isnan(usual) else (end_ns - _SPAN_NS - record.healed_ns) / 1e9,
        *wrong,
    )


def _back_s(
    good_ns: NDArray[np.int64], failed_ns: NDArray[np.int64], healed_ns: int, end_ns: int, usual: float
) -> float:
    """From the healing to the first quarter of a second in which nearly as much was answered as before, and nearly all.

    It begins with a good answer or later: before the first one no rate is back, though many may come at once after it.
    What is sent again makes up the number of answers; so that alone shows nothing.
    """
    if not len(good_ns):
        return math.nan
    begins = np.arange(good_ns[0], end_ns - _SPAN_NS, _STEP_NS, dtype=np.int64)
    good, failed = (
        np.searchsorted(at_ns, begins + _SPAN_NS) - np.searchsorted(at_ns, begins) for at_ns in (good_ns, failed_ns)
    )
    is_back = (good >= RATE_SHARE * usual * _SPAN_NS / 1e9) & (good >= RATE_SHARE * (good + failed))
    reached = np.flatnonzero(is_back)
    return float(begins[reached[0]] - healed_ns) / 1e9 if len(reached) else math.nan


def _wrong_near(chaos: ChaosReport, record: FaultRecord, end_ns: int, acknowledged: pd.Series[int]) -> tuple[int, int]:
    """How many events that were acknowledged near a fault are lost, and how many are there twice."""
    since_ns = record.strike_begun_ns - SOON_NS
    near = acknowledged[(acknowledged >= since_ns) & (acknowledged < end_ns)].index
    kinds = [each.kind for each in chaos.wrong if each.seq in near]
    return kinds.count(DiscrepancyKind.LOST), kinds.count(DiscrepancyKind.DUPLICATED)
