"""``transactions``: no transaction that began during the load stays open after it.

A session that is idle in a transaction holds its connection, its locks and its snapshot, and what it wrote is not
committed. The truth is read all the same (``rig.truth.quiesce``): nobody can say when such a transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from rig.checks.gates import GateKind, Kind, emits
from rig.evidence.case import NOT_READ, Case
from rig.evidence.gate import Gate
from rig.evidence.truth import OpenTransaction

_NAMED = 3
_HIDDEN = "the role of the truth DSN does not see what other roles do (GRANT pg_monitor TO it)"

TRANSACTIONS = GateKind("transactions", Kind.TRUTH, "no session stays idle in a transaction that began during the load")


@emits(TRANSACTIONS)
def check_transactions(case: Case) -> list[Gate]:
    """Name the sessions that left a transaction open."""
    if case.truth is None:
        return [TRANSACTIONS.decide({}, unproven=NOT_READ)]
    left = case.truth.left_open
    if left is None:
        return [TRANSACTIONS.not_run(_HIDDEN)] if case.truth.hides_sessions else []
    figures: dict[str, object] = {"left_open": len(left)}
    if left:
        figures["sessions"] = [str(each) for each in left[:_NAMED]]
    return [TRANSACTIONS.decide(figures, wrong=describe_open_transactions(left))]


def describe_open_transactions(left: Sequence[OpenTransaction]) -> str:
    """What was left open and what to mend; empty where nothing was."""
    if not left:
        return ""
    named = "; ".join(map(str, left[:_NAMED]))
    more = f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return (
        f"transactions that the target has left open: {len(left)}: {named}{more}. What was written in them is not "
        "committed, and their connections and locks stay taken: commit or roll back wherever a request ends, also "
        "after an error. If it is no session of the target, like that of a person, end it and run again"
    )
