"""``probes`` and ``hygiene``: what was seen beside the load.

A bad probe is FAIL even where the client was at its limit: the prober has little to ask and nothing else to do. Where
probes did nothing worse than to time out while others held much of the machine, the gate is INVALID.
"""

from __future__ import annotations

import pandas as pd

from rig.checks.aftermath import describe_neighbours
from rig.checks.capacity import was_overloaded
from rig.checks.gates import GateKind, Kind, emits
from rig.diagnose.strangers import Span
from rig.evidence.case import Case
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate
from rig.model import Outcome

_BLIND_NS = 1_000_000_000
"""After so much time in which every request failed, readiness must not answer 2xx."""

PROBES = GateKind(
    "probes",
    Kind.SERVICE,
    "health, readiness and metrics answer 2xx in time, and readiness does not answer 2xx while every request fails",
)
LEAK_CHECK = GateKind(
    "hygiene",
    Kind.INSTRUMENT,
    "before the run no process of an earlier run was left; after it no process, port, folder or connection of its own",
)


@emits(PROBES)
def check_probes(case: Case) -> list[Gate]:
    """Health, readiness and metrics answer in time and agree with the load; no gate where the profile names none."""
    probes = case.probes
    if probes.empty and case.scenario_runs and all(run.scenario.id == S11 for run in case.scenario_runs):
        return [PROBES.not_run("nobody asks while things are broken")]
    if probes.empty:
        reason = "the profile names probes, but none was asked"
        return [PROBES.decide({"asked": 0}, unproven=reason)] if any(_paths(case).values()) else []
    probes = probes[~was_overloaded(case, probes["at_ns"])]
    if probes.empty:
        return [PROBES.not_run("none was asked but while more was sent than the target holds", {"asked": 0})]
    bad = probes[~_is_good(probes)]
    figures = {
        "asked": len(probes),
        "unanswered": int((probes["status"] == 0).sum()),
        "not_2xx": int(((probes["status"] != 0) & ~_is_good(probes)).sum()),
        "slowest_ms": round(float(probes["elapsed_ns"].max()) / 1e6, 1),
    }
    wrong = ""
    if len(bad):
        first = bad.iloc[0]
        answer = first["error"] or f"status {first['status']}"
        wrong = f"{len(bad)} bad answers, the first: {first['path']} {answer}"
        is_late = bad["error"].str.contains("timed out|later than").all()
        waits = [Span(begun, begun + waited) for begun, waited in zip(bad["at_ns"], bad["elapsed_ns"], strict=True)]
        if is_late and (busy := describe_neighbours(case, waits)):
            return [PROBES.decide(figures, unproven=f"{wrong}, but {busy}")]
    elif blind := _count_blind_answers(case, probes):
        figures["blind"] = blind
        wrong = "ready while every request failed"
    return [PROBES.decide(figures, wrong=wrong)]


def _is_good(probes: pd.DataFrame) -> pd.Series[bool]:
    return probes["status"].between(200, 299)


def _paths(case: Case) -> dict[str, str | None]:
    """The path of each probe that a profile may name."""
    named = case.profile.get("probes") or {}
    return {probe: named.get(probe) for probe in ("health", "ready", "metrics")}


def _count_blind_answers(case: Case, probes: pd.DataFrame) -> int:
    """How many good answers of readiness came after a second in which at least ten requests failed and none succeeded.

    Requests that the rig itself did not send or cut off say nothing about the target.
    """
    cut_off = case.history["error_kind"].isin(("skipped", "aborted"))
    history = case.history[~cut_off.astype(bool)]
    ready = probes[probes["path"] == _paths(case)["ready"]]
    count = 0
    for at_ns in ready["at_ns"]:
        near = history[(history["done_ns"] > at_ns - _BLIND_NS) & (history["done_ns"] <= at_ns)]
        if len(near) >= 10 and bool((near["outcome"] != Outcome.ACKNOWLEDGED).all()):
            count += 1
    return count


@emits(LEAK_CHECK)
def check_leaks(case: Case) -> list[Gate]:
    """Nothing of an earlier run at the start, nothing of this one at the end; no gate without a leak check."""
    findings = case.leak_findings
    if not findings:
        return []
    leaks = [finding for finding in findings if not finding.clean]
    figures = {"looked_at": len(findings), "not_clean": len(leaks)}
    reason = "; ".join(f"{finding.when}: {finding.what}: {finding.detail}" for finding in leaks[:5])
    return [LEAK_CHECK.decide(figures, unproven=reason)]
