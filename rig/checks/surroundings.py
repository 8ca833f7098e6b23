"""``probes`` and ``leak_findings``: what was to be seen beside the storms.

A bad probe is FAIL even where the client was at its limit: the prober has nothing else to do and little to ask.
"""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.model import Outcome

_BLIND_NS = 1_000_000_000
"""Readiness that is asked within this time of nothing but failures must have noticed."""

PROBES = GateKind(
    "probes",
    Kind.SERVICE,
    "health, readiness and metrics answer 200 in time, and readiness does not claim what the storm refutes",
)
LEAK_CHECK = GateKind(
    "hygiene",
    Kind.INSTRUMENT,
    "no process of an earlier run before; no process, port, directory or connection of this run after",
)


@emits(PROBES)
def check_probes(case: Case) -> list[Gate]:
    """Health, readiness and metrics answer in time and agree with what the storms see; none where none is named."""
    probes = case.probes
    gate_id, rule = PROBES.pattern, PROBES.rule
    if probes.empty:
        reason = "the profile names probes, but nothing was asked"
        return [Gate(gate_id, Verdict.INVALID, rule, {"asked": 0}, reason)] if any(_paths(case).values()) else []
    bad = probes[probes["status"] != 200]
    figures = {
        "asked": len(probes),
        "unanswered": int((probes["status"] == 0).sum()),
        "not_200": int(((probes["status"] != 0) & (probes["status"] != 200)).sum()),
        "slowest_ms": round(float(probes["elapsed_ns"].max()) / 1e6, 1),
    }
    if len(bad):
        first = bad.iloc[0]
        said = first["error"] or f"status {first['status']}"
        return [
            Gate(gate_id, Verdict.FAIL, rule, figures, f"{len(bad)} bad answers, the first: {first['path']} {said}")
        ]
    blind = _blind(case)
    if blind:
        return [Gate(gate_id, Verdict.FAIL, rule, {**figures, "blind": blind}, "ready while every request failed")]
    return [Gate(gate_id, Verdict.PASS, rule, figures)]


def _paths(case: Case) -> dict[str, str | None]:
    """The path of each probe that a profile may name."""
    named = case.profile.get("probes") or {}
    return {probe: named.get(probe) for probe in ("health", "ready", "metrics")}


def _blind(case: Case) -> int:
    """How many good readiness answers fell into a second in which every one of at least ten requests failed.

    Requests that the rig itself never sent or cut off say nothing about the target.
    """
    cut_off = case.history["error_kind"].isin(("skipped", "aborted"))
    history = case.history[~cut_off.astype(bool)]
    ready = case.probes[case.probes["path"] == _paths(case)["ready"]]
    count = 0
    for at_ns in ready["at_ns"]:
        near = history[(history["done_ns"] > at_ns - _BLIND_NS) & (history["done_ns"] <= at_ns)]
        if len(near) >= 10 and bool((near["outcome"] != Outcome.ACKNOWLEDGED).all()):
            count += 1
    return count


@emits(LEAK_CHECK)
def check_leaks(case: Case) -> list[Gate]:
    """Nothing of an earlier run at the start, nothing of this one at the end; none where it was not looked at."""
    if not case.leak_findings:
        return []
    gate_id, rule = LEAK_CHECK.pattern, LEAK_CHECK.rule
    dirty = [finding for finding in case.leak_findings if not finding.clean]
    figures = {"looked_at": len(case.leak_findings), "not_clean": len(dirty)}
    if dirty:
        reason = "; ".join(f"{finding.when}: {finding.what}: {finding.detail}" for finding in dirty[:5])
        return [Gate(gate_id, Verdict.INVALID, rule, figures, reason)]
    return [Gate(gate_id, Verdict.PASS, rule, figures)]
