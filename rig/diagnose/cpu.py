"""CPU time by process and by role, within a window of the run. Pure.

A process's counters are cumulative, so no CPU time between two ticks is lost. The time after a process's last tick, and
all the time of a process that lived between two ticks, is in the counter of its parent for children that it waited for.
What this counter has beyond the children that were seen is booked under the role of the children.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.evidence.sample_names import PIDS, Role
from rig.evidence.samples import Samples
from rig.evidence.scenario_runs import Interval

UNSEEN_PID = 0
"""The pid of all processes of a role that ended before they were seen."""


@dataclass(frozen=True, slots=True)
class MachineUse:
    """The machine within a window: average busy cores (without steal), shares of all time, seconds throttled."""

    cores: float
    busy_cores: float
    iowait: float
    steal: float
    throttled_s: float


def by_process(samples: Samples, start_ns: int, end_ns: int) -> pd.DataFrame:
    """CPU seconds of each process within a window: ``pid, role, cpu_s``, the largest first."""
    processes = _by_process(samples)
    rows = [*_own(processes, start_ns, end_ns), *_reaped_unseen(samples, processes, start_ns, end_ns)]
    frame = pd.DataFrame(rows, columns=["pid", "role", "cpu_s"])
    return frame.sort_values("cpu_s", ascending=False).reset_index(drop=True)


def by_role(samples: Samples, start_ns: int, end_ns: int) -> pd.Series[float]:
    """Average cores that each role used, the largest first. ``Role.OTHER`` is the rest of the busy machine."""
    seconds = (end_ns - start_ns) / 1e9
    cores: pd.Series[float] = by_process(samples, start_ns, end_ns).groupby("role")["cpu_s"].sum() / seconds
    whole = machine(samples, start_ns, end_ns)
    if whole is not None:
        cores[Role.OTHER] = max(0.0, whole.busy_cores - float(cores.sum()))
    return cores.sort_values(ascending=False)


def machine(samples: Samples, start_ns: int, end_ns: int) -> MachineUse | None:
    """What the machine did; None without samples."""
    frame = samples.machine
    seconds = (end_ns - start_ns) / 1e9
    if len(frame) < 2 or seconds <= 0:
        return None
    at_ns = frame["at_ns"].to_numpy(np.int64)
    grown = {name: _growth(at_ns, frame[name].to_numpy(), start_ns, end_ns) for name in frame.columns.drop("at_ns")}
    total_s = sum(grown[name] for name in ("user_s", "system_s", "idle_s", "iowait_s", "steal_s"))
    busy_s = grown["user_s"] + grown["system_s"]
    share = 1 / total_s if total_s else 0.0
    report = samples.report(PIDS)
    cores = float(report.facts.get("cores") or 0) if report is not None else 0.0
    cores = cores or round(total_s / seconds)
    return MachineUse(
        cores=cores,
        busy_cores=busy_s * share * cores,
        iowait=grown["iowait_s"] * share,
        steal=grown["steal_s"] * share,
        throttled_s=grown["throttled_s"],
    )


def interval(samples: Samples, start_ns: int, end_ns: int) -> Interval | None:
    """The machine within a window as a scenario run has it, each core at the mean of all; None without samples."""
    use = machine(samples, start_ns, end_ns)
    if use is None:
        return None
    cores = max(1, round(use.cores))
    return Interval((use.busy_cores / use.cores,) * cores, use.steal, use.throttled_s)


def over_time(samples: Samples, edges_ns: NDArray[np.int64]) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Average cores that each process used in each bin (shape (bins,)), by role and pid."""
    seconds = np.diff(edges_ns) / 1e9
    return {
        (process.role, process.pid): np.diff(np.interp(edges_ns, process.at_ns, process.own_s)) / seconds
        for process in _by_process(samples)
    }


def spread(samples: Samples, start_ns: int, end_ns: int) -> pd.DataFrame:
    """The server's processes, busiest first: ``pid, cpu_s, connections`` (the most at a time).

    Where connections could be seen, processes without any (a supervisor) are left out; else ``connections`` is NaN.
    """
    server = by_process(samples, start_ns, end_ns)
    server = server[(server["role"] == Role.SERVER) & (server["pid"] != UNSEEN_PID)][["pid", "cpu_s"]]
    seen = samples.sockets
    seen = seen[(seen["at_ns"] >= start_ns) & (seen["at_ns"] <= end_ns)]
    most = seen.groupby("pid")["established"].max()
    server = server.assign(connections=server["pid"].map(most).astype(float))
    if most.gt(0).any():
        server = server[server["connections"] > 0]
    return server.reset_index(drop=True)


