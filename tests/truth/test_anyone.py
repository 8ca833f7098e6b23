"""Truth of services that lack what the reference has: tenants, dead letters, a table, one event a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.evidence.truth import DiscrepancyKind, TruthReport
from rig.model import RequestClass, Row, Share, Tenant
from rig.profile import Profile
from tests.truth.world import SALES, SCHEMA, World, profile, scenario

LONE = (Tenant("A", ""),)
STATEMENT = f"""SELECT "dedup%key" AS id, medium FROM {SCHEMA}."sales ""2024"" 100%s" WHERE medium <> '100%';"""


def described(truth: dict[str, Any], route: dict[str, Any] | None = None, **keys: Any) -> Profile:
    """The handmade profile with another truth and a changed route; without tenants where ``tenants`` is given."""
    document = profile().model_dump(exclude_unset=True) | keys
    document["routes"] = [document["routes"][0] | (route or {})]
    document["truth"] = {"schemas": [SCHEMA], "quiesce_timeout_s": 5} | truth
    return Profile.model_validate(document)


PLAIN = {"table": SALES, "key": "dedup%key"}


def read(world: World) -> TruthReport:
    return world.reader.read(world.sent_to(LONE), world.baseline)


def kinds(truth: TruthReport) -> dict[DiscrepancyKind, set[str]]:
    found: dict[DiscrepancyKind, set[str]] = {}
    for key in truth.discrepancies:
        found.setdefault(key.kind, set()).add(key.key)
    return found


@pytest.fixture(params=[{"canonical": PLAIN}, {"canonical": {"sql": STATEMENT, "key": "id"}}], ids=["table", "sql"])
def lone(request: pytest.FixtureRequest, make_world: Callable[[Profile], World]) -> World:
    """A service without tenants and without dead letters."""
    world = make_world(described(request.param, tenants={}))
    world.run_scenario(scenario("S2", Share(RequestClass.VALID, 6)))
    return world


def test_without_tenants_and_dead_letters_nothing_is_missing(lone: World) -> None:
    assert lone.profile.tenant_count == 1
    assert lone.profile.row(RequestClass.MALFORMED, lone.profile.routes[0].name) is Row.NONE
    lone.begin(LONE)
    lone.settle()
    truth = read(lone)
    assert not truth.discrepancies
    assert [(total.row, total.observed) for total in truth.totals] == [(Row.CANONICAL, 6), (Row.DEAD, 0)]


def test_without_tenants_a_lost_and_a_doubled_row_are_found(lone: World) -> None:
    lone.begin(LONE)
    lost, doubled, *rest = lone.expect()
    for expected in (doubled, doubled, *rest):
        lone.keep(expected)
    assert kinds(read(lone)) == {DiscrepancyKind.LOST: {lost.key}, DiscrepancyKind.DUPLICATED: {doubled.key}}


def test_what_is_refused_must_leave_no_row(make_world: Callable[[Profile], World]) -> None:
    world = make_world(described({"canonical": PLAIN}, tenants={}))
    world.run_scenario(scenario("S3", Share(RequestClass.MALFORMED, 2)))
    world.keep(world.expect()[0])
    assert kinds(read(world)) == {DiscrepancyKind.UNEXPECTED: {world.expect()[0].key}}


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT 1; SELECT 2", "truth.canonical.sql failed: cannot insert multiple commands"),
        ("SELECT nonsense", "truth.canonical.sql failed: column"),
        ("SELECT 1 AS id, 2 AS id", "two columns of one name"),
        ("SELECT 1 AS other", "truth.canonical.key: table truth.canonical.sql has no column 'id'; it has: other"),
        ("DELETE FROM vault.audit RETURNING id", "truth.canonical.sql failed as a sub-select: syntax error"),
    ],
)
def test_a_statement_that_gives_no_rows_is_refused(
    make_world: Callable[[Profile], World], statement: str, says: str
) -> None:
    world = make_world(described({"canonical": {"sql": statement, "key": "id"}}, tenants={}))
    with pytest.raises(ConfigError) as refused:
        world.reader.preflight(world.targeter, [], LONE, None)
    assert says in str(refused.value)


def test_each_event_of_a_batch_has_a_row(make_world: Callable[[Profile], World]) -> None:
    world = make_world(described({"canonical": PLAIN}, {"events": 3}, tenants={}))
    sent = scenario("S2", Share(RequestClass.VALID, 2))
    world.run_scenario(sent)
    targets = world.targeter.bind(sent)
    events = [expected for seq in range(2) for expected in targets.expect_all(seq)]
    assert len({expected.key for expected in events}) == 6
    for expected in events[1:]:
        world.keep(expected)
    truth = read(world)
    assert kinds(truth) == {DiscrepancyKind.LOST: {events[0].key}}
    assert (truth.groups[0].canonical_min, truth.groups[0].canonical) == (6, 5)


@pytest.mark.parametrize(("column", "hits"), [("doc", 0), ("medium", 1)])
def test_personal_data_may_lie_where_the_profile_lets_it_and_nowhere_else(
    make_world: Callable[[Profile], World], column: str, hits: int
) -> None:
    keep = {"policy": "keep", "columns": [f"{SALES}.doc"]}
    world = make_world(described({"canonical": PLAIN}, tenants={}, personal_data=keep))
    sent = scenario("S4", Share(RequestClass.PERSONAL, 1))
    assert world.profile.row(RequestClass.PERSONAL, world.profile.routes[0].name) is Row.CANONICAL
    world.run_scenario(sent)
    canary = world.targeter.bind(sent).canary(0).values()["canary-email"]
    world.keep(world.expect()[0], **{column: f'{{"email": "{canary}"}}'})
    truth = read(world)
    assert not truth.discrepancies
    assert bool(truth.canary_hits) == bool(hits)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"answers": {"malformed": {"row": "dead"}}}, 'answers.malformed.row is "dead": write [truth.dead]'),
        ({"personal_data": {"policy": "keep"}}, "name the columns where personal data may lie"),
        ({"tenants": {"fixed": [{"id": "t"}]}}, "give api_key_env in each [[tenants.fixed]]"),
    ],
)
def test_what_does_not_fit_together_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        described({"canonical": PLAIN}, **keys)
    assert says in str(refused.value)
