"""From evidence to numbers: a case and some of its scenario runs in, ``Measured`` out.

Only the time of these runs counts, not the time between them. Counters are taken to grow evenly between two readings. A
tick of a sampler counts for the time since the tick before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.diagnose import aas, cpu
from rig.diagnose.numbers import (
    ClientNumbers,
    DatabaseNumbers,
    MachineNumbers,
    Measured,
    PoolNumbers,
    ServerNumbers,
    ServerProcess,
)
from rig.diagnose.strangers import Span, find_strangers
from rig.evidence.case import Case
from rig.evidence.pool_metrics import ACQUIRE_WAIT_S, ACQUIRED, CONNECTIONS_MAX, TIMEOUTS
from rig.evidence.sample_names import PG_ACTIVITY, PIDS, Role
from rig.evidence.samples import Samples
from rig.evidence.scenario_runs import ScenarioRun
from rig.stats import pacer_lag_ns, quantile

LEAST_S = 1.0
"""Shortest time of all trials of a scenario together. In less, samples are only noise."""
LEAST_LOOKS = 20
"""Fewest looks at the database: they give a share of a quarter to within ten points."""
LEAST_READINGS = 5
"""Fewest readings of processes: counters lose nothing, but a run begins and ends between two readings."""
HIDDEN_SHARE = 0.1
"""Largest share of sessions whose state the role may not see. With more, the rest is not representative."""
LEAST_ANSWERS = 5
"""Fewest answers on a connection, on average. With fewer, mean response times differ by chance."""
_SESSIONS_SINCE = 140000
_DISK_SLEEP = "D"


def measure(case: Case, scenario_runs: Sequence[ScenarioRun]) -> Measured:
    """The numbers of some scenario runs, all together."""
    rows = {scenario_run.scenario.label: case.rows_of(scenario_run) for scenario_run in scenario_runs}
    sent = [frame[frame["sent_ns"] > 0] for frame in rows.values()]
    spans = [Span(int(frame["sent_ns"].min()), int(frame["done_ns"].max())) for frame in sent if len(frame)]
    seconds = sum(span.seconds for span in spans)
    requests = sum(len(frame) for frame in sent)
    unseen: dict[str, str] = {}
    response_s = sum(float((frame["done_ns"] - frame["intended_ns"]).astype(float).sum()) / 1e9 for frame in sent)
    return Measured(
        scenario_runs=tuple(rows),
        seconds=seconds,
        requests=requests,
        in_flight=response_s / seconds if seconds else 0.0,
        client=_client(scenario_runs, sent, _delay(case.samples, spans)),
        database=_database(case.samples, spans, unseen),
        pool=_pool(case, spans, unseen),
        server=_server(case.samples, spans, requests, unseen),
        machine=_machine(case.samples, scenario_runs, spans, unseen),
        unseen=unseen,
    )


def _client(
    scenario_runs: Sequence[ScenarioRun], sent: Sequence[pd.DataFrame], without_core: float | None
) -> ClientNumbers | None:
    seconds = sum(float(frame["done_ns"].max() - frame["sent_ns"].min()) / 1e9 for frame in sent if len(frame))
    reports = [
        report for scenario_run in scenario_runs for report in scenario_run.present if report.wall_s > 0 and report.sent
    ]
    if not reports or not seconds:
        return None
    busiest = max(reports, key=lambda report: report.utilisation)
    lag_ns = np.concatenate([pacer_lag_ns(frame) for frame in sent])
    return ClientNumbers(
        workers=len({report.worker for report in reports}),
        busiest=busiest.worker,
        utilisation=busiest.utilisation,
        cores_allowed=busiest.cores_allowed,
        stalled=max(report.stalled_s / report.wall_s for report in reports),
        cores=sum(report.cpu_user_s + report.cpu_system_s for report in reports) / seconds,
        lag_p99_ms=quantile(lag_ns, 0.99) / 1e6 if len(lag_ns) else 0.0,
        late=float(lag_ns.sum()) / 1e9 / seconds,
        unevenness=_unevenness(sent),
        without_core=without_core,
        signing=busiest.signing,
    )


def _delay(samples: Samples, spans: Sequence[Span]) -> float | None:
    """The largest share of its time in which a load process waited for a core; None without samples."""
    rows = samples.pids[samples.pids["role"] == Role.CLIENT]
    if len(_within(rows.drop_duplicates("at_ns"), spans)) < LEAST_READINGS or rows["run_delay_s"].isna().any():
        return None
    return max(_process(pid, frame, spans).without_core for pid, frame in rows.groupby("pid"))


def _unevenness(sent: Sequence[pd.DataFrame]) -> float:
    ratios = []
    for frame in sent:
        response_ns = frame["done_ns"] - frame["sent_ns"]
        by_connection = response_ns.groupby([frame["worker"], frame["connection"]]).agg(["mean", "size"])
        means = by_connection["mean"]
        if len(means) and by_connection["size"].mean() >= LEAST_ANSWERS and (fastest := quantile(means, 0.1)) > 0:
            ratios.append(quantile(means, 0.9) / fastest)
    return max(ratios, default=1.0)


# --- the database ---


def _database(samples: Samples, spans: Sequence[Span], unseen: dict[str, str]) -> DatabaseNumbers | None:
    report = samples.report(PG_ACTIVITY)
    looks = _within(samples.sessions, spans)
    seconds = sum(span.seconds for span in spans)
    if report is None or looks.empty:
        unseen["database"] = "nobody looked at the database: switch the samplers on, with a DSN whose role may see it"
        return None
    if len(looks) < LEAST_LOOKS or seconds < LEAST_S:
        unseen["database"] = (
            f"the database was looked at {len(looks)} times in {seconds:.1f} s: make the scenario longer"
        )
        return None
    seen = looks[["active", "idle", "idle_in_transaction", "hidden"]].mean()
    if seen["hidden"] > HIDDEN_SHARE * max(seen.sum(), 1.0):
        unseen["database"] = "the states of other roles' sessions are hidden: GRANT pg_monitor to the role that samples"
        return None
    grown = _growth_by_counter(samples.counters[samples.counters["source"] == "pg_stat_database"], spans)
    commits = grown.get("xact_commit", 0.0)
    waits = aas.lock_waits(samples)
    waits = waits[waits["began_ns"].between(spans[0].start_ns, spans[-1].end_ns)]
    longest = waits.iloc[0] if len(waits) else None
    counts_sessions = int(report.facts.get("server_version") or 0) >= _SESSIONS_SINCE and bool(grown)
    return DatabaseNumbers(
        looks=len(looks),
        by_event=_mean_by_event(samples, spans),
        idle_in_transaction=float(seen["idle_in_transaction"]),
        connections=float(looks[["active", "idle", "idle_in_transaction"]].sum(axis=1).mean()),
        commits_per_s=commits / seconds,
        connects_per_s=grown.get("sessions", 0.0) / seconds if counts_sessions else None,
        longest_lock_wait_s=0.0 if longest is None else float(longest["waited_s"]),
        blocked_query="" if longest is None else str(longest["query"]),
        blocking_query="" if longest is None else str(longest["blocking_query"]),
    )


def _mean_by_event(samples: Samples, spans: Sequence[Span]) -> pd.Series[float]:
    parts = [aas.by_event(samples, span.start_ns, span.end_ns) * span.seconds for span in spans]
    total: pd.Series[float] = pd.concat(parts).groupby(level=0).sum() / sum(span.seconds for span in spans)
    return total.sort_values(ascending=False, kind="stable")


def _growth_by_counter(counters: pd.DataFrame, spans: Sequence[Span]) -> dict[str, float]:
    """By how much counters grew within the spans. A growth is spread evenly over the time since the look before."""
    looked_ns = np.sort(counters["at_ns"].unique()).astype(np.int64)
    if len(looked_ns) < 2:
        return {}
    since_ns = np.append(looked_ns[0] - int(np.median(np.diff(looked_ns))), looked_ns[:-1])
    inside_ns = sum(
        np.clip(np.minimum(looked_ns, span.end_ns) - np.maximum(since_ns, span.start_ns), 0, None) for span in spans
    )
    share = pd.Series(inside_ns / np.maximum(looked_ns - since_ns, 1), index=looked_ns)
    grown = (counters["delta"] * counters["at_ns"].map(share)).groupby(counters["counter"]).sum()
    return {str(name): float(value) for name, value in grown.items()}


# --- the pool ---


def _pool(case: Case, spans: Sequence[Span], unseen: dict[str, str]) -> PoolNumbers | None:
    frame = case.pool
    if frame.empty or not spans:
        unseen["pool"] = "the pool's own counters: name them in the profile's [probes.pool]"
        return None
    waited = _rate(frame, ACQUIRE_WAIT_S, spans)
    acquired = _rate(frame, ACQUIRED, spans)
    if waited is None:
        named = (frame["what"] == ACQUIRE_WAIT_S).any()
        unseen["pool"] = (
            "seconds waited for a connection were not read twice in a scenario: make it longer"
            if named
            else "seconds waited for a connection: name acquire_wait_seconds in the profile's [probes.pool]"
        )
        return None
    most = frame.loc[frame["what"] == CONNECTIONS_MAX, "value"]
    return PoolNumbers(
        connections_max=float(most.max()) if len(most) else None,
        waiting=waited,
        acquire_ms=waited / acquired * 1e3 if acquired else 0.0,
        timeouts=(_rate(frame, TIMEOUTS, spans) or 0.0) * sum(span.seconds for span in spans),
    )


def _rate(frame: pd.DataFrame, what: str, spans: Sequence[Span]) -> float | None:
    """By how much a counter grew each second, between the first and the last reading of a span.

    None where no span has two readings. The counter is read once a second: an interval that begins in the scenario run
    before may hold more waiting than the whole span.
    """
    rows = frame[frame["what"] == what]
    grown = seconds = 0.0
    for span in spans:
        inside = _within(rows, [span])
        if len(inside) >= 2:
            read = Span(int(inside["at_ns"].min()), int(inside["at_ns"].max()))
            grown += _column_growth(inside, "value", [read])
            seconds += read.seconds
    return grown / seconds if seconds else None


# --- server and machine ---


def _server(samples: Samples, spans: Sequence[Span], requests: int, unseen: dict[str, str]) -> ServerNumbers | None:
    rows = samples.pids[samples.pids["role"] == Role.SERVER]
    readings = _within(rows.drop_duplicates("at_ns"), spans)
    if rows.empty or not spans:
        unseen["server"] = "the target's processes were not found: give process_match in the profile"
        return None
    if len(readings) < LEAST_READINGS:
        unseen["server"] = f"the target's processes were read {len(readings)} times: make the scenario longer"
        return None
    serving = {int(pid) for span in spans for pid in cpu.spread(samples, span.start_ns, span.end_ns)["pid"]}
    chosen = rows[rows["pid"].isin(serving)]
    processes = [_process(pid, frame, spans) for pid, frame in chosen.groupby("pid")]
    written = [_column_growth(frame, "written_bytes", spans) for _, frame in rows.groupby("pid")]
    seen = bool((rows["written_bytes"] >= 0).all())
    cpu_s = sum(_column_growth(frame, "cpu_s", spans) for _, frame in rows.groupby("pid"))
    if not seen:
        unseen["written"] = "bytes that the target writes: its processes belong to another user"
    return ServerNumbers(
        processes=tuple(
            sorted(processes, key=lambda process: (-process.occupied_share, -process.on_core, process.pid))
        ),
        cpu_ms_per_request=cpu_s / requests * 1e3 if requests else 0.0,
        written_bytes_per_request=sum(written) / requests if seen and requests else None,
    )


def _process(pid: Any, frame: pd.DataFrame, spans: Sequence[Span]) -> ServerProcess:
    seconds = sum(span.seconds for span in spans)
    states = _within(frame, spans)["state"]
    return ServerProcess(
        pid=int(pid),
        on_core=_column_growth(frame, "cpu_s", spans) / seconds,
        without_core=_column_growth(frame.fillna({"run_delay_s": 0.0}), "run_delay_s", spans) / seconds,
        on_disk=float((states == _DISK_SLEEP).mean()) if len(states) else 0.0,
    )


def _machine(
    samples: Samples, scenario_runs: Sequence[ScenarioRun], spans: Sequence[Span], unseen: dict[str, str]
) -> MachineNumbers | None:
    seen = [
        (scenario_run.machine, scenario_run.elapsed_s)
        for scenario_run in scenario_runs
        if scenario_run.machine is not None and scenario_run.elapsed_s > 0
    ]
    if not seen:
        unseen["machine"] = "nobody watched the machine while the scenario ran"
        return None
    total_s = sum(seconds for _, seconds in seen)

    def mean(values: Sequence[float]) -> float:
        return sum(value * seconds for value, (_, seconds) in zip(values, seen, strict=True)) / total_s

    cores = float(len(seen[0][0].cores_busy))
    report = samples.report(PIDS)
    quota = report.facts.get("quota_cores") if report is not None else None
    usable = min(cores, float(quota)) if quota else cores
    strangers = find_strangers(samples, spans)
    return MachineNumbers(
        cores=usable,
        busy=min(1.0, mean([machine.busy for machine, _ in seen]) * cores / usable) if usable else 0.0,
        steal=mean([machine.steal for machine, _ in seen]),
        throttled=sum(machine.throttled_s for machine, _ in seen) / total_s,
        foreign=strangers.share if strangers else None,
        strangers=str(strangers) if strangers else "",
    )


# --- arithmetic ---


def _within(frame: pd.DataFrame, spans: Sequence[Span]) -> pd.DataFrame:
    at_ns = frame["at_ns"].to_numpy(np.int64)
    inside: NDArray[np.bool_] = np.zeros(len(frame), dtype=bool)
    for span in spans:
        inside |= (at_ns >= span.start_ns) & (at_ns <= span.end_ns)
    return frame[inside]


def _column_growth(frame: pd.DataFrame, column: str, spans: Sequence[Span]) -> float:
    return _growth(frame["at_ns"].to_numpy(np.int64), frame[column].to_numpy(float), spans)


def _growth(at_ns: NDArray[np.int64], counter: NDArray[np.float64], spans: Sequence[Span]) -> float:
    """By how much a cumulative counter grew within the spans, linear between the readings."""
    upward = np.cumsum(np.maximum(np.diff(counter, prepend=counter[:1]), 0.0))  # a counter that falls was reset
    return float(sum(np.diff(np.interp([span.start_ns, span.end_ns], at_ns, upward))[0] for span in spans))
