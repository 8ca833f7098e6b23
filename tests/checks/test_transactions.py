"""transactions: what the load left open in the database."""

from __future__ import annotations

from dataclasses import replace

from rig.checks.rows import check_rows
from rig.checks.transactions import check_transactions
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import OpenTransaction
from tests.checks.cases import case, driven, group, plan, truth

S2 = plan("S2")
LEFT = OpenTransaction(71, "shop-worker", "app", "idle in transaction", 1.0, 15.2)


def gate(*left: OpenTransaction) -> Gate:
    evidence = case(driven(S2), truth=truth([group(S2, canonical=10)], left_open=left))
    (rows,) = check_rows(evidence)
    assert rows.verdict is Verdict.PASS, "the rows that were read are judged all the same"
    (found,) = check_transactions(evidence)
    return found


def test_nothing_left_open_passes() -> None:
    assert gate().verdict is Verdict.PASS


def test_a_transaction_that_was_left_open_is_the_targets_fault_and_is_named() -> None:
    found = gate(LEFT, *(replace(LEFT, pid=pid, application="") for pid in (72, 73, 74)))
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith(
        "transactions that the target has left open: 4: pid 71 (shop-worker, role app, idle in transaction for 15 s); "
        "pid 72 (no application name, role app, idle in transaction for 15 s); "
    )
    assert "; and 1 more. What was written in them is not committed" in found.reason


def test_what_was_not_looked_at_proves_nothing() -> None:
    (unread,) = check_transactions(case(driven(S2), truth=None))
    assert unread.verdict is Verdict.INVALID
    assert check_transactions(case(driven(S2), truth=truth([group(S2)]))) == [], "a pack of a rig that did not look"
    (hidden,) = check_transactions(case(driven(S2), truth=truth([group(S2)], hides_sessions=True)))
    assert hidden.verdict is Verdict.NOT_RUN
    assert "GRANT pg_monitor" in hidden.reason
