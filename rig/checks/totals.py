"""``totals`` and ``duplicates``: the whole tables, whatever the scenarios say one by one."""

from __future__ import annotations

from typing import Any

from rig.checks.case import Case
from rig.model import Gate, Row, Total, Verdict

_TENANTS_SHOWN = 4


def check_totals(case: Case) -> list[Gate]:
    """All rows of each tenant against the composition of the run, and a scan for keys that exist twice."""
    truth = case.truth
    rule = "the rows of each tenant are as many as the composition of the run must leave"
    duplicates_rule = "no idempotency key has two canonical rows in one tenant"
    if truth is None:
        reason = "the database was not read after the run"
        return [
            Gate("totals", Verdict.INVALID, rule, reason=reason),
            Gate("duplicates", Verdict.INVALID, duplicates_rule, reason=reason),
        ]
    return [_totals_gate(case, truth.totals, rule), _duplicates_gate(truth.duplicated_keys, duplicates_rule)]


def _totals_gate(case: Case, totals: tuple[Total, ...], rule: str) -> Gate:
    wrong = [total for total in totals if not total.expected_min <= total.observed <= total.expected_max]
    figures: dict[str, Any] = {"tenants": len({total.tenant for total in totals})}
    for row in (Row.CANONICAL, Row.DEAD):
        figures[row.value] = sum(total.observed for total in totals if total.row is row)
    for tenant in list(dict.fromkeys(total.tenant for total in totals))[:_TENANTS_SHOWN]:
        of_tenant = {total.row: total.observed for total in totals if total.tenant == tenant}
        figures[f"tenant_{tenant}"] = f"{of_tenant.get(Row.CANONICAL, 0)} / {of_tenant.get(Row.DEAD, 0)}"
    if wrong:
        return Gate("totals", Verdict.FAIL, rule, figures, "; ".join(_described(total) for total in wrong[:5]))
    if not all(drive.complete for drive in case.drives):
        return Gate("totals", Verdict.INVALID, rule, figures, "a worker's report is missing")
    return Gate("totals", Verdict.PASS, rule, figures)


def _described(total: Total) -> str:
    expected = (
        str(total.expected_min)
        if total.expected_min == total.expected_max
        else f"{total.expected_min}..{total.expected_max}"
    )
    return f"tenant {total.tenant}: {total.observed} {total.row.value} rows, expected {expected}"


def _duplicates_gate(duplicated: int, rule: str) -> Gate:
    figures = {"duplicated_keys": duplicated}
    if duplicated:
        return Gate("duplicates", Verdict.FAIL, rule, figures, f"{duplicated} keys have more than one row")
    return Gate("duplicates", Verdict.PASS, rule, figures)
