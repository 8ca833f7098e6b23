"""copies: rows that belong to no request and carry an event."""

from __future__ import annotations

from rig.checks.copies import check_copies
from rig.evidence.gate import Gate, Verdict
from tests.checks.cases import case, driven, group, plan, truth

S2 = plan("S2")
EXAMPLE = "key-1 (tenant A, S2-50-stripe-1): a row in public.events under tenant NULL, without a key, carries it"


def gate(canonical: int = 10, *, reported: bool = True, **changes: object) -> Gate:
    report = truth([group(S2, canonical=canonical)], **{"copies": 0, **changes})
    (found,) = check_copies(case(driven(S2, reported=reported), truth=report))
    return found


def test_no_copy_among_the_strangers_passes() -> None:
    found = gate(strangers_examined=7)
    assert (found.verdict, found.figures["strangers_examined"]) == (Verdict.PASS, 7)


def test_copies_fail_whoever_did_not_report_and_the_first_is_named() -> None:
    found = gate(copies=3, copy_examples=(EXAMPLE,), reported=False)
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith("3 rows belong to no request")
    assert found.reason.endswith(EXAMPLE)


def test_without_all_reports_no_copy_proves_nothing() -> None:
    assert gate(reported=False).verdict is Verdict.INVALID


def test_where_nothing_was_stored_or_nobody_looked_it_is_not_run() -> None:
    assert gate(canonical=0).verdict is Verdict.NOT_RUN
    assert check_copies(case(driven(S2), truth=truth([group(S2)]))) == [], "a pack of a rig that did not look"
    (unread,) = check_copies(case(driven(S2), truth=None))
    assert unread.verdict is Verdict.INVALID
