"""``forged`` and ``bodies``: literal cases for each verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from rig.checks.answers import check_answers
from rig.checks.bodies import check_bodies
from rig.checks.forged import check_forged
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.truth import Discrepancy, DiscrepancyKind
from rig.model import FORGED, Forgery, RequestClass, Share
from tests.checks.cases import case, driven, plan, truth

SHARES = (
    Share(RequestClass.VALID, 2),
    Share(RequestClass.FORGED, 3, forgery=Forgery.STALE),
    Share(RequestClass.FORGED, 3, forgery=Forgery.BODY_SPACE),
)
CLASSES = [share.class_name for share in SHARES for _ in range(share.count)]


def run(**changed: dict[int, Any]) -> Case:
    """Two valid and six forged requests, all answered as they must be but for the rows that are ``changed``."""
    whole = case(driven(plan(FORGED, shares=SHARES)))
    rows = whole.history.astype({"class": str, "outcome": str, "error_kind": str}).copy()
    rows["class"] = CLASSES
    rows["status"] = [200, 200, *[401] * 6]
    for column, values in changed.items():
        for row, value in values.items():
            rows.loc[row, column] = value
    return replace(whole, history=rows, truth=truth(), profile={"answers": {"correlation": {"header": "X"}}})


def judged(evidence: Case) -> Gate:
    (gate,) = check_forged(evidence)
    return gate


def test_all_refused() -> None:
    gate = judged(run())
    assert (gate.verdict, gate.figures["sent"], gate.figures["let_in"]) == (Verdict.PASS, 6, 0)
    assert gate.figures["kinds"] == ["body-space 3", "stale 3"]
    assert any(kind.startswith("other-tenant (") for kind in gate.figures["not_run"])  # type: ignore[attr-defined]


def test_one_let_in() -> None:
    evidence = run(status={3: 202}, outcome={3: "refused"})
    gate = judged(evidence)
    assert gate.verdict is Verdict.FAIL
    assert "1 of 6 were let in (stale 1 of 3)" in gate.reason
    (answers,) = check_answers(evidence)
    assert answers.verdict is Verdict.PASS


def test_an_error_of_the_server_is_no_refusal_and_not_let_in_either() -> None:
    evidence = run(status={3: 500}, outcome={3: "refused"})
    assert judged(evidence).verdict is Verdict.PASS
    (answers,) = check_answers(evidence)
    assert answers.verdict is Verdict.FAIL


def test_refused_but_stored() -> None:
    found = Discrepancy(DiscrepancyKind.FORGED, "forged-1", FORGED, "A", "key-1", "stale, stored as a dead row")
    gate = judged(replace(run(), truth=truth(discrepancies=(found,))))
    assert gate.verdict is Verdict.FAIL
    assert "key-1: stale, stored as a dead row" in gate.reason


def test_a_refusal_proves_nothing_where_the_valid_are_refused_too_or_nobody_looked() -> None:
    refused = run(status={0: 401, 1: 401}, outcome={0: "refused", 1: "refused"})
    assert judged(refused).verdict is Verdict.INVALID
    assert judged(replace(run(), truth=None)).verdict is Verdict.INVALID


def test_nothing_to_forge() -> None:
    plain = case(driven(plan("S2")))
    assert check_forged(plain) == []
    (gate,) = check_forged(replace(plain, left_out={FORGED: "the profile says so"}))
    assert (gate.verdict, gate.reason) == (Verdict.NOT_RUN, "the profile says so")


def test_bodies() -> None:
    (good,) = check_bodies(run())
    assert (good.verdict, good.figures["read"]) == (Verdict.PASS, 2)  # the forged ones are not looked at
    contradicted = run(error_kind={0: "contradicted"})
    (bad,) = check_bodies(contradicted)
    assert (bad.verdict, bad.reason) == (Verdict.FAIL, "1 contradicted")
    (answers,) = check_answers(contradicted)
    assert answers.verdict is Verdict.PASS


def test_bodies_of_one_route() -> None:
    rule = {"valid": {"body": {"contains": "noted"}}}
    for route, verdict in (("stripe", Verdict.FAIL), ("shopify", Verdict.NOT_RUN)):
        profile = {"answers": {"correlation": None}, "routes": [{"name": route, "answers": rule}]}
        (gate,) = check_bodies(replace(run(error_kind={0: "contradicted"}), profile=profile))
        assert gate.verdict is verdict


def test_bodies_that_nobody_asked_for() -> None:
    silent = replace(run(), profile={"answers": {"correlation": None}})
    assert check_bodies(silent)[0].verdict is Verdict.NOT_RUN
    assert check_bodies(replace(run(), profile={"answers": {}})) == []
    empty = replace(run(), history=pd.DataFrame(run().history.iloc[:0]))
    assert check_bodies(empty)[0].verdict is Verdict.NOT_RUN
