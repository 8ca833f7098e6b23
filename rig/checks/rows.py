"""``S1.rows`` … ``S9.rows``: a scenario left the rows in the database that its requests must leave, and no others.

Expected counts are intervals. An acknowledged request must have its row, an indeterminate one may have it, and one that
was not sent must not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.capacity import CAPACITY
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate
from rig.evidence.truth import DiscrepancyKind, Group
from rig.model import FORGED

_OF_OTHER_GATES = (
    DiscrepancyKind.RECOVERED,
    DiscrepancyKind.COPY,
    DiscrepancyKind.FORGED,
    DiscrepancyKind.ALTERED,
    DiscrepancyKind.VANISHED,
    DiscrepancyKind.CHANGED,
)
FAULTS = tuple(kind for kind in DiscrepancyKind if kind not in _OF_OTHER_GATES)
_KEYS_NAMED = 5
_WHOLE_LADDER = {f"S{number}" for number in range(1, 8)}
"""The scenarios of a run without ``--only``. Such a run asks for S9 too."""

ROWS = GateKind(
    "*.rows",
    Kind.TRUTH,
    "each acknowledged request has exactly the row that its class asks for, and no other row exists",
)


@emits(ROWS)
def check_rows(case: Case) -> list[Gate]:
    """One gate for each scenario of the run but S11, which has gates of its own.

    That of S9 is NOT-RUN where the profile has no channels.
    """
    scenarios = dict.fromkeys(run.scenario.id for run in case.scenario_runs if run.scenario.id != S11)
    gates = [_rows_gate(case, scenario) for scenario in scenarios]
    gates += [
        ROWS.not_run(why, name=scenario) for scenario, why in case.left_out.items() if scenario not in (FORGED, S11)
    ]
    if scenarios.keys() >= _WHOLE_LADDER and not case.profile.get("channels", True):
        gates.append(ROWS.not_run("the profile has no [[channels]], so S9 had nothing to send", name="S9"))
    return gates


def _rows_gate(case: Case, scenario: str) -> Gate:
    if case.truth is None:
        return ROWS.decide({}, unproven=NOT_READ, name=scenario)
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
    wrong = _what_is_wrong([group for group in groups if not _is_as_expected(group)], faults)
    if wrong:
        figures["keys"] = _first_keys(case, scenario)
    unproven = _unproven(case, scenario, {group.scenario_run for group in groups})
    if not wrong and not unproven and not any(_has_rows(group) for group in groups):
        return ROWS.not_run("no row was expected, and none was there", figures, name=scenario)
    return ROWS.decide(figures, wrong=wrong, unproven=unproven, name=scenario)


def _unproven(case: Case, scenario: str, read: set[str]) -> str:
    """Why rows that are as expected prove nothing; empty when they do."""
    runs = case.scenario_runs_of(scenario)
    if missing := describe_missing_reports(runs):
        return missing
    if scenario == CAPACITY:  # a step may ask for so much that nothing is acknowledged
        runs = tuple(run for run in runs if case.acknowledged_count(run)) or runs[:1]
    for run in runs:
        if run.scenario.label not in read:
            return f"the truth says nothing about {run.scenario.label}"
        if not case.acknowledged_count(run):
            return f"nothing was acknowledged in {run.scenario.label}, so nothing had to exist"
    return ""


def _is_as_expected(group: Group) -> bool:
    return (
        group.canonical_min <= group.canonical <= group.canonical_max and group.dead_min <= group.dead <= group.dead_max
    )


def _has_rows(group: Group) -> bool:
    """Whether a row was expected or was there."""
    return bool(group.canonical_max or group.dead_max or group.canonical or group.dead)


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
        f"{key.kind} {key.key}"
        for key in (truth.discrepancies if truth else ())
        if key.scenario == scenario and key.kind in FAULTS
    )
    return list(islice(keys, _KEYS_NAMED))
