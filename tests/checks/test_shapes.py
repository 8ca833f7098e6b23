"""S10: events of many shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rig.checks.judge import judge
from rig.checks.shapes import check_shapes
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.shapes import ShapedEvent, ShapeFinding, ShapeOutcome, ShapesReport

STORED = ShapedEvent("S10-300-a-1", "key", "name is long", ("texts",), ShapeOutcome.STORED, 200, 1.0, compared=2)


def finding(outcome: ShapeOutcome) -> ShapeFinding:
    return ShapeFinding(
        "a", outcome, "amount >= 5: fails", ("amount >= 5",), 2, ("amount",), 7, True, "k", "amount = 9"
    )


def gates(*outcomes: ShapeOutcome, **changes: object) -> Mapping[str, Gate]:
    events = tuple(replace(STORED, outcome=outcome, compared=0) for outcome in outcomes)
    report = replace(ShapesReport((), (STORED, *events)), **changes)  # type: ignore[arg-type]
    return {gate.id: gate for gate in check_shapes(Case(shapes=report))}


def failed(found: Mapping[str, Gate]) -> set[str]:
    return {name for name, gate in found.items() if gate.verdict is Verdict.FAIL}


def test_what_is_refused_or_set_aside_is_no_failure() -> None:
    found = gates(ShapeOutcome.REFUSED, ShapeOutcome.SET_ASIDE, ShapeOutcome.IGNORED, ShapeOutcome.HELD_OFF)
    assert {gate.verdict for name, gate in found.items() if name != "S10.keys"} == {Verdict.PASS}
    assert found["S10.keys"].verdict is Verdict.NOT_RUN
    assert found["S10.answers"].figures["refused"] == 1


def test_each_outcome_fails_its_own_gate_and_its_smallest_event_is_named() -> None:
    for outcome, gate in {
        ShapeOutcome.ERROR: "S10.answers",
        ShapeOutcome.DISBELIEVED: "S10.answers",
        ShapeOutcome.NO_ANSWER: "S10.answers",
        ShapeOutcome.LOST: "S10.rows",
        ShapeOutcome.DOUBLED: "S10.rows",
        ShapeOutcome.KEPT: "S10.rows",
        ShapeOutcome.ALTERED: "S10.content",
        ShapeOutcome.MERGED: "S10.keys",
    }.items():
        found = gates(outcome, findings=(finding(outcome),))
        assert failed(found) == {gate}
        assert "amount >= 5: fails" in found[gate].reason


def test_a_failure_counts_though_the_rest_proves_nothing() -> None:
    found = gates(ShapeOutcome.ERROR, unproven="the target answers no plain event any more")
    assert {name: gate.verdict for name, gate in found.items()} == {
        "S10.answers": Verdict.FAIL,
        "S10.rows": Verdict.INVALID,
        "S10.content": Verdict.INVALID,
        "S10.keys": Verdict.INVALID,
    }


def test_without_fields_content_is_not_run() -> None:
    assert gates(compares_content=False)["S10.content"].verdict is Verdict.NOT_RUN


def test_where_nothing_was_sent_nothing_passes() -> None:
    found = gates(events=(), left_out={"route a": "its body is a text"})
    assert {gate.verdict for gate in found.values()} == {Verdict.NOT_RUN}
    assert "its body is a text" in found["S10.answers"].reason
    only_refused = gates(events=(replace(STORED, outcome=ShapeOutcome.REFUSED, compared=0),))
    assert only_refused["S10.rows"].verdict is Verdict.NOT_RUN


def test_a_key_that_is_refused_shows_nothing_about_keys_that_are_alike() -> None:
    def keys(*outcomes: ShapeOutcome) -> Gate:
        events = tuple(replace(STORED, kinds=("keys",), outcome=outcome) for outcome in outcomes)
        return gates(events=(STORED, *events), left_out={"a: a case": "such a key is refused"})["S10.keys"]

    refused, stored = keys(ShapeOutcome.REFUSED), keys(ShapeOutcome.REFUSED, ShapeOutcome.STORED)
    assert (refused.verdict, refused.reason) == (Verdict.NOT_RUN, "a: a case: such a key is refused")
    assert (stored.verdict, stored.figures["judged"]) == (Verdict.PASS, 1)


def test_what_is_left_out_is_not_run_by_name_and_an_old_pack_has_no_such_gate() -> None:
    (gate,) = check_shapes(Case(left_out={"S10": "the profile leaves it out"}))
    assert (gate.verdict, gate.reason) == (Verdict.NOT_RUN, "the profile leaves it out")
    assert check_shapes(Case()) == []


def test_a_run_that_sends_nothing_else_has_no_gates_of_the_ladder() -> None:
    names = {gate.id for gate in judge(Case(verb="ladder", shapes=ShapesReport((), (STORED,))))}
    assert {"S10.answers", "S10.rows", "S10.content"} <= names
    assert not names & {"totals", "duplicates", "probes"}
