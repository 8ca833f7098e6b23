"""``samplers``: the samplers of the database, the processes and the machine looked all the time.

The gate says nothing about the target. It is INVALID where a sampler died or fell behind, because a spike may lie where
nobody looked. Its figures sum up the samples; the diagnosis says why something was slow.
``samplers.database_cpu`` is NOT-RUN where the rig cannot see the processes of the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.diagnose import aas, cpu
from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate
from rig.evidence.history import span_of
from rig.evidence.sample_names import PG_ACTIVITY, PIDS, Role

MISSED_SHARE = 0.1
"""A sampler that left out more of its ticks may have missed what matters."""
_EDGE_NS = 2_000_000_000
"""How long after the first request a sampler's first tick may come, and how long before the last answer its last."""
_LEAST_SESSIONS = 0.005

SAMPLERS = GateKind(
    "samplers",
    Kind.INSTRUMENT,
    f"the samplers looked from the first request to the last answer, and left out at most {MISSED_SHARE:.0%} of their "
    "ticks",
)
DATABASE_CPU = GateKind("samplers.database_cpu", Kind.INSTRUMENT, "the samplers saw the processes of the database")


@emits(SAMPLERS, DATABASE_CPU)
def check_samplers(case: Case) -> list[Gate]:
    """Both samplers looked from the first request to the last answer; no gate in packs that know no samplers."""
    wanted = case.settings.get("samplers")
    if case.scenario_runs and all(run.scenario.id == S11 for run in case.scenario_runs):
        return [SAMPLERS.not_run("nobody samples the database while things are broken")]
    if case.samples.reports:
        faults = [fault for name in (PG_ACTIVITY, PIDS) if (fault := _fault(case, name))]
        return [SAMPLERS.decide(_figures(case), unproven="; ".join(faults)), _database_cpu(case)]
    if wanted is None:
        return []
    if wanted:
        return [SAMPLERS.decide({}, unproven="nothing was sampled")]
    return [SAMPLERS.not_run("switched off")]


def span(case: Case) -> tuple[int, int] | None:
    """First request to last answer, monotonic ns. Without requests: first to last tick. None without either.

    S11 is left out: while things break nobody samples the database.
    """
    sent = case.history[(case.history["sent_ns"] > 0) & (case.history["scenario"] != S11)]
    if len(sent):
        return span_of(sent)
    ticks = case.samples.ticks
    return (int(ticks["at_ns"].min()), int(ticks["at_ns"].max())) if len(ticks) else None


def _fault(case: Case, name: str) -> str:
    """Why a sampler's evidence has a hole; empty where it has none."""
    report = case.samples.report(name)
    if report is None:
        return f"{name} was not started"
    if report.failure:
        return f"{name}: {report.failure}"
    ticks = case.samples.ticks
    at_ns = ticks.loc[ticks["sampler"] == name, "at_ns"]
    loaded = span(case)
    if at_ns.empty or loaded is None:
        return f"{name} looked at nothing"
    if at_ns.iloc[0] > loaded[0] + _EDGE_NS or at_ns.iloc[-1] < loaded[1] - _EDGE_NS:
        return f"{name} did not look during all of the load"
    if report.missed_share > MISSED_SHARE:
        return f"{name} left out {report.missed} of {report.ticks + report.missed} ticks: the machine gave it no core"
    return ""


def _figures(case: Case) -> dict[str, Any]:
    samples = case.samples
    reports = {report.name: report for report in samples.reports}
    figures: dict[str, Any] = {}
    window = span(case)
    if window is not None:
        waits = aas.by_event(samples, *window)
        cores = cpu.by_role(samples, *window)
        longest = aas.lock_waits(samples)["waited_s"].max()
        figures = {
            "active_sessions": round(float(waits.sum()), 2),
            "active_sessions_by_event": _round_all(waits[waits >= _LEAST_SESSIONS].to_dict()),
            "cores_by_role": _round_all(cores[cores >= _LEAST_SESSIONS].to_dict()),
            "idle_in_transaction_s": round(aas.idle_in_transaction_s(samples, *window), 2),
            "longest_lock_wait_s": 0.0 if longest != longest else round(float(longest), 3),
            **_spread(case, window),
        }
    return figures | {
        "missed_percent": {name: round(100 * report.missed_share, 1) for name, report in reports.items()},
        "cost_percent_of_a_core": _cost_percent(case),
        "gaps": [f"{gap.sampler} {(gap.until_ns - gap.at_ns) / 1e9:.1f} s: {gap.reason}" for gap in _gaps(case)],
        "unseen": [what for report in samples.reports for what in report.unseen],
    }


def _gaps(case: Case) -> list[Any]:
    return list(case.samples.gaps.itertuples())


def _spread(case: Case, window: tuple[int, int]) -> dict[str, Any]:
    """CPU and connections of each process of the server, the busiest first."""
    server = cpu.spread(case.samples, *window)
    if server.empty:
        return {}
    figures: dict[str, Any] = {"server_cpu_s": [round(float(cpu_s), 2) for cpu_s in server["cpu_s"]]}
    if server["connections"].notna().all():
        figures["server_connections"] = [int(count) for count in server["connections"]]
    return figures


def _cost_percent(case: Case) -> float:
    """What sampling cost in percent of one core, with the database's own work for it."""
    cores = sum(report.cores for report in case.samples.reports)
    at_ns = case.samples.pids["at_ns"]
    if len(at_ns):
        cores += float(cpu.by_role(case.samples, int(at_ns.min()), int(at_ns.max())).get(Role.SAMPLER_BACKEND, 0.0))
    return round(100 * cores, 2)


def _round_all(values: Mapping[Any, float]) -> dict[str, float]:
    return {str(name): round(value, 2) for name, value in values.items()}


def _database_cpu(case: Case) -> Gate:
    report = case.samples.report(PIDS)
    if report is not None and report.facts.get("postgres_found"):
        return DATABASE_CPU.decide({})
    reasons = [what for what in (report.unseen if report is not None else ()) if what.startswith("CPU of the database")]
    return DATABASE_CPU.not_run(reasons[0] if reasons else "nobody looked for them")
