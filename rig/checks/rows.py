"""``S1.rows`` … ``S9.rows``: what a scenario left in the database is what its requests must leave.

Expected counts are intervals: what was acknowledged must exist, what is indeterminate may, what was not sent must not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import Case, describe_missing_reports
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import DiscrepancyKind, Group

FAULTS = tuple(kind for kind in DiscrepancyKind if kind is not DiscrepancyKind.RECOVERED)
_KEYS_NAMED = 5
_WHOLE_LADDER = {f"S{number}" for number in range(1, 8)}
"""What is driven whenever nothing is left out by ``--only``: whoever drives it means S9 too."""

ROWS = GateKind(
    "*.rows",
    Kind.TRUTH,
    "each acknowledged request has exactly the row that its class asks for, and no other row exists",
)


@emits(ROWS)
def check_rows(case: Case) -> list[Gate]:
    """One gate for each scenario that was driven, and one that says so where a profile leaves a whole ladder no S9."""
    driven = dict.fromkeys(scenario_run.scenario.id for scenario_run in case.scenario_runs)
    gates = [_rows_gate(case, scenario) for scenario in driven]
    if driven.keys() >= _WHOLE_LADDER and not case.profile.get("channels", True):
        reason = "the profile has no [[channels]], so there was nothing for S9 to send"
        gates.append(Gate(ROWS.of("S9"), Verdict.NOT_RUN, ROWS.rule, reason=reason))
    return gates


def _rows_gate(case: Case, scenario: str) -> Gate:
    gate_id, rule = ROWS.of(scenario), ROWS.rule
    if case.truth is None:
        return Gate(gate_id, Verdict.INVALID, rule, reason="the database was not read after the run")
    groups = [group for group in case.truth.groups if group.scenario == scenario]
    faults = Counter[str]()
    for group in groups:
        faults.update({kind: group.discrepancies.get(kind, 0) for kind in FAULTS})
    figures: dict[str, Any] = {
        "canonical": sum(group.canonical for group in groups),
        "dead": sum(group.dead for group in groups),
        "expected": f"{_interval(groups, 'canonical')} canonical, {_interval(groups, 'dead')} dead",
        "scenario_runs": len({group.scenario_run for group in groups}),
        **{kind: count for kind, count in faults.items() if count},
    }
    outside = [group for group in groups if not _inside(group)]
    if outside or faults.total():
        figures["keys"] = _first_keys(case, scenario)
        return Gate(gate_id, Verdict.FAIL, rule, figures, _what_is_wrong(outside, faults))
    if unproven := _unproven(case, scenario, {group.scenario_run for group in groups}):
        return Gate(gate_id, Verdict.INVALID, rule, figures, unproven)
    return Gate(gate_id, Verdict.PASS, rule, figures)


def _unproven(case: Case, scenario: str, read: set[str]) -> str:
    """Why rows that are as they must be prove nothing; empty when they do."""
    scenario_runs = case.scenario_runs_of(scenario)
    if missing := describe_missing_reports(scenario_runs):
        return missing
    for scenario_run in scenario_runs:
        if scenario_run.scenario.label not in read:
            return f"the truth says nothing about {scenario_run.scenario.label}"
        if not case.acknowledged_count(scenario_run):
            return f"nothing was acknowledged in {scenario_run.scenario.label}, so nothing had to exist"
    return ""


def _inside(group: Group) -> bool:
    return (
        group.canonical_min <= group.canonical <= group.canonical_max and group.dead_min <= group.dead <= group.dead_max
    )


def _interval(groups: Sequence[Group], which: str) -> int | str:
    """One number where the expectation is exact, else ``least..most``."""
    least = sum(getattr(group, f"{which}_min") for group in groups)
    most = sum(getattr(group, f"{which}_max") for group in groups)
    return least if least == most else f"{least}..{most}"


def _what_is_wrong(outside: Sequence[Group], faults: Counter[str]) -> str:
    parts = [f"{count} {kind.replace('_', ' ')}" for kind, count in faults.items() if count]
    parts += [
        f"{group.scenario_run}, tenant {group.tenant}: canonical {group.canonical} "
        f"(expected {group.canonical_min}..{group.canonical_max}), dead {group.dead} "
        f"(expected {group.dead_min}..{group.dead_max})"
        for group in outside[:3]
    ]
    return "; ".join(parts)


def _first_keys(case: Case, scenario: str) -> list[str]:
    truth = case.truth
    keys = (
        f"{key.kind} {key.key} (tenant {key.tenant}, {key.scenario_run})"
        for key in (truth.discrepancies if truth else ())
        if key.scenario == scenario and key.kind in FAULTS
    )
    return list(islice(keys, _KEYS_NAMED))
