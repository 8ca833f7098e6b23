"""``lasting``: rows that were there after the load are there some seconds later, and hold the same.

Only the columns that the profile names are compared: what else a service writes into its rows is its own affair.
"""

from __future__ import annotations

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case
from rig.evidence.gate import Gate
from rig.evidence.truth import DiscrepancyKind, Lasting
from rig.text import counted

_NAMED = 5

LASTING = GateKind(
    "lasting",
    Kind.TRUTH,
    "each row that was there after the load is there some seconds later, and holds the same in the profile's columns",
)


@emits(LASTING)
def check_lasting(case: Case) -> list[Gate]:
    """Name the rows that vanished or changed; NOT-RUN where they were read once."""
    if case.truth is None:
        return [LASTING.decide({}, unproven=NOT_READ)]
    found = case.truth.lasting
    if found is None:
        return []  # a pack of a rig that did not look again
    if found.untried:
        return [LASTING.not_run(found.untried)]
    if found.unread:
        return [LASTING.decide({}, unproven=found.unread)]
    figures: dict[str, object] = {"rows": found.rows, "seconds": found.seconds}
    if not found.rows:
        return [LASTING.not_run("no row was there after the load", figures)]
    figures |= {"vanished": found.vanished, "changed": found.changed, "columns": list(found.columns)}
    kinds = (DiscrepancyKind.VANISHED, DiscrepancyKind.CHANGED)
    named = [key for key in case.truth.discrepancies if key.kind in kinds]
    if named:
        figures["keys"] = [each.key for each in named[:_NAMED]]
    return [LASTING.decide(figures, wrong="; ".join(_what_is_wrong(found)))]


def _what_is_wrong(found: Lasting) -> list[str]:
    wrong = []
    if found.vanished:
        gone = (
            f"{found.vanished:,} of {found.rows:,} rows vanished within {found.seconds:g} s after they were first read"
        )
        wrong.append(f"{gone}; if the service moves rows to another table, name it: [truth] moves_to")
    if found.changed:
        wrong.append(f"the rows of {counted(found.changed, 'key')} changed within {found.seconds:g} s")
    if found.changed_columns:
        columns = ", ".join(f"{name} in {count:,}" for name, count in found.changed_columns.items())
        key = ", ".join(f'"{name}"' for name in found.changed_columns)
        wrong.append(f"changed columns: {columns}; if they may change, write [truth] volatile = [{key}]")
    return wrong