@dataclass(frozen=True, slots=True)
class _Counters:
    """A process over time, from its start: CPU seconds of its own, and of children that it waited for."""

    pid: int
    role: str
    at_ns: NDArray[np.int64]
    own_s: NDArray[np.float64]
    reaped_s: NDArray[np.float64]
    last_ns: int
    """Its last tick."""


def _own(processes: list[_Counters], start_ns: int, end_ns: int) -> Iterator[tuple[int, str, float]]:
    for process in processes:
        cpu_s = _growth(process.at_ns, process.own_s, start_ns, end_ns)
        if cpu_s or process.last_ns >= start_ns:
            yield process.pid, process.role, cpu_s


def _reaped_unseen(
    samples: Samples, processes: list[_Counters], start_ns: int, end_ns: int
) -> Iterator[tuple[int, str, float]]:
    """CPU seconds of ended children in their parents' counters that no tick of a child has shown."""
    if not processes:
        return
    counted = _counted_below(samples, start_ns, end_ns)
    for process in processes:
        unseen_s = _growth(process.at_ns, process.reaped_s, start_ns, end_ns) - counted.get(process.pid, 0.0)
        if unseen_s > 0:
            role = Role.BACKEND if process.role == Role.AUXILIARY else process.role
            yield UNSEEN_PID, role, unseen_s


def _counted_below(samples: Samples, start_ns: int, end_ns: int) -> dict[int, float]:
    """CPU seconds that were seen of each process's descendants that ended in the window."""
    last = samples.pids.groupby("pid").last()
    over = last[last["at_ns"] < samples.pids["at_ns"].max()]
    over = over[(over["at_ns"] >= start_ns) & (over["at_ns"] <= end_ns)]
    own_s, reaped_s = over["cpu_s"].to_dict(), (over["reaped_user_s"] + over["reaped_system_s"]).to_dict()
    below: dict[int, float] = {}
    # A child starts after its parent. With the youngest first, all descendants come before their process.
    family = samples.processes[samples.processes["pid"].isin(over.index)].drop_duplicates("pid", keep="last")
    family = family.sort_values(["started_ns", "pid"], ascending=False)
    for pid, ppid in zip(family["pid"].tolist(), family["ppid"].tolist(), strict=True):
        below[ppid] = below.get(ppid, 0.0) + own_s[pid] + max(reaped_s[pid], below.get(pid, 0.0))
    return below


def _by_process(samples: Samples) -> list[_Counters]:
    """The counters of each process and role."""
    frame = samples.pids
    if frame.empty:
        return []
    born = _births(samples)
    number = frame.groupby(["pid", "role"], sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    at_ns, pid, role = (frame[name].to_numpy()[order] for name in ("at_ns", "pid", "role"))
    own_s = frame["cpu_s"].to_numpy()[order]
    reaped_s = (frame["reaped_user_s"] + frame["reaped_system_s"]).to_numpy()[order]
    bounds = [0, *(np.flatnonzero(np.diff(number[order])) + 1).tolist(), len(order)]
    found = []
    for begin, end in pairwise(bounds):
        ticks = at_ns[begin:end]
        start_ns = min(born.get(int(pid[begin]), int(ticks[0])), int(ticks[0]))
        found.append(
            _Counters(
                int(pid[begin]),
                str(role[begin]),
                np.append(start_ns, ticks),
                _rising(own_s[begin:end]),
                _rising(reaped_s[begin:end]),
                int(ticks[-1]),
            )
        )
    return found


def _births(samples: Samples) -> dict[int, int]:
    """When each process was started, by pid."""
    return dict(zip(samples.processes["pid"].tolist(), samples.processes["started_ns"].tolist(), strict=True))


def _rising(counter: NDArray[np.float64]) -> NDArray[np.float64]:
    """A counter from 0 at the process's start. Where it falls, a new process has the same pid."""
    steps = np.maximum(np.diff(counter, prepend=0.0), 0.0)
    return np.append(0.0, np.cumsum(steps))


def _growth(at_ns: NDArray[np.int64], counter: NDArray[np.float64], start_ns: int, end_ns: int) -> float:
    """By how much a counter grew within a window, linear between the ticks."""
    before, after = np.interp([start_ns, end_ns], at_ns, counter)
    return float(after - before)
