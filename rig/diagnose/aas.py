"""Average active sessions: how many sessions worked or waited at a time, by what they waited for. Pure.

A tick counts for the time since the tick before, so a missed tick changes nothing. The sum over all events is the mean
number of active sessions. A share of samples would not do: one waiting session of one and thirty of thirty have the
same share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.evidence.sample_names import FOREGROUND, IDLE_IN_TRANSACTION
from rig.evidence.samples import Samples

ON_CPU = "CPU"
"""The event of a session that waits for nothing."""
_LONGEST_WEIGHT_S = 0.5
"""The longest time that a tick may count for. Nothing is known about a longer gap."""
_SAME_WAIT_S = 0.1


def by_event(samples: Samples, start_ns: int | None = None, end_ns: int | None = None) -> pd.Series[float]:
    """Average active sessions by event (``IO:WalSync``, ``CPU``), the largest first; empty without samples."""
    weights = _weights(samples, start_ns, end_ns)
    total_s = float(weights.sum())
    if not total_s:
        return pd.Series(dtype=float)
    active, seconds = _weigh(samples, weights)
    by_name: pd.Series[float] = seconds.groupby(active["event"]).sum() / total_s
    return by_name[by_name > 0].sort_values(ascending=False)


def over_time(samples: Samples, edges_ns: NDArray[np.int64]) -> pd.DataFrame:
    """The same in bins: a row per bin of ``edges_ns`` (bins + 1), a column per event; NaN without samples."""
    weights = _weights(samples, None, None)
    bins = len(edges_ns) - 1
    looked_s = _histogram(weights.index.to_numpy(np.int64), weights.to_numpy(), edges_ns)
    active, seconds = _weigh(samples, weights)
    columns = {
        str(name): _histogram(rows.to_numpy(np.int64), seconds[rows.index].to_numpy(), edges_ns)
        for name, rows in active.groupby("event")["at_ns"]
    }
    frame = pd.DataFrame(columns, index=range(bins))
    return frame.div(pd.Series(np.where(looked_s > 0, looked_s, np.nan)), axis=0)


def idle_in_transaction_s(samples: Samples, start_ns: int | None = None, end_ns: int | None = None) -> float:
    """Seconds that sessions were idle in an open transaction, summed over the sessions."""
    weights = _weights(samples, start_ns, end_ns)
    idle = samples.sessions.set_index("at_ns")["idle_in_transaction"].reindex(weights.index)
    return float((idle * weights).sum())


def lock_waits(samples: Samples) -> pd.DataFrame:
    """Every wait for a lock that was seen: one row each, the longest first.

    Columns: ``pid, began_ns, waited_s`` (at least so long), ``blocking_pid, locktype, mode, relation, query,
    blocking_query, blocking_state, blocking_application_name``.
    """
    rows = samples.blocking.sort_values(["pid", "at_ns"], kind="stable")
    began_ns = rows["at_ns"] - (rows["waited_s"].fillna(0) * 1e9).astype("int64")
    new = (rows["pid"] != rows["pid"].shift()) | ((began_ns - began_ns.shift()).abs() > _SAME_WAIT_S * 1e9)
    waits = rows.assign(began_ns=began_ns, wait=new.cumsum()).sort_values("waited_s").groupby("wait").last()
    columns = ["pid", "began_ns", "waited_s", "blocking_pid", "locktype", "mode", "relation", "query", "blocking_query"]
    waits = waits[[*columns, "blocking_state", "blocking_application_name"]]
    return waits.sort_values("waited_s", ascending=False).reset_index(drop=True)


def _weigh(samples: Samples, weights: pd.Series[float]) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Rows of active sessions with their event, and the seconds that each row stands for.

    A session that is idle in a transaction is not active.
    """
    activity = samples.activity
    at_work = activity["backend_type"].isin(FOREGROUND) & ~activity["state"].isin(IDLE_IN_TRANSACTION)
    rows = activity.loc[at_work, ["at_ns", "wait_event_type", "wait_event"]]
    event = rows["wait_event_type"] + ":" + rows["wait_event"]
    return rows.assign(event=event.where(rows["wait_event"] != "", ON_CPU)), rows["at_ns"].map(weights).fillna(0.0)


def _weights(samples: Samples, start_ns: int | None, end_ns: int | None) -> pd.Series[float]:
    """Seconds that each tick counts for, by ``at_ns``, within [start_ns, end_ns)."""
    at_ns = samples.sessions["at_ns"].drop_duplicates().to_numpy(np.int64)
    if not len(at_ns):
        return pd.Series(dtype=float)
    since_s = np.diff(at_ns) / 1e9
    first_s = float(np.median(since_s)) if len(since_s) else _LONGEST_WEIGHT_S
    weights = pd.Series(np.minimum(np.append(first_s, since_s), _LONGEST_WEIGHT_S), index=at_ns)
    inside = (at_ns >= (start_ns or 0)) & (at_ns < (end_ns if end_ns is not None else np.iinfo(np.int64).max))
    return weights[inside]


def _histogram(at_ns: NDArray[np.int64], values: NDArray[Any], edges_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.histogram(at_ns, bins=edges_ns, weights=values)[0]
