"""``totals`` and ``duplicates``: the whole tables, over all scenarios.

A row that no request explains belongs to no scenario. It shows in the totals only.
"""

from __future__ import annotations

from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.checks.rows import FAULTS
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.gate import Gate
from rig.evidence.truth import Total, TruthReport
from rig.model import Row
from rig.text import counted

_TENANTS_SHOWN = 4
_NOTHING = "was expected, and none was there"

TOTALS = GateKind("totals", Kind.TRUTH, "each tenant has as many rows as the requests of the run must leave")
DUPLICATES = GateKind("duplicates", Kind.TRUTH, "no idempotency key of the run has two canonical rows in one tenant")


@emits(TOTALS, DUPLICATES)
def check_totals(case: Case) -> list[Gate]:
    """Compare all rows of each tenant with what the run must leave, and look for keys that exist twice."""
    truth = case.truth
    if truth is None:
        return [kind.decide({}, unproven=NOT_READ) for kind in (TOTALS, DUPLICATES)]
    return [_totals_gate(case, truth), _duplicates_gate(case, truth)]


def _duplicates_gate(case: Case, truth: TruthReport) -> Gate:
    duplicates = truth.duplicated_keys
    figures = {"duplicated_keys": duplicates}
    unproven = _unproven(case)
    if not duplicates and not unproven and truth.totals and not _has_rows(truth, Row.CANONICAL):
        return DUPLICATES.not_run(f"no canonical row {_NOTHING}", figures)
    wrong = counted(duplicates, "key has more than one row", "keys have more than one row") if duplicates else ""
    return DUPLICATES.decide(figures, wrong=wrong, unproven=unproven)


def _totals_gate(case: Case, truth: TruthReport) -> Gate:
    totals = truth.totals
    wrong = [_describe(total) for total in totals if not total.expected_min <= total.observed <= total.expected_max]
    wrong += [
        f"tenant {key.tenant}: {key.kind.replace('_', ' ')} {key.key or key.detail}"
        for key in truth.discrepancies
        if not key.scenario_run and key.kind in FAULTS
    ]
    figures: dict[str, Any] = {"tenants": len({total.tenant for total in totals})}
    for row in dict.fromkeys(total.row for total in totals):
        figures[row.value] = sum(total.observed for total in totals if total.row is row)
    for tenant in list(dict.fromkeys(total.tenant for total in totals))[:_TENANTS_SHOWN]:
        of_tenant = {total.row: total.observed for total in totals if total.tenant == tenant}
        figures[f"tenant_{tenant}"] = " / ".join(str(of_tenant[row]) for row in Row if row in of_tenant)
    if case.has_no_dead_letters:
        figures[Row.DEAD.value] = "NOT-RUN: the profile has no dead letters"
    unproven = _unproven(case) if totals else "the rows of no tenant were counted"
    if not wrong and not unproven and not any(_has_rows(truth, row) for row in Row):
        return TOTALS.not_run(f"no row {_NOTHING}", figures)
    return TOTALS.decide(figures, wrong="; ".join(wrong[:5]), unproven=unproven)


def _has_rows(truth: TruthReport, row: Row) -> bool:
    """Whether a row was expected in that table or was there."""
    return any(total.expected_max or total.observed for total in truth.totals if total.row is row)


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
    return f"tenant {total.tenant}: {counted(total.observed, f'{total.row.value} row')}, expected {expected}"
