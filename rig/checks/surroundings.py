"""``probes`` and ``hygiene``: what was to be seen beside the storms."""

from __future__ import annotations

from rig.checks.case import Case
from rig.model import Gate, Outcome, Verdict

_BLIND_NS = 1_000_000_000
"""Readiness that is asked within this time of nothing but failures must have noticed."""


def check_probes(case: Case) -> list[Gate]:
    """Health, readiness and metrics answer in time and agree with what the storms see; none where none was asked."""
    probes = case.probes
    if probes.empty:
        return []
    rule = "health, readiness and metrics answer 200 in time, and readiness does not claim what the storm refutes"
    bad = probes[(probes["status"] != 200)]
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
            Gate("probes", Verdict.FAIL, rule, figures, f"{len(bad)} bad answers, the first: {first['path']} {said}")
        ]
    blind = _blind(case)
    if blind:
        return [Gate("probes", Verdict.FAIL, rule, {**figures, "blind": blind}, "ready while every request failed")]
    return [Gate("probes", Verdict.PASS, rule, figures)]


def _blind(case: Case) -> int:
    """How many good readiness answers fell into a second in which every one of at least ten requests failed."""
    history = case.history
    ready_path = (case.profile.get("probes") or {}).get("ready")
    ready = case.probes[case.probes["path"] == ready_path]
    count = 0
    for at_ns in ready["at_ns"]:
        near = history[(history["done_ns"] > at_ns - _BLIND_NS) & (history["done_ns"] <= at_ns)]
        if len(near) >= 10 and bool((near["outcome"] != Outcome.OK).all()):
            count += 1
    return count


def check_hygiene(case: Case) -> list[Gate]:
    """Nothing of an earlier run at the start, nothing of this one at the end; none where it was not looked at."""
    if not case.hygiene:
        return []
    rule = "no process, port or directory of an earlier run before, and none of this run after"
    dirty = [finding for finding in case.hygiene if not finding.clean]
    figures = {"looked_at": len(case.hygiene), "not_clean": len(dirty)}
    if dirty:
        reason = "; ".join(f"{finding.when}: {finding.what}: {finding.detail}" for finding in dirty[:5])
        return [Gate("hygiene", Verdict.INVALID, rule, figures, reason)]
    return [Gate("hygiene", Verdict.PASS, rule, figures)]
