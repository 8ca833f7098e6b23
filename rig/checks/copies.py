"""``copies``: no row outside the keys and tenants of the run carries one of its events.

Reconciliation has its own words for some of them: a row under a tenant of the run whose key nobody sent is
``unexpected``, and the key of an event under another tenant ``wrong tenant``. What has neither, only ``copies`` finds.
"""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case, describe_missing_reports
from rig.evidence.gate import Gate
from rig.text import counted

COPIES = GateKind(
    "copies",
    Kind.TRUTH,
    "no new row of the event tables carries an event of the run under another tenant, under none, or with another key",
)


@emits(COPIES)
def check_copies(case: Case) -> list[Gate]:
    """Name the rows that belong to no request and carry an event."""
    truth = case.truth
    if truth is None:
        return [COPIES.decide({}, unproven=NOT_READ)]
    if truth.copies is None:
        return []  # a pack of a rig that did not look for them
    figures: dict[str, object] = {"strangers_examined": truth.strangers_examined, "copies": truth.copies}
    if truth.copies:
        wrong = f"{counted(truth.copies, 'row belongs', 'rows belong')} to no request, with an event of the run in it"
        figures["first"] = list(truth.copy_examples)
        return [COPIES.decide(figures, wrong="; the first: ".join([wrong, *truth.copy_examples[:1]]))]
    if missing := describe_missing_reports(case.scenario_runs):
        return [COPIES.decide(figures, unproven=missing)]
    if not any(group.canonical or group.dead for group in truth.groups):
        return [COPIES.not_run("the run left no row that could have been copied", figures)]
    return [COPIES.decide(figures)]
