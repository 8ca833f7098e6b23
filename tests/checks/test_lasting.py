"""lasting: rows that were there after the load, and what became of them."""

from __future__ import annotations

from typing import Any

from rig.checks.lasting import check_lasting
from rig.checks.rows import check_rows
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import Discrepancy, DiscrepancyKind, Lasting
from tests.checks.cases import case, driven, group, plan, truth

S2 = plan("S2")


def gate(lasting: Lasting, *discrepancies: Discrepancy) -> Gate:
    report = truth([group(S2, canonical=10)], lasting=lasting, discrepancies=discrepancies)
    (rows,) = check_rows(case(driven(S2), truth=report))
    assert rows.verdict is Verdict.PASS, "what comes later is no fault of the rows that were read"
    (found,) = check_lasting(case(driven(S2), truth=report))
    return found


def seen(**changes: Any) -> Lasting:
    return Lasting(**{"rows": 10, "seconds": 6.5, "columns": ("events.amount",), **changes})


def test_rows_that_are_there_and_the_same_pass() -> None:
    found = gate(seen())
    assert found.verdict is Verdict.PASS
    assert found.figures == {
        "rows": 10, "seconds": 6.5, "vanished": 0, "changed": 0, "columns": ["events.amount"]
    }  # fmt: skip


def test_vanished_rows_fail_with_their_keys_and_the_key_of_the_profile() -> None:
    key = Discrepancy(DiscrepancyKind.VANISHED, "S2-10-stripe-1", "S2", "A", "key-1", "1 canonical rows gone")
    found = gate(seen(vanished=3), key)
    assert found.verdict is Verdict.FAIL
    assert "3 of 10 rows vanished within 6.5 s" in found.reason
    assert "[truth] moves_to" in found.reason
    assert found.figures["keys"] == ["key-1"]


def test_changed_columns_are_named_with_what_to_write_if_they_may_change() -> None:
    found = gate(seen(changed=4, changed_columns={"status": 4, "amount": 1}))
    assert found.verdict is Verdict.FAIL
    assert "the rows of 4 keys changed" in found.reason
    assert found.reason.endswith(
        'changed columns: status in 4, amount in 1; if they may change, write [truth] volatile = ["status", "amount"]'
    )


def test_what_was_not_looked_at_twice_is_not_run_and_what_could_not_be_read_again_is_invalid() -> None:
    assert gate(Lasting(untried="the rows were read once")).verdict is Verdict.NOT_RUN
    assert gate(seen(rows=0)).verdict is Verdict.NOT_RUN
    assert gate(Lasting(unread="the database is gone")).verdict is Verdict.INVALID
    (unread,) = check_lasting(case(driven(S2), truth=None))
    assert unread.verdict is Verdict.INVALID
    assert check_lasting(case(driven(S2), truth=truth([group(S2)]))) == [], "a pack of a rig that did not look again"
