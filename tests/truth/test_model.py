"""The SQL against a naive model of it, which asks key by key, on random runs and random damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.evidence.truth import DiscrepancyKind
from rig.model import Outcome, RequestClass, Row, Share
from rig.profile import Profile
from rig.requests.targeter import Expected
from tests.truth.world import World, profile, scenario, tenant_id

SHARES = (
    Share(RequestClass.REPLAY, 4, one_key=True),
    Share(RequestClass.VALID, 3),
    Share(RequestClass.MALFORMED, 3),
)
# The same replayed key in two drives, and each of its requests in both tenants.
SCENARIO_RUNS = [scenario("S6", *SHARES, tenants=("A", "B"), step=step, key_step=step // 2) for step in (2, 3)]
REQUESTS = sum(scenario_run.count for scenario_run in SCENARIO_RUNS)
ELSEWHERE = "a tenant of somebody else"

# Where a request leaves rows: mostly one where it belongs, sometimes none, two, or one elsewhere.
OWN, OTHER_TABLE, OTHER_TENANT, ELSEWHERE_TENANT, BAD_TRACE = "own", "table", "tenant", "elsewhere", "trace"
LEAVES = st.one_of(
    st.just([OWN]),
    st.lists(st.sampled_from([OWN, OTHER_TABLE, OTHER_TENANT, ELSEWHERE_TENANT, BAD_TRACE]), max_size=2),
)
Stored = tuple[Row, str, Expected, bool]


def leave(world: World, expected: Expected, how: str) -> Stored:
    """Store one row of a request; (table, tenant id, request, correlation as sent)."""
    row = expected.row if how != OTHER_TABLE else {Row.CANONICAL: Row.DEAD, Row.DEAD: Row.CANONICAL}[expected.row]
    tenant = tenant_id(expected.tenant)
    if how == OTHER_TENANT:
        tenant = tenant_id("B" if expected.tenant == "A" else "A")
    elif how == ELSEWHERE_TENANT:
        tenant = ELSEWHERE
    trace = "of nobody" if how == BAD_TRACE else expected.correlation
    if row is Row.CANONICAL:
        world.keep(expected, trace=trace, **{"shop id": tenant})
    else:
        world.bury(expected, trace=trace, shop=tenant)
    return row, tenant, expected, how != BAD_TRACE


def model(sent: list[tuple[Expected, Outcome]], stored: list[Stored]) -> set[tuple[DiscrepancyKind, str, str]]:
    """(kind, tenant, key) of everything that is not clean."""
    by_key: dict[tuple[str, str], list[tuple[Expected, Outcome]]] = {}
    for expected, outcome in sent:
        by_key.setdefault((expected.tenant, expected.key), []).append((expected, outcome))
    canonical = Counter((tenant, row.key) for table, tenant, row, _ in stored if table is Row.CANONICAL)
    dead = Counter((tenant, row.key) for table, tenant, row, _ in stored if table is Row.DEAD)
    senders = {key: {tenant_id(tenant) for tenant, other in by_key if other == key} for _, key in by_key}
    foreign = {key for tenant, key in (*canonical, *dead) if tenant not in senders[key]}
    found = set()
    for (tenant, key), requests in by_key.items():
        kept, buried = canonical[tenant_id(tenant), key], dead[tenant_id(tenant), key]
        for_dead = requests[0][0].row is Row.DEAD
        here, there = (buried, kept) if for_dead else (kept, buried)
        outcomes = [outcome for _, outcome in requests]
        least = outcomes.count(Outcome.ACKNOWLEDGED) if for_dead else int(Outcome.ACKNOWLEDGED in outcomes)
        possible = len(outcomes) - outcomes.count(Outcome.NOT_SENT)
        most = possible if for_dead else min(1, possible)
        traces = {request.correlation for request, outcome in requests if outcome != Outcome.NOT_SENT}
        strangers = any(
            table is Row.CANONICAL
            and at == tenant_id(tenant)
            and row.key == key
            and not (as_sent and row.correlation in traces)
            for table, at, row, as_sent in stored
        )
        open_ended = Outcome.REFUSED in outcomes or Outcome.INDETERMINATE in outcomes
        kinds = {
            DiscrepancyKind.DUPLICATED: kept > 1 or (for_dead and buried > most > 0),
            DiscrepancyKind.MISROUTED: there > 0 and possible > 0,
            DiscrepancyKind.UNEXPECTED: here + there > 0 and possible == 0,
            DiscrepancyKind.RECOVERED: open_ended and (least < here <= most if for_dead else here > least == 0),
            DiscrepancyKind.WRONG_CORRELATION: not for_dead and possible > 0 and strangers,
            DiscrepancyKind.LOST: here < least and not there and key not in foreign,
            DiscrepancyKind.WRONG_TENANT: key in foreign,
        }
        found |= {(kind, tenant, key) for kind, so in kinds.items() if so}
    return found


@pytest.mark.parametrize("match", ["key", "payload-key"])
def test_sql_agrees_with_the_model(make_world: Callable[[Profile], World], match: str) -> None:
    world = make_world(profile(match, path="inner.0.dedup" if match == "payload-key" else None, column="doc"))

    @settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.sampled_from(Outcome), min_size=REQUESTS, max_size=REQUESTS),
        st.lists(LEAVES, min_size=REQUESTS, max_size=REQUESTS),
    )
    def agrees(outcomes: list[Outcome], leaves: list[list[str]]) -> None:
        world.execute("TRUNCATE {sales}, {letters}")
        world.scenario_runs.clear()
        waiting = iter(outcomes)
        for scenario_run in SCENARIO_RUNS:
            world.run_scenario(scenario_run, lambda seq: next(waiting))
        sent = list(zip([*world.expect(0), *world.expect(1)], outcomes, strict=True))
        stored = [leave(world, expected, how) for (expected, _), ways in zip(sent, leaves, strict=True) for how in ways]
        report = world.read()
        found = {
            (discrepancies.kind, discrepancies.tenant, discrepancies.key) for discrepancies in report.discrepancies
        }
        assert found == model(sent, stored)
        assert sum(total.observed for total in report.totals) == sum(tenant != ELSEWHERE for _, tenant, _, _ in stored)

    agrees()
