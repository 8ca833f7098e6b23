"""The whole run on one time axis: answers, their times, the sessions' waits, the processes' CPU.

Panels from the top: answers a second by outcome; response time quantiles; average active sessions by wait event,
stacked; a row per process, darker where its core was busier. Vertical marks show where scenario runs began and where
processes of the target came or went. Without requests (``rig sample``) the first two panels are left out.
``judged_storm`` is the same picture of the scenario runs with a limit, where they are a small part of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rig.checks.samplers import span
from rig.diagnose import aas, cpu
from rig.evidence.case import Case
from rig.evidence.history import span_of
from rig.evidence.sample_names import Role
from rig.model import Outcome
from rig.report.plots.canvas import INK, LIMIT, blank_figure, legend_beside, log_scale, stack_outcomes
from rig.stats import quantile
from rig.text import number, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 240
_LEAST_BIN_S = 0.2
"""Four ticks of one sampler, one of the other. Finer bins would show the sampling."""
_EVENTS = 7
_LEAST_SESSIONS = 0.005
_ROWS_A_ROLE = 4
_LEAST_CORES = 0.005
_STANDS_OUT = 0.1
"""Cores. A process that used more has a row of its own, even where its role has many processes."""
_REST = "other events"
_TYPES = {
    aas.ON_CPU: "#009e73",
    "IO": "#0072b2",
    "LWLock": "#cc79a7",
    "Lock": "#d55e00",
    "Client": "#999999",
    "IPC": "#56b4e9",
    "Timeout": "#e69f00",
}
_HATCHES = ("", "///", "...", "\\\\\\", "xxx")
"""All events of a type have one colour; a hatch tells the second and later ones apart."""
_ROLES = (
    Role.CLIENT,
    Role.SERVER,
    Role.BACKEND,
    Role.AUXILIARY,
    Role.STUB,
    Role.RIG,
    Role.SAMPLER,
    Role.SAMPLER_BACKEND,
)
_LEAST_WAIT_S = 0.1
_LABEL_SHARE = 0.05
"""A scenario run shorter than this share of the axis is drawn without its name."""
_SMALL_PART = 0.6
"""Judged scenario runs that fill a larger share of the run need no picture of their own."""
_MARGIN = 0.05
_SETTLED_NS = 1_000_000_000
"""A process that appears within a second of the first tick was there before. The same holds at the end."""
_WORDS = {
    Outcome.ACKNOWLEDGED: "as expected",
    Outcome.REFUSED: "otherwise",
    Outcome.INDETERMINATE: "no answer",
    Outcome.NOT_SENT: "no connection",
}
_CHARACTER_SHARE = 0.0105
"""The share of the axis that one character of a name takes."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time axis: seconds since the first request (or tick)."""

    start_ns: int
    end_ns: int

    def edges_ns(self) -> NDArray[np.int64]:
        """Borders of the bins of all panels."""
        bins = max(1, min(_BINS, int((self.end_ns - self.start_ns) / 1e9 / _LEAST_BIN_S)))
        return np.linspace(self.start_ns, self.end_ns, bins + 1).astype(np.int64)

    def seconds(self, at_ns: Any) -> Any:
        """A time, or an array of them, on the axis."""
        return (at_ns - self.start_ns) / 1e9


def timeline(case: Case) -> Figure | None:
    """All panels for which there is evidence; None where nothing was sampled."""
    window = span(case)
    return None if window is None else _drawn(case, window)


def judged_storm(case: Case) -> Figure | None:
    """The same for the scenario runs with a limit; None where there are none, or little else."""
    whole = span(case)
    judged = {run.scenario.label for run in case.scenario_runs if run.scenario.limit_s or run.scenario.p95_limit_ms}
    sent = case.history[(case.history["sent_ns"] > 0) & case.history["scenario_run"].isin(judged)]
    if whole is None or sent.empty:
        return None
    start_ns, end_ns = span_of(sent)
    if end_ns - start_ns > _SMALL_PART * (whole[1] - whole[0]):
        return None
    margin_ns = int(_MARGIN * (end_ns - start_ns))
    return _drawn(case, (max(whole[0], start_ns - margin_ns), min(whole[1], end_ns + margin_ns)))


