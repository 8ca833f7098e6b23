"""``S1.content`` … ``S9.content``: the rows of a scenario hold what was sent, column by column.

Only the columns that the profile maps are compared, and only in rows that exist: ``*.rows`` is about the others.
"""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case
from rig.evidence.chaos import S11
from rig.evidence.gate import Gate
from rig.evidence.truth import Content, DiscrepancyKind
from rig.text import counted

_KEYS_NAMED = 5
_NO_FIELDS = (
    "content not compared: the profile names no fields; write [truth.canonical.fields] (docs/profile.md), column by "
    "column, where each value lies in the event"
)

CONTENT = GateKind(
    "*.content", Kind.TRUTH, "each row holds in the columns of the profile's fields what was sent, and nothing else"
)


@emits(CONTENT)
def check_content(case: Case) -> list[Gate]:
    """One gate for each scenario of the run but S11, which has gates of its own."""
    scenarios = dict.fromkeys(run.scenario.id for run in case.scenario_runs if run.scenario.id != S11)
    if case.truth is None:
        return [CONTENT.decide({}, unproven=NOT_READ, name=scenario) for scenario in scenarios]
    if case.truth.content is None:
        return []  # a pack of a rig that did not compare it
    found = {content.scenario: content for content in case.truth.content}
    return [_gate(case, scenario, found.get(scenario)) for scenario in scenarios]


def _gate(case: Case, scenario: str, found: Content | None) -> Gate:
    if not _has_fields(case):
        return CONTENT.not_run(_NO_FIELDS, name=scenario)
    if found is None or not found.compared:
        return CONTENT.not_run("no row with a mapped column was there to compare", name=scenario)
    figures: dict[str, object] = {"compared": found.compared, "altered": found.altered}
    if found.dead:
        figures["dead_letters"] = found.dead
    if not found.altered:
        return CONTENT.decide(figures, name=scenario)
    discrepancies = case.truth.discrepancies if case.truth is not None else ()
    keys = (each.key for each in discrepancies if each.scenario == scenario and each.kind is DiscrepancyKind.ALTERED)
    figures["keys"] = [key for key, _ in zip(keys, range(_KEYS_NAMED), strict=False)]
    wrong = f"{found.altered:,} of {counted(found.compared, 'row')} held other content than was sent"
    return CONTENT.decide(figures, wrong="; ".join([wrong, *found.reasons]), name=scenario)


def _has_fields(case: Case) -> bool:
    truth = case.profile.get("truth") or {}
    tables = (truth.get("canonical") or {}, truth.get("dead") or {})
    return any(part.get("fields") for part in (*tables, *(case.profile.get("routes") or ())))
