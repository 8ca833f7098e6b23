"""``samplers``: did those who looked at the database, the processes and the machine look all the time?

``samplers`` says nothing of the target: a dead or a lame sampler makes it INVALID, since a spike may lie where nobody
looked. Its figures are a summary of what was seen; why something was slow is for the diagnosis.
``samplers.database_cpu`` is NOT-RUN where the processes of the database cannot be seen from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.diagnose import aas, cpu
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.sample_names import PG_ACTIVITY, PIDS, Role
from rig.evidence.samples import SamplerReport

MISSED_SHARE = 0.1
"""More ticks left out than this: what was seen is not what was."""
_EDGE_NS = 2_000_000_000
"""How much of the load's time may lie before a sampler's first tick or behind its last."""
_LEAST_SESSIONS = 0.005

SAMPLERS = GateKind(
    "samplers",
    Kind.INSTRUMENT,
    f"the samplers looked from the first request to the last answer and left out at most {MISSED_SHARE:.0%} of their "
    "ticks",
)
DATABASE_CPU = GateKind(
    "samplers.database_cpu", Kind.INSTRUMENT, "the processes of the database are among those that were looked at"
)


@emits(SAMPLERS, DATABASE_CPU)
def check_samplers(case: Case) -> list[Gate]:
    """Both samplers alive from the first request to the last answer; none where the run knew of no samplers."""
    gate_id, rule = SAMPLERS.pattern, SAMPLERS.rule
    wanted = case.settings.get("samplers")
    if not case.samples.reports:
        if wanted is None:
            return []
        verdict = Verdict.INVALID if wanted else Verdict.NOT_RUN
        return [Gate(gate_id, verdict, rule, reason="nothing was sampled" if wanted else "switched off")]
    faults = [fault for name in (PG_ACTIVITY, PIDS) if (fault := _fault(case, name))]
    gate = Gate(gate_id, Verdict.INVALID if faults else Verdict.PASS, rule, _figures(case), "; ".join(faults))
    return [gate, _database_cpu(case)]


def span(case: Case) -> tuple[int, int] | None:
    """First request to last answer, monotonic ns; without requests the time that was sampled; None without either."""
    sent = case.history[case.history["sent_ns"] > 0]
    if len(sent):
        return int(sent["sent_ns"].min()), int(sent["done_ns"].max())
    ticks = case.samples.ticks
    return (int(ticks["at_ns"].min()), int(ticks["at_ns"].max())) if len(ticks) else None


def _fault(case: Case, name: str) -> str:
    """Why a sampler's evidence is not whole; empty when it is."""
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
        return f"{name} did not look all the time that was loaded"
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
    """How requests and connections spread over the server's processes: CPU and connections of each, busiest first."""
    server = cpu.spread(case.samples, *window)
    if server.empty:
        return {}
    figures: dict[str, Any] = {"server_cpu_s": [round(float(cpu_s), 2) for cpu_s in server["cpu_s"]]}
    if server["connections"].notna().all():
        figures["server_connections"] = [int(count) for count in server["connections"]]
    return figures


def _cost_percent(case: Case) -> float:
    """What looking cost, the database's own work for it counted in, in percent of one core."""
    cores = sum(report.cores for report in case.samples.reports)
    at_ns = case.samples.pids["at_ns"]
    if len(at_ns):
        cores += float(cpu.by_role(case.samples, int(at_ns.min()), int(at_ns.max())).get(Role.SAMPLER_BACKEND, 0.0))
    return round(100 * cores, 2)


def _round_all(values: Mapping[Any, float]) -> dict[str, float]:
    return {str(name): round(value, 2) for name, value in values.items()}


def _database_cpu(case: Case) -> Gate:
    gate_id, rule = DATABASE_CPU.pattern, DATABASE_CPU.rule
    report: SamplerReport | None = case.samples.report(PIDS)
    if report is not None and report.facts.get("postgres_found"):
        return Gate(gate_id, Verdict.PASS, rule)
    return Gate(gate_id, Verdict.NOT_RUN, rule, reason=_why_unseen(report))


def _why_unseen(report: SamplerReport | None) -> str:
    said = [what for what in (report.unseen if report is not None else ()) if what.startswith("CPU of the database")]
    return said[0] if said else "nobody looked for them"