def _drawn(case: Case, window: tuple[int, int]) -> Figure | None:
    samples = case.samples
    if window[1] <= window[0] or (samples.sessions.empty and samples.pids.empty):
        return None
    axis = _Axis(*window)
    loaded = bool((case.history["sent_ns"] > 0).any())
    heights = [0.8, 0.9] if loaded else []
    figure = blank_figure(2.2 * (sum(heights) + 3.2))
    rows = figure.subplots(len(heights) + 2, 1, sharex=True, height_ratios=[*heights, 1.4, 1.8])
    *above, sessions, processes = list(rows)
    if loaded:
        _throughput(above[0], case, axis)
        _response(above[1], case, axis)
    said = _sessions(sessions, case, axis)
    busiest = _processes(processes, case, axis)
    for panel in (*above, sessions):
        panel.spines[["top", "right"]].set_visible(False)
    for panel in rows:
        _boundaries(panel, case, axis, named=panel is rows[0])
        _comings_and_goings(panel, case, axis, named=panel is sessions)
    since = "" if window != span(case) else " since the first request" if loaded else " since the first tick"
    processes.set(xlabel=f"time{since} (s)", xlim=(0, axis.seconds(axis.end_ns)))
    title = f"Sessions: {said}\nBusiest: {busiest}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


# --- panels ---


def _throughput(axes: Axes, case: Case, axis: _Axis) -> None:
    sent = case.history[case.history["sent_ns"] > 0]
    seen = {Outcome.ACKNOWLEDGED, *sent["outcome"].unique()}
    stack_outcomes(axes, sent, axis.edges_ns(), {name: words for name, words in _WORDS.items() if name in seen})
    axes.set_ylabel("answers/s")
    axes.set_ylim(0, None)
    legend_beside(axes, fontsize=8)


def _response(axes: Axes, case: Case, axis: _Axis) -> None:
    sent = case.history[case.history["sent_ns"] > 0]
    sent = sent[sent["done_ns"].between(axis.start_ns, axis.end_ns)]
    edges_ns = axis.edges_ns()
    done_ns = sent["done_ns"].to_numpy(np.int64)
    response_ms = pd.Series((done_ns - sent["intended_ns"].to_numpy(np.int64)) / 1e6)
    bins = pd.Series(np.clip(np.searchsorted(edges_ns, done_ns, "right") - 1, 0, len(edges_ns) - 2))
    middles = axis.seconds((edges_ns[:-1] + edges_ns[1:]) / 2)
    for share, style, colour in ((0.5, "-", "#0072b2"), (0.95, "-.", "#009e73"), (0.99, "--", "#d55e00")):
        line = response_ms.groupby(bins).agg(quantile, share).reindex(range(len(middles)))
        axes.plot(
            middles, line, style, color=colour, linewidth=1.3, label=f"p{share * 100:g}", marker=".", markersize=2
        )
    axes.set_ylabel("response (ms)")
    log_scale(axes)
    legend_beside(axes, fontsize=8)


def _sessions(axes: Axes, case: Case, axis: _Axis) -> str:
    """Draw the sessions stacked by event; returns what the title says about them."""
    samples = case.samples
    axes.set_ylabel("average active sessions")
    totals = aas.by_event(samples, axis.start_ns, axis.end_ns)
    edges_ns = axis.edges_ns()
    over = aas.over_time(samples, edges_ns)
    shown = [name for name in totals.index[:_EVENTS] if name in over and totals[name] >= _LEAST_SESSIONS]
    rest = over.drop(columns=shown).sum(axis=1)
    stack = over[shown].assign(**{_REST: rest} if rest.any() else {})
    below: NDArray[np.float64] = np.zeros(len(stack))
    for name, colour, hatch in _looks([str(column) for column in stack.columns]):
        top = below + stack[name].fillna(0).to_numpy()
        share = totals.get(name, totals[~totals.index.isin(shown)].sum())
        steps = axes.stairs(top, axis.seconds(edges_ns), baseline=below, fill=True, label=f"{name}  {share:.2f}")
        steps.set(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0)
        below = top
    _lock_waits(axes, case, axis)
    _gaps(axes, case, axis)
    axes.set_ylim(0, max(1.0, 1.15 * float(below.max(initial=0))))
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend_beside(axes, handles=handles[::-1], labels=labels[::-1], fontsize=8)
    if totals.empty:
        return "none was active" if len(samples.sessions) else "the database was not sampled"
    return f"{totals.sum():.2f} active on average, most in {totals.index[0]} ({totals.iloc[0]:.2f})"


