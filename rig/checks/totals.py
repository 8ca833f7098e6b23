"""``totals`` and ``duplicates``: the whole tables, over all scenarios.

A row that no request explains belongs to no scenario. It shows in the totals only.
"""

from __future__ import annotations

from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.gate import Gate
from rig.evidence.truth import DiscrepancyKind, Total, TruthReport
from rig.model import Row

_TENANTS_SHOWN = 4

TOTALS = GateKind("totals", Kind.TRUTH, "each tenant has as many rows as the requests of the run must leave")
DUPLICATES = GateKind("duplicates", Kind.TRUTH, "no idempotency key of the run has two canonical rows in one tenant")


@emits(TOTALS, DUPLICATES)
def check_totals(case: Case) -> list[Gate]:
    """Compare all rows of each tenant with what the run must leave, and look for keys that exist twice."""
    truth = case.truth
    if truth is None:
        return [kind.decide({}, unproven=NOT_READ) for kind in (TOTALS, DUPLICATES)]
    duplicates = truth.duplicated_keys
    return [
        _totals_gate(case, truth),
        DUPLICATES.decide(
            {"duplicated_keys": duplicates},
            wrong=f"{duplicates} keys have more than one row" if duplicates else "",
            unproven=_unproven(case),
        ),
    ]


def _totals_gate(case: Case, truth: TruthReport) -> Gate:
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
    unproven = _unproven(case) if totals else "the rows of no tenant were counted"
    return TOTALS.decide(figures, wrong="; ".join(wrong[:5]), unproven=unproven)


def _unproven(case: Case) -> str:
    """Why tables that are as expected prove nothing; empty when they do."""
    if missing := describe_missing_reports(case.scenario_runs):
        return missing
    if not any(case.acknowledged_count(run) for run in case.scenario_runs):
        return "nothing was acknowledged, so nothing had to exist"
    return ""


def _describe(total: Total) -> str:
    least, most = total.expected_min, total.expected_max
    expected = str(least) if least == most else f"{least}..{most}"
    return f"tenant {total.tenant}: {total.observed} {total.row.value} rows, expected {expected}"
