"""Each anomaly seeded by SQL into a clean database is found, charged to the right drive, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from rig.evidence.truth import DiscrepancyKind, Group, Total, TruthReport
from rig.model import Outcome, RequestClass, Row, Share
from rig.profile import Answer, Answers, Profile
from rig.requests.targeter import Expected
from rig.truth.reconcile import Baseline
from tests.truth.world import TENANTS, World, profile, scenario, tenant_id

VALID, MALFORMED = RequestClass.VALID, RequestClass.MALFORMED
MIXED = (Share(RequestClass.REPLAY, 7, one_key=True), Share(VALID, 3), Share(MALFORMED, 2))


def found(report: TruthReport) -> dict[DiscrepancyKind, set[str]]:
    kinds: dict[DiscrepancyKind, set[str]] = {}
    for discrepancies in report.discrepancies:
        kinds.setdefault(discrepancies.kind, set()).add(discrepancies.key)
    return kinds


def group(report: TruthReport, scenario_run: int = 0, tenant: str = "A") -> Group:
    return [group for group in report.groups if group.tenant == tenant][scenario_run]


def numbers(group: Group) -> tuple[int, ...]:
    return (
        group.canonical_min, group.canonical_max, group.canonical, group.dead_min, group.dead_max, group.dead,
    )  # fmt: skip


def total(report: TruthReport, row: Row, tenant: str = "A") -> tuple[int, int, int]:
    [only] = [total for total in report.totals if total.tenant == tenant and total.row is row]
    return only.expected_min, only.expected_max, only.observed


@pytest.fixture
def mixed(world: World) -> World:
    world.run_scenario(scenario("S6", *MIXED, shuffled=True))
    world.settle()
    return world


def first(world: World, kind: RequestClass) -> Expected:
    return next(expected for expected in world.expect() if expected.request_class is kind)


def test_clean_stays_clean(mixed: World) -> None:
    report = mixed.read()
    assert report.discrepancies == ()
    assert numbers(group(report)) == (4, 4, 4, 2, 2, 2)
    assert report.totals == (
        Total("A", Row.CANONICAL, 4, 4, 4),
        Total("A", Row.DEAD, 2, 2, 2),
        Total("B", Row.CANONICAL, 0, 0, 0),
        Total("B", Row.DEAD, 0, 0, 0),
    )
    assert (report.keys_reconciled, report.duplicated_keys) == (6, 0)
    assert report.read_s > 0


def test_a_canonical_row_lost(mixed: World) -> None:
    victim = first(mixed, VALID)
    mixed.execute("DELETE FROM {sales} WHERE {dedup} = {}", victim.key)
    report = mixed.read()
    assert found(report) == {DiscrepancyKind.LOST: {victim.key}}
    assert report.discrepancies[0].scenario_run == "S6-1-orders-1"
    assert group(report).discrepancies == {"lost": 1}
    assert numbers(group(report)) == (4, 4, 3, 2, 2, 2)


def test_a_dead_letter_lost(mixed: World) -> None:
    victim = first(mixed, MALFORMED)
    mixed.execute("DELETE FROM {letters} WHERE key = {}", victim.key)
    report = mixed.read()
    assert found(report) == {DiscrepancyKind.LOST: {victim.key}}
    assert numbers(group(report)) == (4, 4, 4, 2, 2, 1)


@pytest.mark.parametrize("kind", [RequestClass.REPLAY, MALFORMED])
def test_duplicated(mixed: World, kind: RequestClass) -> None:
    victim = first(mixed, kind)
    (mixed.keep if kind is RequestClass.REPLAY else mixed.bury)(victim)
    report = mixed.read()
    assert found(report) == {DiscrepancyKind.DUPLICATED: {victim.key}}
    assert report.duplicated_keys == (kind is RequestClass.REPLAY)


def test_unexpected_rows_of_nobody(mixed: World) -> None:
    nobody = first(mixed, VALID)._replace(key="never-sent", correlation="nothing")
    mixed.keep(nobody)
    mixed.bury(nobody._replace(key="never-either"))
    report = mixed.read()
    assert found(report) == {DiscrepancyKind.UNEXPECTED: {"never-sent", "never-either"}}
    assert {discrepancies.scenario_run for discrepancies in report.discrepancies} == {""}
    assert total(report, Row.CANONICAL) == (4, 4, 5)
    assert total(report, Row.DEAD) == (2, 2, 3)


def test_a_dead_letter_without_a_name(mixed: World) -> None:
    mixed.bury(first(mixed, VALID), key=None)
    [discrepancies] = mixed.read().discrepancies
    assert (discrepancies.kind, discrepancies.key) == (DiscrepancyKind.UNEXPECTED, "")


@pytest.mark.parametrize("kind", [VALID, MALFORMED])
def test_misrouted_is_not_also_lost(mixed: World, kind: RequestClass) -> None:
    victim = first(mixed, kind)
    if kind is VALID:
        mixed.execute("DELETE FROM {sales} WHERE {dedup} = {}", victim.key)
        mixed.bury(victim)
    else:
        mixed.execute("DELETE FROM {letters} WHERE key = {}", victim.key)
        mixed.keep(victim)
    report = mixed.read()
    assert found(report) == {DiscrepancyKind.MISROUTED: {victim.key}}
    assert group(report).discrepancies == {"misrouted": 1}


@pytest.mark.parametrize("kind", [VALID, MALFORMED])
@pytest.mark.parametrize("other", [tenant_id("B"), "a tenant of somebody else"])
def test_wrong_tenant_is_not_also_lost(mixed: World, kind: RequestClass, other: str) -> None:
    victim = first(mixed, kind)
    mixed.execute('UPDATE {sales} SET "shop id" = {} WHERE {dedup} = {}', other, victim.key)
    mixed.execute("UPDATE {letters} SET shop = {} WHERE key = {}", other, victim.key)
    report = mixed.read()
    assert found(report) == {DiscrepancyKind.WRONG_TENANT: {victim.key}}
    assert other in report.discrepancies[0].detail
    assert report.discrepancies[0].tenant == "A"


def test_wrong_correlation(mixed: World) -> None:
    victim = first(mixed, RequestClass.REPLAY)
    mixed.execute("UPDATE {sales} SET trace = NULL WHERE {dedup} = {}", victim.key)
    assert found(mixed.read()) == {DiscrepancyKind.WRONG_CORRELATION: {victim.key}}


def test_wrong_channel(world: World) -> None:
    shares = [Share(VALID, 1, source=source, channel="facebook_paid") for source in ("fb", "facebook")]
    world.run_scenario(scenario("S9", *shares))
    world.settle()
    assert world.read().discrepancies == ()
    victim = world.expect()[1]
    world.execute("UPDATE {sales} SET medium = {} WHERE {dedup} = {}", "facebook", victim.key)
    report = world.read()
    assert found(report) == {DiscrepancyKind.WRONG_CHANNEL: {victim.key}}
    assert report.discrepancies[0].detail == "stored under the channel facebook instead of facebook_paid"


def test_one_key_in_two_tenants(world: World) -> None:
    world.run_scenario(scenario("S5", Share(VALID, 6, one_key=True), tenants=("A", "B"), shared_key=True))
    world.settle()
    report = world.read()
    assert report.discrepancies == ()
    assert [numbers(group(report, 0, tenant)) for tenant in "AB"] == [(1, 1, 1, 0, 0, 0)] * 2
    # One deduplication scope for all tenants: the second one's row is never made.
    world.execute('DELETE FROM {sales} WHERE "shop id" = {}', tenant_id("B"))
    report = world.read()
    assert [(discrepancies.kind, discrepancies.tenant) for discrepancies in report.discrepancies] == [
        (DiscrepancyKind.LOST, "B")
    ]


def test_one_key_in_several_drives_is_one_row(world: World) -> None:
    for step in (50, 250):
        world.run_scenario(scenario("S1", Share(VALID, 5, one_key=True), step=step, key_step=0))
    world.settle()
    report = world.read()
    assert report.discrepancies == ()
    assert [numbers(found) for found in report.groups] == [(1, 1, 1, 0, 0, 0)] * 2
    assert total(report, Row.CANONICAL) == (1, 1, 1)
    world.execute("DELETE FROM {sales}")
    report = world.read()
    assert [discrepancies.scenario_run for discrepancies in report.discrepancies] == [
        "S1-50-orders-1",
        "S1-250-orders-1",
    ]


@pytest.mark.parametrize("kind", [VALID, MALFORMED])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcomes(world: World, kind: RequestClass, outcome: Outcome, stored: bool) -> None:
    world.run_scenario(scenario("S2", Share(kind, 1)), outcome)
    expected = world.expect()[0]
    if stored:
        (world.keep if kind is VALID else world.bury)(expected)
    wanted = {
        (Outcome.ACKNOWLEDGED, False): {DiscrepancyKind.LOST: {expected.key}},
        (Outcome.REFUSED, True): {DiscrepancyKind.RECOVERED: {expected.key}},
        (Outcome.INDETERMINATE, True): {DiscrepancyKind.RECOVERED: {expected.key}},
        (Outcome.NOT_SENT, True): {DiscrepancyKind.UNEXPECTED: {expected.key}},
    }
    report = world.read()
    assert found(report) == wanted.get((outcome, stored), {})
    interval = (outcome is Outcome.ACKNOWLEDGED, outcome is not Outcome.NOT_SENT, stored)
    assert total(report, Row.CANONICAL if kind is VALID else Row.DEAD) == interval


def test_an_acknowledgement_of_any_request_of_a_key_counts(world: World) -> None:
    share = Share(VALID, 5, one_key=True)
    world.run_scenario(scenario("S1", share), lambda seq: Outcome.ACKNOWLEDGED if seq == 3 else Outcome.REFUSED)
    assert set(found(world.read())) == {DiscrepancyKind.LOST}


def test_a_request_that_may_leave_no_row(make_world: Callable[[Profile], World]) -> None:
    described = profile().model_copy(update={"answers": Answers(malformed=Answer(status=(422,), row=Row.NONE))})
    world = make_world(described)
    world.run_scenario(scenario("S3", Share(MALFORMED, 2)))
    assert world.read().discrepancies == ()
    one, other = world.expect()
    world.keep(one)
    world.bury(other)
    assert found(world.read()) == {DiscrepancyKind.UNEXPECTED: {one.key, other.key}}


@pytest.mark.parametrize(
    ("match", "column", "path"),
    [
        ("correlation", "trace", None),
        ("payload-key", "doc", "inner.0.dedup"),
        ("payload-key", "raw", "inner.dedup"),
        ("payload-correlation", "raw", "inner.trace"),
    ],
)
def test_other_ways_to_match_a_dead_letter(
    make_world: Callable[[Profile], World], match: str, column: str, path: str | None
) -> None:
    world = make_world(profile(match, path=path, column=column))
    world.run_scenario(scenario("S6", *MIXED))
    world.settle()
    assert world.read().discrepancies == ()
    victim = first(world, MALFORMED)
    world.execute("DELETE FROM {letters} WHERE key = {}", victim.key)
    world.execute("DELETE FROM {sales} WHERE {dedup} = {}", first(world, VALID).key)
    world.bury(first(world, VALID))
    assert found(world.read()) == {
        DiscrepancyKind.LOST: {victim.key},
        DiscrepancyKind.MISROUTED: {first(world, VALID).key},
    }


def test_truncated_bodies_are_matched_by_number(make_world: Callable[[Profile], World]) -> None:
    world = make_world(profile("payload-key", path="inner.dedup"))
    world.run_scenario(scenario("S7", Share(RequestClass.INVALID_JSON, 4)))
    for expected in world.expect():
        world.bury(expected, raw='{"inner": {"ded')
    report = world.read()
    assert report.discrepancies == ()
    assert numbers(group(report)) == (0, 0, 0, 4, 4, 4)


@pytest.mark.parametrize("stray", [-1, 0, 1])
def test_counts_alone(make_world: Callable[[Profile], World], stray: int) -> None:
    world = make_world(profile("count", correlation=False))
    world.run_scenario(scenario("S3", Share(MALFORMED, 4)))
    world.run_scenario(scenario("S7", Share(RequestClass.INVALID_JSON, 2)))
    for expected in [*world.expect(0), *world.expect(1)]:
        world.bury(expected)
    if stray > 0:
        world.bury(world.expect()[0])
    elif stray < 0:
        world.execute("DELETE FROM {letters} WHERE key = {}", world.expect()[0].key)
    report = world.read()
    kinds = {-1: {DiscrepancyKind.LOST}, 0: set(), 1: {DiscrepancyKind.UNEXPECTED}}
    assert set(found(report)) == kinds[stray]
    assert total(report, Row.DEAD) == (6, 6, 6 + stray)
    # Which drive lacks it nobody can know, so each is charged with it.
    assert [dict(found.discrepancies) for found in report.groups] == [{"lost": 1} if stray < 0 else {}] * 2
    assert sum(found.dead for found in report.groups) == 6 + min(stray, 0)


def test_counts_alone_with_no_row_at_all(make_world: Callable[[Profile], World]) -> None:
    world = make_world(profile("count"))
    world.run_scenario(scenario("S3", Share(MALFORMED, 4)))
    assert found(world.read()) == {DiscrepancyKind.LOST: {expected.key for expected in world.expect()}}


def test_rows_of_before_are_subtracted(world: World) -> None:
    world.run_scenario(scenario("S6", *MIXED))
    older = world.expect()[0]
    for number in range(3):
        world.keep(older._replace(key=f"older-{number}"))
        world.bury(older._replace(key=f"older-{number}"))
    world.begin()
    world.settle()
    report = world.read()
    assert report.discrepancies == ()
    assert total(report, Row.CANONICAL) == (4, 4, 4)
    assert total(report, Row.DEAD) == (2, 2, 2)
    world.keep(older._replace(key="unknown"))
    report = world.read()
    assert [(discrepancies.kind, discrepancies.key) for discrepancies in report.discrepancies] == [
        (DiscrepancyKind.UNEXPECTED, "")
    ]
    assert total(report, Row.CANONICAL) == (4, 4, 5)


def test_duplicates_of_before_are_not_the_runs(world: World) -> None:
    """Tenant A has rows of a run whose service did not deduplicate, and legacy rows without a key."""
    world.run_scenario(scenario("S6", *MIXED, tenants=("A", "B")))
    older = first(world, VALID)._replace(tenant="A")
    for key in ("older", "", ""):
        world.keep(older._replace(key=key))
        world.keep(older._replace(key=key))
    world.begin()
    assert world.baseline.duplicated == {TENANTS[0].id: 2}
    assert any("2 keys had more than one canonical row before the run" in note for note in world.baseline.notes)
    world.settle()
    assert world.read().duplicated_keys == 0
    # What was there is mended; no new one may be set off against it.
    world.execute("DELETE FROM {sales} WHERE {dedup} IN ('', 'older')")
    for expected in world.expect():
        if expected.request_class is VALID:
            world.keep(expected)
    assert world.read().duplicated_keys == 3


@pytest.mark.parametrize("tenant", ["A", "B"])
def test_duplicates_of_keys_that_nobody_sent(world: World, tenant: str) -> None:
    """Beyond those of before, for a tenant that had rows (A) and for one that had none."""
    world.run_scenario(scenario("S2", tenants=("A", "B")))
    older = world.expect()[0]._replace(tenant="A", key="older")
    world.keep(older)
    world.keep(older)
    world.begin()
    world.settle()
    strange = world.expect()[0]._replace(tenant=tenant, key="never sent")
    world.keep(strange)
    world.keep(strange)
    assert world.read().duplicated_keys == 1


def test_a_baseline_of_an_older_rig() -> None:
    kept = TypeAdapter(Baseline).validate_json('{"canonical": {"a": 1}, "dead": {}, "notes": ["n"]}')
    assert kept == Baseline({"a": 1}, {}, ("n",))
    assert (kept.duplicated, kept.personal) == ({}, None)


def test_names_are_bounded_and_counts_are_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.truth.reconcile.DISCREPANCIES_MAX", 5)
    world.run_scenario(scenario("S2", Share(VALID, 20)))
    report = world.read()
    assert len(report.discrepancies) == 5
    assert group(report).discrepancies == {"lost": 20}
    assert any("only the first 5" in note for note in report.notes)


def test_each_attempt_of_an_event_may_leave_a_dead_letter_and_one_must(world: World) -> None:
    world.run_scenario(scenario("S11", Share(VALID, 3), Share(MALFORMED, 2)))
    attempts = np.array([3, 1, 2, 3, 0])
    world.scenario_runs = [replace(world.scenario_runs[0], attempts=attempts)]
    world.settle()
    assert numbers(group(world.read())) == (3, 3, 3, 2, 4, 2)
    twice = next(expected for expected in world.expect() if expected.row is Row.DEAD)
    for most in (2, 3):
        world.bury(twice)
        report = world.read()
        assert (report.discrepancies, group(report).dead) == ((), most + 1)
    world.bury(twice)
    assert found(world.read()) == {DiscrepancyKind.DUPLICATED: {twice.key}}