def _lock_waits(axes: Axes, case: Case, axis: _Axis) -> None:
    """Every long wait for a lock as a bar along the top, and the longest in words."""
    waits = aas.lock_waits(case.samples)
    waits = waits[(waits["waited_s"] >= _LEAST_WAIT_S) & waits["began_ns"].between(axis.start_ns, axis.end_ns)]
    if waits.empty:
        return
    top = axes.get_xaxis_transform()
    for wait in waits.itertuples():
        began_s = axis.seconds(wait.began_ns)
        axes.plot([began_s, began_s + wait.waited_s], [0.97, 0.97], color=LIMIT, linewidth=4, transform=top)
    longest = waits.iloc[0]
    what = f"{longest['mode']} on {longest['relation'] or longest['locktype']}"
    axes.annotate(
        f"longest lock wait: at least {number(round(float(longest['waited_s']), 2))} s, {shorten(what)}",
        (axis.seconds(longest["began_ns"]), 0.92),
        xycoords=top,
        fontsize=8,
        color=LIMIT,
        va="top",
    )


def _gaps(axes: Axes, case: Case, axis: _Axis) -> None:
    gaps = case.samples.gaps
    for gap in gaps[(gaps["until_ns"] > axis.start_ns) & (gaps["at_ns"] < axis.end_ns)].itertuples():
        times_s = axis.seconds(gap.at_ns), axis.seconds(gap.until_ns)
        axes.axvspan(*times_s, facecolor="#eeeeee", hatch="//", edgecolor="#bbbbbb")
        axes.annotate("not seen", (axis.seconds(gap.at_ns), 0.5), xycoords=axes.get_xaxis_transform(), fontsize=8)


