"""What is sent: order and composition of the ladder, and the totals that follow from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.engine.pacer import pacer_for
from rig.model import FORGED, RequestClass, Row, RunKey, Scenario, Share, tenants_of
from rig.profile import Profile, bundled_profile, load_profile
from rig.report.scenario_words import SCENARIOS
from rig.requests.sender import Credentials
from rig.requests.targeter import Targeter
from scenarios.capacity import capacity_step
from scenarios.ladder import (
    CONFLICT,
    IDS,
    STEPS,
    Ladder,
    conflicts,
    invalid_json,
    mixed_storm,
    tenant_names,
    unique_storm,
)
from scenarios.s8 import perf_gate
from scenarios.s11 import chaos
from scenarios.sustained import sustained_load

AT_EACH_STEP = ["S1", "S5", "S3", "S7", "S4", "S2", "S6"]
VENDOR_STORMS = ["S3", "S4", "S2", "S6"]
SOURCES = (("fb", "facebook_paid"), ("facebook", "facebook_paid"))
PROFILE = load_profile(bundled_profile())
WHOLE = Ladder(routes=("stripe", "shopify"), sources=SOURCES)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(bundled_profile())


def classes(scenario: Scenario) -> dict[RequestClass, int]:
    """How many requests of each class."""
    counted = Counter[RequestClass]()
    for share in scenario.shares:
        counted[share.request_class] += share.count
    return dict(counted)


def totals(profile: Profile, scenario_runs: Iterable[Scenario]) -> dict[str, tuple[int, int]]:
    """Tenant → canonical rows (distinct keys) and dead letters that the drives must leave when all goes well."""
    targeter = Targeter(profile, RunKey(seed=1, run_id="totals", started_unix=1_800_000_000))
    canonical: set[tuple[str, str]] = set()
    dead = Counter[str]()
    for scenario in scenario_runs:
        targets = targeter.bind(scenario)
        for seq in range(scenario.count):
            expected = targets.expect(seq)
            if expected.row is Row.CANONICAL:
                canonical.add((expected.tenant, expected.key))
            elif expected.row is Row.DEAD:
                dead[expected.tenant] += 1
    kept = Counter(tenant for tenant, _ in canonical)
    return {tenant: (kept[tenant], dead[tenant]) for tenant in kept | dead}


# --- order ---


def test_the_ladder_climbs_in_the_documented_order() -> None:
    plain = Ladder(routes=("stripe",), sources=SOURCES, spread=0)
    order = [(scenario.id, scenario.step) for scenario in plain.scenarios()]
    climbed = [(name, step) for step in (50, 250, 1000) for name in AT_EACH_STEP]
    assert order == [*climbed, ("S9", 2), ("warm-up", 100), *[("S8", 10_000)] * 3]
    assert STEPS == (50, 250, 1000)


def test_other_routes_climb_each_step_and_one_step_is_spread_over_many_tenants() -> None:
    scenario_runs = WHOLE.scenarios()
    of_step = [(scenario_run.id, scenario_run.route) for scenario_run in scenario_runs if scenario_run.step == 250]
    assert of_step == [*((name, "stripe") for name in AT_EACH_STEP), *((name, "shopify") for name in VENDOR_STORMS)]
    spread = [scenario_run for scenario_run in scenario_runs if len(scenario_run.tenants) > 2]
    assert [(scenario_run.id, scenario_run.step, len(scenario_run.tenants)) for scenario_run in spread] == [
        ("S1", 1000, 20),
        ("S2", 1000, 20),
        ("S6", 1000, 20),
    ]
    # The alias pair and the perf gate come after all of them.
    assert [scenario_run.id for scenario_run in scenario_runs[-5:]] == ["S9", "warm-up", "S8", "S8", "S8"]


def test_each_trial_of_the_perf_gate_has_a_tenant_of_its_own() -> None:
    perf = [scenario_run for scenario_run in WHOLE.scenarios() if scenario_run.id in ("warm-up", "S8")]
    assert [scenario_run.tenants for scenario_run in perf] == [("warm-up",), ("S8-1",), ("S8-2",), ("S8-3",)]
    assert [scenario_run.trial for scenario_run in perf[1:]] == [1, 2, 3]
    assert {(scenario_run.limit_s, scenario_run.deadline_s) for scenario_run in perf[1:]} == {(10.0, 120.0)}


def test_concurrency_and_timeout() -> None:
    connections = {scenario_run.id: scenario_run.pace.connections for scenario_run in WHOLE.scenarios()}
    assert {name: connections[name] for name in IDS} == {
        "S1": 200, "S2": 100, "S3": 100, "S4": 100, "S5": 200, "S6": 200, "S7": 100, "S8": 200, "S9": 1,
    }  # fmt: skip
    assert {scenario_run.timeout_s for scenario_run in WHOLE.scenarios()} == {10.0}
    assert {scenario_run.pace.rate_per_s for scenario_run in WHOLE.scenarios()} == {None}


# --- composition ---


@pytest.mark.parametrize(
    ("step", "replays", "unique", "malformed"),
    [
        (50, 35, 15, 5),
        (250, 175, 75, 25),
        (1000, 700, 300, 100),
        # Fractions round down, and are never nothing.
        (99, 69, 29, 9),
        (7, 4, 2, 1),
        (1, 1, 1, 1),
    ],
)
def test_mixed_storm(step: int, replays: int, unique: int, malformed: int) -> None:
    assert classes(mixed_storm(step, "stripe", ("A",))) == {
        RequestClass.REPLAY: replays,
        RequestClass.VALID: unique,
        RequestClass.MALFORMED: malformed,
    }


@pytest.mark.parametrize(("step", "count"), [(1, 1), (49, 49), (50, 50), (51, 50), (1000, 50)])
def test_invalid_json_is_at_most_fifty(step: int, count: int) -> None:
    assert invalid_json(step, "stripe", ("A",)).count == count


@pytest.mark.parametrize(
    ("requests", "replays", "malformed", "personal", "unique"),
    [
        (10_000, 100, 50, 50, 9_800),
        (400, 100, 50, 50, 200),
        (100, 25, 12, 12, 51),
        (8, 2, 1, 1, 4),
        # Too few for every class: what is left of a quarter and an eighth.
        (7, 1, 0, 0, 6),
        (4, 1, 0, 0, 3),
        (3, 0, 0, 0, 3),
        (2, 0, 0, 0, 2),
        (1, 0, 0, 0, 1),
    ],
)
def test_perf_gate(requests: int, replays: int, malformed: int, personal: int, unique: int) -> None:
    expected = {
        RequestClass.REPLAY: replays,
        RequestClass.MALFORMED: malformed,
        RequestClass.PERSONAL: personal,
        RequestClass.VALID: unique,
    }
    assert classes(perf_gate("stripe", "A", requests=requests)) == {k: count for k, count in expected.items() if count}


@given(requests=st.integers(1, 200_000))
def test_a_perf_gate_has_as_many_requests_as_it_was_asked_for(requests: int) -> None:
    scenario = perf_gate("stripe", "A", requests=requests)
    assert scenario.count == scenario.step == requests
    assert all(share.count > 0 for share in scenario.shares)
    assert classes(scenario)[RequestClass.VALID] >= requests / 2


@given(rate=st.floats(0.1, 5_000), seconds=st.floats(0.1, 60))
def test_sustained_lasts_as_long_as_it_was_asked_to(rate: float, seconds: float) -> None:
    scenario = sustained_load("stripe", ("A",), rate_per_s=rate, seconds=seconds)
    assert abs(scenario.count - rate * seconds) <= 1
    assert scenario.pace.rate_per_s == rate
    assert scenario.deadline_s > seconds


def test_aliases_send_the_same_event_under_every_spelling() -> None:
    (scenario,) = [scenario_run for scenario_run in WHOLE.scenarios() if scenario_run.id == "S9"]
    assert [(share.count, share.source, share.channel) for share in scenario.shares] == [
        (1, "fb", "facebook_paid"),
        (1, "facebook", "facebook_paid"),
    ]


# --- names and keys ---


@pytest.mark.parametrize(
    "ladder",
    [
        WHOLE,
        Ladder(routes=("stripe",), sources=SOURCES, documented=True),
        Ladder(routes=("stripe", "shopify", "paypal"), steps=(1, 2, 3), tenants=2),
        Ladder(routes=("stripe",), steps=(3,), tenants=20, perf_trials=20),
        Ladder(routes=("stripe",), spread=3),
    ],
)
def test_labels_and_keys_are_unique_over_the_ladder(ladder: Ladder, profile: Profile) -> None:
    scenario_runs = ladder.scenarios()
    labels = [scenario_run.label for scenario_run in scenario_runs]
    assert len(set(labels)) == len(labels)
    targeter = Targeter(profile, RunKey(1, "unique", 1_800_000_000))
    owners: dict[tuple[str, str], set[str]] = {}
    for scenario_run in scenario_runs:
        targets = targeter.bind(scenario_run)
        for seq in range(0, scenario_run.count, max(1, scenario_run.count // 40)):
            expected = targets.expect(seq)
            if not (ladder.documented and scenario_run.id in ("S1", "S5")):  # which share one key by design
                owners.setdefault((expected.tenant, expected.key), set()).add(scenario_run.label)
    assert [labels for labels in owners.values() if len(labels) > 1] == []


@pytest.mark.parametrize("spread", [1, 2])
def test_a_spread_over_too_few_would_repeat_the_plain_step(spread: int) -> None:
    with pytest.raises(ValueError, match="spread"):
        Ladder(routes=("stripe",), spread=spread)


def test_a_step_that_comes_twice_would_send_its_keys_twice() -> None:
    with pytest.raises(ValueError, match="steps"):
        Ladder(routes=("stripe",), steps=(50, 50))


# --- what is left out ---


def test_only_some_scenarios() -> None:
    some = Ladder(routes=("stripe", "shopify"), sources=SOURCES, steps=(50,), only=frozenset({"S2", "S9"}))
    assert [(scenario_run.id, scenario_run.route, len(scenario_run.tenants)) for scenario_run in some.scenarios()] == [
        ("S2", "stripe", 1),
        ("S2", "shopify", 1),
        ("S2", "stripe", 20),
        ("S9", "stripe", 1),
    ]
    # The warm-up belongs to the perf gate alone.
    perf = Ladder(routes=("stripe",), only=frozenset({"S8"}), perf_trials=2)
    assert [scenario_run.id for scenario_run in perf.scenarios()] == ["warm-up", "S8", "S8"]
    # A profile that knows no aliases has no S9.
    assert Ladder(routes=("stripe",), only=frozenset({"S9"})).scenarios() == []


def test_tenants_spread_all_but_the_collision_the_aliases_and_the_perf_gate() -> None:
    scenario_runs = Ladder(routes=("stripe",), sources=SOURCES, steps=(50,), tenants=5).scenarios()
    spread = {scenario_run.id: len(scenario_run.tenants) for scenario_run in scenario_runs}
    assert spread == {
        "S1": 5, "S2": 5, "S3": 5, "S4": 5, "S5": 2, "S6": 5, "S7": 5, "S8": 1, "S9": 1, "warm-up": 1,
    }  # fmt: skip
    # Who is spread already is not spread again.
    assert [scenario_run.id for scenario_run in scenario_runs].count("S1") == 1


def test_tenant_names() -> None:
    assert tenant_names(1) == ("A",)
    assert tenant_names(3) == ("T01", "T02", "T03")
    scenario_runs = Ladder(routes=("stripe",), documented=True).scenarios()
    assert tenants_of(scenario_runs) == ("A", "B", "warm-up")
    assert len(tenants_of(WHOLE.scenarios())) == 2 + 20 + 1 + 3


# --- totals ---


def test_the_documented_composition(profile: Profile) -> None:
    """The four literals of the evidence documents, derived from what is sent. The warm-up has a tenant of its own."""
    ladder = Ladder(routes=("stripe", "shopify"), sources=profile.sources, documented=True)
    assert {scenario_run.route for scenario_run in ladder.scenarios()} == {"stripe"}
    assert totals(profile, ladder.scenarios()) == {"A": (11_498, 2_980), "B": (1, 0), "warm-up": (100, 0)}


def test_the_totals_of_one_perf_trial(profile: Profile) -> None:
    assert totals(profile, [perf_gate("stripe", "A")]) == {"A": (9_801, 100)}


@pytest.mark.parametrize(
    ("name", "canonical", "dead"),
    [("S1", 1, 0), ("S2", 50, 0), ("S3", 0, 50), ("S4", 0, 50), ("S6", 16, 5), ("S7", 0, 50), ("S9", 2, 0)],
)
def test_what_each_scenario_leaves(profile: Profile, name: str, canonical: int, dead: int) -> None:
    ladder = Ladder(routes=("stripe",), sources=profile.sources, steps=(50,), spread=0, only=frozenset({name}))
    assert totals(profile, ladder.scenarios()) == {"A": (canonical, dead)}


def test_the_collision_leaves_one_row_in_each_tenant(profile: Profile) -> None:
    ladder = Ladder(routes=("stripe",), steps=(50,), spread=0, only=frozenset({"S5"}))
    assert totals(profile, ladder.scenarios()) == {"A": (1, 0), "B": (1, 0)}


def test_the_collision_comes_once_one_after_another() -> None:
    """A service that looks for the key before it inserts finds that of another tenant only then."""
    ladder = Ladder(routes=("stripe",), steps=(250, 50, 1000), only=frozenset({"S5"}))
    assert {each.step: each.pace.connections for each in ladder.scenarios()} == {50: 1, 250: 200, 1000: 200}
    documented = Ladder(routes=("stripe",), only=frozenset({"S5"}), documented=True)
    assert {each.pace.connections for each in documented.scenarios()} == {200}


def test_spread_replays_leave_one_row_in_each_of_the_tenants(profile: Profile) -> None:
    ladder = Ladder(routes=("stripe",), steps=(50,), tenants=20, only=frozenset({"S1"}))
    assert totals(profile, ladder.scenarios()) == dict.fromkeys(tenant_names(20), (1, 0))


# --- what a target cannot be sent ---

EVERY_CLASS = frozenset(RequestClass)


def test_a_route_without_malformed_bodies_is_sent_none() -> None:
    plain = Ladder(("main",), sends={"main": frozenset({RequestClass.VALID, RequestClass.REPLAY})}, most_tenants=1)
    sent = plain.scenarios()
    assert {share.request_class for scenario in sent for share in scenario.shares} == {
        RequestClass.VALID,
        RequestClass.REPLAY,
    }
    assert {tenant for scenario in sent for tenant in scenario.tenants} == {"A"}
    assert {scenario.id for scenario in sent} == {"S1", "S2", "S6", "S8", "warm-up"}
    assert plain.left_out().keys() == {"S3", "S4", "S5", "S7"}
    perf = [scenario for scenario in sent if scenario.id == "S8"]
    assert [scenario.count for scenario in perf] == [10_000] * 3


def test_a_conflict_follows_where_the_profile_says_what_it_is_answered() -> None:
    sent = Ladder(("main", "other"), steps=(5,), sends=dict.fromkeys(("main", "other"), EVERY_CLASS)).scenarios()
    labels = [scenario.label for scenario in sent]
    for route in ("main", "other"):
        assert labels.index(f"conflict-5-{route}-1") == labels.index(f"S2-5-{route}-1") + 1
    assert not any(scenario.id == "conflict" for scenario in Ladder(("main",)).scenarios())


def test_a_conflict_has_the_keys_of_the_unique_storm_and_other_amounts() -> None:
    targeter = Targeter(PROFILE, RunKey(1, "r", 1_800_000_000))
    own = {"A": Credentials("key", {route.secret: "secret" for route in PROFILE.routes})}
    first, second = (
        targeter.bind(scene, own) for scene in (unique_storm(9, "shopify", ("A",)), conflicts(9, "shopify", ("A",)))
    )
    for seq in range(9):
        assert first.key(seq) == second.key(seq)
        one, other = (json.loads(each.body(seq, 1_800_000_000)) for each in (first, second))
        assert one["id"] == other["id"]
        assert one["total_price"] != other["total_price"]


def test_chaos_redelivers_and_outlives_an_outage() -> None:
    scene = chaos("stripe", ("S11",))
    assert scene.count == 1650
    assert {share.request_class: share.count for share in scene.shares} == {
        RequestClass.VALID: 1568,
        RequestClass.MALFORMED: 82,
    }
    assert scene.redelivery is not None
    assert scene.redelivery.span_s > 30
    assert scene.deadline_s > 16 + scene.redelivery.span_s
    assert chaos("stripe", ("S11",), sends=()).shares == (Share(RequestClass.VALID, 1650),)


def test_an_attempt_of_a_chaos_may_take_as_long_as_the_profile_says() -> None:
    slow = chaos("stripe", ("S11",), timeout_s=10.0)
    assert slow.timeout_s == 10.0
    assert slow.pace.connections == 500, "also where all hang, a client has a bound"
    assert (slow.deadline_s or 0) > (chaos("stripe", ("S11",)).deadline_s or 0) + 100


def test_a_report_has_words_for_every_scenario() -> None:
    assert {*IDS, "S10", "S11", CONFLICT, FORGED, "warm-up", "sustained", "capacity"} == SCENARIOS.keys()


def test_a_step_for_the_capacity_climbs_to_its_rate_and_lasts_as_long_as_asked_for() -> None:
    scenario = capacity_step("stripe", ("A",), 1, 1000.0, 5.0, p95_limit_ms=500.0)
    pacer = pacer_for(scenario.pace, scenario.count, seed=1)
    assert pacer is not None
    due_s = [pacer.intended_ns(seq) / 1e9 for seq in range(scenario.count)]
    assert due_s[-1] == pytest.approx(5.0, abs=0.002)
    assert sum(each < 0.5 for each in due_s) == pytest.approx(250, abs=1)
    assert sum(4.0 <= each < 5.0 for each in due_s) == pytest.approx(1000, abs=1)
