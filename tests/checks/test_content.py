"""*.content: rows that hold other content than was sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.checks.content import check_content
from rig.evidence.case import Case
from rig.evidence.gate import Verdict
from rig.evidence.truth import Content, Discrepancy, DiscrepancyKind
from tests.checks.cases import case, driven, plan

FIELDS = {"truth": {"canonical": {"fields": {"amount": {"path": "amount"}}}}}
REASON = "amount: ×100 in 4 of 4"
ALTERED = Discrepancy(DiscrepancyKind.ALTERED, "S2-10-stripe-1", "S2", "A", "k", "amount: '1' became '100'")


def of(*content: Content, profile: dict[str, Any] = FIELDS, keys: tuple[Discrepancy, ...] = ()) -> Case:
    own = case(driven(plan()))
    assert own.truth is not None
    return replace(own, truth=replace(own.truth, content=content, discrepancies=keys), profile=profile)


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        (of(Content("S2", 10, 0)), Verdict.PASS, ""),
        (of(Content("S2", 10, 4, reasons=(REASON,)), keys=(ALTERED,)), Verdict.FAIL, f"than was sent; {REASON}"),
        (of(Content("S2", 0, 0)), Verdict.NOT_RUN, "no row with a mapped column was there"),
        (of(), Verdict.NOT_RUN, "no row with a mapped column was there"),
        (of(profile={}), Verdict.NOT_RUN, "content not compared: the profile names no fields"),
        (of(Content("S2", 5, 0), profile={"routes": [{"fields": {"a": {}}}]}), Verdict.PASS, ""),
        (of(Content("S2", 5, 0), profile={"truth": {"dead": {"fields": {"a": {}}}}}), Verdict.PASS, ""),
        (replace(of(), truth=None), Verdict.INVALID, "was not read"),
    ],
)
def test_content(evidence: Case, verdict: Verdict, reason: str) -> None:
    (gate,) = check_content(evidence)
    assert (gate.id, gate.verdict) == ("S2.content", verdict)
    assert reason in gate.reason


def test_the_first_keys_are_figures() -> None:
    (gate,) = check_content(of(Content("S2", 10, 1), keys=(ALTERED,)))
    assert gate.figures["keys"] == ["k"]


def test_a_pack_of_a_rig_that_did_not_compare_has_no_gate() -> None:
    own = case(driven(plan()))
    assert check_content(own) == []
