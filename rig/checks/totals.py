"""``totals`` and ``duplicates``: the whole tables, whatever the scenarios say one by one.

Rows that no request explains belong to no scenario; they are held against the totals.
"""

from __future__ import annotations

from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import DiscrepancyKind, Total, TruthReport
from rig.model import Row

_TENANTS_SHOWN = 4

TOTALS = GateKind("totals", Kind.TRUTH, "the rows of each tenant are as many as the composition of the run must leave")
DUPLICATES = GateKind("duplicates", Kind.TRUTH, "the run gave no idempotency key two canonical rows in one tenant")


@emits(TOTALS, DUPLICATES)
def check_totals(case: Case) -> list[Gate]:
    """All rows of each tenant against the composition of the run, and a scan for keys that exist twice."""
    truth = case.truth
    if truth is None:
        reason = "the database was not read after the run"
        return [Gate(kind.pattern, Verdict.INVALID, kind.rule, reason=reason) for kind in (TOTALS, DUPLICATES)]
    return [_totals_gate(case, truth), _duplicates_gate(case, truth)]


def _totals_gate(case: Case, truth: TruthReport) -> Gate:
    gate_id, rule = TOTALS.pattern, TOTALS.rule
    totals = truth.totals
    wrong = [_describe(total) for total in totals if not total.expected_min <= total.observed <= total.expected_max]
    wrong += [
        f"tenant {key.tenant}: {key.kind.replace('_', ' ')} {key.key or key.detail}"
        for key in truth.discrepancies
        if not key.scenario_run and key.kind is not DiscrepancyKind.RECOVERED
    ]
    figures: dict[str, Any] = {"tenants": len({total.tenant for total in totals})}
    for row in (Row.CANONICAL, Row.DEAD):
        figures[row.value] = sum(total.observed for total in totals if total.row is row)
    for tenant in list(dict.fromkeys(total.tenant for total in totals))[:_TENANTS_SHOWN]:
        of_tenant = {total.row: total.observed for total in totals if total.tenant == tenant}
        figures[f"tenant_{tenant}"] = f"{of_tenant.get(Row.CANONICAL, 0)} / {of_tenant.get(Row.DEAD, 0)}"
    if wrong:
        return Gate(gate_id, Verdict.FAIL, rule, figures, "; ".join(wrong[:5]))
    if not totals:
        return Gate(gate_id, Verdict.INVALID, rule, figures, "the rows of no tenant were counted")
    if unproven := _unproven(case):
        return Gate(gate_id, Verdict.INVALID, rule, figures, unproven)
    return Gate(gate_id, Verdict.PASS, rule, figures)


def _unproven(case: Case) -> str:
    """Why tables that are as they must be prove nothing; empty when they do."""
    if missing := describe_missing_reports(case.scenario_runs):
        return missing
    if not any(case.acknowledged_count(scenario_run) for scenario_run in case.scenario_runs):
        return "nothing was acknowledged, so nothing had to exist"
    return ""


def _describe(total: Total) -> str:
    expected = (
        str(total.expected_min)
        if total.expected_min == total.expected_max
        else f"{total.expected_min}..{total.expected_max}"
    )
    return f"tenant {total.tenant}: {total.observed} {total.row.value} rows, expected {expected}"


def _duplicates_gate(case: Case, truth: TruthReport) -> Gate:
    gate_id, rule = DUPLICATES.pattern, DUPLICATES.rule
    duplicated = truth.duplicated_keys
    figures = {"duplicated_keys": duplicated}
    if duplicated:
        return Gate(gate_id, Verdict.FAIL, rule, figures, f"{duplicated} keys have more than one row")
    if unproven := _unproven(case):
        return Gate(gate_id, Verdict.INVALID, rule, figures, unproven)
    return Gate(gate_id, Verdict.PASS, rule, figures)
