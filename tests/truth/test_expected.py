"""Expectations and the index of requests, without a database."""

from __future__ import annotations

import numpy as np
import pytest

from rig.model import Outcome, RequestClass, Row, RunKey, Share, Tenant
from rig.requests.targeter import Targeter
from rig.truth.expected import RequestIndex, RunOutcomes, SentRequests, expectations
from tests.truth.world import profile, scenario

TARGETER = Targeter(profile(), RunKey(7, "run-1", 1_700_000_000))
SHARES = (Share(RequestClass.REPLAY, 3, one_key=True), Share(RequestClass.PERSONAL, 2))


def test_one_expectation_a_request_in_order() -> None:
    first = RunOutcomes(scenario("S1", *SHARES), np.array([0, 1, 2, 3, 4], np.uint8))
    second = RunOutcomes(scenario("S2", tenants=("A", "B")), np.zeros(10, np.uint8))
    rows = list(expectations(SentRequests(TARGETER, [first, second], (Tenant("B", "b"), Tenant("A", "a")))))
    assert [row.scenario_run for row in rows] == [0] * 5 + [1] * 10
    assert [row.outcome for row in rows[:5]] == [outcome.code for outcome in Outcome]
    assert [row.row for row in rows[:5]] == [Row.CANONICAL] * 3 + [Row.DEAD] * 2
    assert {row.tenant for row in rows[:5]} == {1}
    assert len({row.key for row in rows[:3]}) == 1
    assert {row.tenant for row in rows[5:]} == {0, 1}
    assert len({row.correlation for row in rows}) == 15


def test_an_outcome_for_each_request_or_none() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(10,\)"):
        RunOutcomes(scenario(), np.zeros(3, np.uint8))


def test_the_index_knows_its_own_requests_only() -> None:
    sent = scenario("S4", *SHARES)
    index = RequestIndex(TARGETER, [sent])
    targets = TARGETER.bind(sent)
    for token in targets.canary(4).tokens:
        assert index.by_canary(token) == "S4-1-orders-1 request 4 of tenant A"
    assert index.by_canary(targets.canary(0).tokens[0]) is None, "request 0 carries no personal data"
    assert index.by_identity(targets.expect(2).key) == "S4-1-orders-1 request 0 of tenant A"
    assert index.by_identity(targets.expect(2).correlation) == "S4-1-orders-1 request 2 of tenant A"
    assert index.by_identity("somebody else's") is None