def _processes(axes: Axes, case: Case, axis: _Axis) -> str:
    """Draw a row per process or role, the machine at the bottom; returns the busiest process for the title."""
    if case.samples.pids.empty:
        axes.annotate("the processes were not sampled", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return "unknown"
    edges_ns = axis.edges_ns()
    curves = cpu.over_time(case.samples, edges_ns)
    rows = [*_process_rows(curves), *_machine_rows(case, edges_ns, np.sum(list(curves.values()), axis=0))]
    picture = np.ma.masked_invalid(np.array([100 * curve for _, curve in rows]))
    mesh = axes.pcolormesh(axis.seconds(edges_ns), np.arange(len(rows) + 1), picture, cmap="Blues", vmin=0, vmax=100)
    axes.hlines(np.arange(1, len(rows)), 0, axis.seconds(axis.end_ns), color="white", linewidth=1.5)
    labels = [f"{name}  {100 * float(np.nanmean(curve)):.0f} %" for name, curve in rows]
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=8)
    axes.tick_params(left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.invert_yaxis()
    figure = axes.get_figure()
    if figure is not None:
        figure.colorbar(mesh, cax=axes.inset_axes((1.02, 0.05, 0.015, 0.9)), label="% of one core (machine: of all)")
    role, pid = max(curves, key=lambda key: float(curves[key].mean()))
    return f"{role} {pid}, {100 * float(curves[role, pid].mean()):.0f} % of a core"


def _process_rows(curves: dict[tuple[str, int], NDArray[np.float64]]) -> list[tuple[str, NDArray[np.float64]]]:
    """A row per process. A role with many processes has one row for all, and one for each that was busy."""
    rows = []
    for role in sorted({role for role, _ in curves}, key=_rank):
        members = {pid: curve for (name, pid), curve in curves.items() if name == role}
        busiest = sorted(members, key=lambda pid: -float(members[pid].mean()))
        if len(members) > _ROWS_A_ROLE:
            rows.append((f"all {len(members)}: {role}", np.sum(list(members.values()), axis=0)))
            busiest = [pid for pid in busiest if members[pid].mean() >= _STANDS_OUT]
        else:
            busiest = [pid for pid in busiest if members[pid].mean() >= _LEAST_CORES] or busiest[:1]
        rows += [(f"{role} {pid}", members[pid]) for pid in busiest[:_ROWS_A_ROLE]]
    return rows


def _machine_rows(
    case: Case, edges_ns: NDArray[np.int64], known: NDArray[np.float64]
) -> list[tuple[str, NDArray[np.float64]]]:
    """The CPU of all other processes, and the load of the whole machine as a share of its cores."""
    machine = [cpu.machine(case.samples, int(begin), int(end)) for begin, end in pairwise(edges_ns)]
    if any(now is None for now in machine):
        return []
    cores = np.array([(now.busy_cores, now.cores) for now in machine if now is not None])
    return [("all other processes", np.maximum(cores[:, 0] - known, 0)), ("whole machine", cores[:, 0] / cores[:, 1])]


def _boundaries(axes: Axes, case: Case, axis: _Axis, *, named: bool) -> None:
    """Mark where scenario runs began, the long ones by name."""
    sent = case.history[case.history["sent_ns"] > 0]
    if sent.empty:
        return
    times = sent.groupby("scenario_run", observed=True).agg(began=("sent_ns", "min"), ended=("done_ns", "max"))
    times = times[(times["ended"] > axis.start_ns) & (times["began"] < axis.end_ns)]
    for began_ns in times["began"]:
        axes.axvline(axis.seconds(began_ns), color=INK, linewidth=0.6, alpha=0.35)
    if named:
        _names(axes, times, axis)


def _names(axes: Axes, times: pd.DataFrame, axis: _Axis) -> None:
    """Names of the long scenario runs, the longest first. A name that would overlap another is left out."""
    whole_s = axis.seconds(axis.end_ns)
    taken: list[tuple[float, float]] = []
    lasted_ns = times["ended"] - times["began"]
    for name in lasted_ns[lasted_ns >= _LABEL_SHARE * (axis.end_ns - axis.start_ns)].sort_values(ascending=False).index:
        from_s = max(0.0, axis.seconds(int(times.loc[name, "began"])))
        to_s = from_s + _CHARACTER_SHARE * len(str(name)) * whole_s
        if all(to_s <= begin_s or from_s >= end_s for begin_s, end_s in taken):
            axes.annotate(str(name), (from_s, 1.01), xycoords=axes.get_xaxis_transform(), fontsize=8, color=INK)
            taken.append((from_s, to_s))


def _comings_and_goings(axes: Axes, case: Case, axis: _Axis, *, named: bool) -> None:
    """Mark processes of the target that started or ended meanwhile: a fault, or a restart after one."""
    pids = case.samples.pids
    server = pids[pids["role"] == Role.SERVER]
    if server.empty:
        return
    seen_ns = int(pids["at_ns"].min()) + _SETTLED_NS, int(pids["at_ns"].max()) - _SETTLED_NS
    lives = server.groupby("pid")["at_ns"].agg(["min", "max"])
    marks = [(born_ns, f"server {pid} came") for pid, born_ns, _ in lives.itertuples() if born_ns > seen_ns[0]]
    marks += [(last_ns, f"server {pid} went") for pid, _, last_ns in lives.itertuples() if last_ns < seen_ns[1]]
    for at_ns, what in marks:
        if axis.start_ns <= at_ns <= axis.end_ns:
            axes.axvline(axis.seconds(at_ns), color=LIMIT, linewidth=1.0, linestyle="--")
            if named:
                at = (axis.seconds(at_ns), 0.86)
                axes.annotate(what, at, xycoords=axes.get_xaxis_transform(), fontsize=8, color=LIMIT, va="top")


# --- looks ---


def _looks(names: list[str]) -> list[tuple[str, str, str]]:
    """Colour by type of wait, a hatch for each further event of the type."""
    seen: dict[str, int] = {}
    looks = []
    for name in names:
        kind = name.partition(":")[0]
        nth = seen[kind] = seen.get(kind, -1) + 1
        looks.append((name, _TYPES.get(kind, "#dddddd"), _HATCHES[nth % len(_HATCHES)]))
    return looks


def _rank(role: str) -> int:
    return _ROLES.index(role) if role in _ROLES else len(_ROLES)
