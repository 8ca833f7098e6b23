"""The scenarios as user classes: turns, batches, cuts, credit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from rig.locust_bridge.batches import (
    BATCH_REQUESTS,
    FIRST_CREDIT,
    WORKERS_MOST,
    Allowance,
    batch_scenario,
    cut_batch,
    sources_of,
)
from rig.locust_bridge.plan import LocustPlan, sendable_classes, sendable_scenario
from rig.model import RequestClass, RunKey
from rig.profile import bundled_profile, load_profile
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from scenarios.mix import MIX, PERF_GATE
from scenarios.s8 import perf_gate
from tests.locust.plans import planned

CLASSES = {each.name: each for each in MIX}


def _batch(name: str = "S6Mixed", stream: int = 0, number: int = 0, worker: int = 0):  # type: ignore[no-untyped-def]
    return batch_scenario(CLASSES[name], stream, number, worker=worker, route="stripe", tenant="A", timeout_s=10)


def test_streams_take_turns_by_weight_and_are_spread_out() -> None:
    turns = CLASSES["S6Mixed"].turns()
    assert Counter(turns) == {0: 7, 1: 3, 2: 1}
    assert all(turns[i : i + 4] != (0, 0, 0, 0) for i in range(len(turns) - 3))


def test_no_two_blocks_share_a_label() -> None:
    labels = Counter(
        _batch(each.name, stream, number, worker).label
        for each in MIX
        for stream in range(len(each.streams))
        for number in range(3)
        for worker in (0, 1, WORKERS_MOST - 1)
    )
    assert max(labels.values()) == 1


def test_blocks_of_two_workers_have_no_key_in_common() -> None:
    targeter = Targeter(load_profile(bundled_profile()), RunKey(1, "run", 0))
    keys = [
        targeter.bind(_batch("S2Unique", worker=worker, number=number)).key(seq)
        for worker in (0, 1)
        for number in (0, 1)
        for seq in range(50)
    ]
    assert len(set(keys)) == len(keys)


def test_a_cut_block_has_the_same_keys() -> None:
    targeter = Targeter(load_profile(bundled_profile()), RunKey(1, "run", 0))
    for name in ("S1Replay", "S2Unique", "S4Personal"):
        whole, part = targeter.bind(_batch(name)), targeter.bind(cut_batch(_batch(name), 7))
        assert part.scenario.count == 7 < whole.scenario.count == BATCH_REQUESTS
        assert part.scenario.label == whole.scenario.label
        assert [part.expect(seq) for seq in range(7)] == [whole.expect(seq) for seq in range(7)]


def test_no_block_is_opened_beyond_what_the_master_has_heard_of(tmp_path: Path) -> None:
    plan = LocustPlan.from_wire(planned("http://127.0.0.1:1"))
    allowance = Allowance(plan.own_share)
    source = sources_of(plan, tmp_path, allowance)["S2Unique"]
    source.allowed = 2
    seqs = []
    while (open_batch := source.current()) is not None:
        seqs.append(open_batch.take(0)[0])
    assert seqs == [*range(BATCH_REQUESTS), *range(BATCH_REQUESTS)]
    assert source.empty
    assert allowance.left == plan.own_share - 2 * BATCH_REQUESTS  # what was refused is not gone
    source.allowed = 3
    assert (third := source.current()) is not None
    assert third is source.batches[2]


def test_what_is_announced_lies_ahead_of_all_that_is_used_and_never_goes_back(tmp_path: Path) -> None:
    plan = LocustPlan.from_wire(planned("http://127.0.0.1:1"))
    source = sources_of(plan, tmp_path, Allowance(plan.own_share))["S2Unique"]
    assert source.credit(15, 0) == FIRST_CREDIT
    fast = source.credit(15, 10 * BATCH_REQUESTS)
    assert fast == FIRST_CREDIT + 150
    assert source.credit(15, 0) == fast


def test_users_with_a_rate_keep_to_an_even_share_of_the_ceiling() -> None:
    plan = replace(LocustPlan.from_wire(planned("http://h:1")), rate_per_user_s=10.0, most_rate_per_s=100.0, workers=2)
    assert [plan.period_ns(users) for users in (1, 5, 10)] == [10**8, 10**8, 2 * 10**8]
    assert replace(plan, rate_per_user_s=0.0).period_ns(1000) == 0


def test_a_fixed_count_as_large_as_the_ceiling_is_sent_whole(tmp_path: Path) -> None:
    """Odd, so that no even share of the ceiling would do; then nothing is left for the others, and that is noticed."""
    sent = []
    for worker in range(2):
        profile = load_profile(bundled_profile())
        credentials = {"A": Credentials("key", {route.secret: "secret" for route in profile.routes})}
        fixed = perf_gate("stripe", "A", requests=601)
        plan = LocustPlan(
            "", RunKey(1, "r", 0), profile, "http://127.0.0.1:1", "stripe", "A", credentials, MIX, PERF_GATE, fixed,
            most_requests=601, worker=worker, workers=2,
        )  # fmt: skip
        allowance = Allowance(plan.own_share)
        sources = sources_of(plan, tmp_path, allowance)
        while (whole := sources[PERF_GATE].current()) is not None:
            sent.append(whole.take(0)[0])
        assert not allowance.spent
        assert sources["S2Unique"].current() is None
        assert allowance.spent
    assert sorted(sent) == list(range(601))


def test_what_a_target_cannot_be_sent_is_left_out() -> None:
    sends = frozenset(RequestClass) - {RequestClass.MALFORMED, RequestClass.PERSONAL}
    left = {each.id: [stream.request_class for stream in each.streams] for each in sendable_classes(MIX, sends)}
    assert set(left) == {"S1", "S2", "S6", "S7"}
    assert RequestClass.MALFORMED not in left["S6"]
    assert sendable_classes(MIX, frozenset(RequestClass)) == tuple(MIX)
    whole = perf_gate("in", "A", requests=1000)
    fewer = sendable_scenario(whole, sends)
    assert (fewer.count, len(fewer.shares)) == (1000, 2)
    assert fewer == perf_gate("in", "A", requests=1000, sends=sends)
