"""Truth of services without tenants or dead letters, truth by SQL, batches, and kept personal data.

Each form is shown with a right row, and with a wrong one that must be found.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.evidence.truth import DiscrepancyKind, TruthReport
from rig.model import Outcome, RequestClass, Row, Share, Tenant
from rig.profile import Profile
from rig.truth.expected import RequestIndex
from rig.truth.reconcile import Baseline
from tests.truth.world import SCHEMA, World, profile, scenario

ALONE = (Tenant("A", ""),)
MakeWorld = Callable[[Profile], World]
PERSONAL = Share(RequestClass.PERSONAL, 3)


def described(*, dead: dict[str, Any] | None = None, top: dict[str, Any] | None = None, **canonical: Any) -> Profile:
    """A service without tenants. ``dead`` None: without dead letters."""
    document = profile().model_dump(exclude_unset=True)
    document["truth"]["canonical"] |= {"tenant": None} | canonical
    document["truth"]["dead"] = {"table": "un.delivered", "match": "key", "column": "key"} | dead if dead else None
    return Profile.model_validate(document | {"tenants": {}} | (top or {}))


def begin(world: World) -> None:
    world.begin(ALONE, world.database.admin_dsn)


def read(world: World) -> TruthReport:
    return world.reader.read(world.sent_to(ALONE), world.baseline)


def kinds(truth: TruthReport) -> list[DiscrepancyKind]:
    return [key.kind for key in truth.discrepancies]


def others_write(world: World) -> None:
    """A row of somebody else in each table."""
    world.execute("INSERT INTO {sales} (\"shop id\", {dedup}, doc) VALUES ('x', gen_random_uuid()::text, '{{}}')")
    world.execute("INSERT INTO {letters} (shop, key, doc) VALUES ('x', NULL, '{{}}'), ('x', 'other', '{{}}')")


# --- no tenants ---


def test_without_tenants_the_rows_of_others_are_noise(make_world: MakeWorld) -> None:
    world = make_world(described(dead={"match": "key"}))
    others_write(world)
    world.run_scenario(scenario("S6", Share(RequestClass.VALID, 5), Share(RequestClass.MALFORMED, 2)))
    begin(world)
    world.settle()
    others_write(world)
    truth = read(world)
    assert truth.discrepancies == ()
    (group,) = truth.groups
    assert (group.canonical, group.dead) == (5, 2)
    assert {(total.row, total.expected_min, total.observed) for total in truth.totals} == {
        (Row.CANONICAL, 5, 5),
        (Row.DEAD, 2, 2),
    }


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda world, victim: world.keep(victim), DiscrepancyKind.DUPLICATED),
        (
            lambda world, victim: world.execute("DELETE FROM {sales} WHERE {dedup} = {}", victim.key),
            DiscrepancyKind.LOST,
        ),
        # A copy under another key is of this run: it carries a correlation id of it.
        (lambda world, victim: world.keep(victim, **{"dedup%key": "copy"}), DiscrepancyKind.UNEXPECTED),
        (lambda world, victim: world.bury(victim), DiscrepancyKind.MISROUTED),
    ],
    ids=["duplicated", "lost", "copied", "misrouted"],
)
def test_without_tenants_a_wrong_row_is_found(
    make_world: MakeWorld, wrong: Callable[[World, Any], None], kind: DiscrepancyKind
) -> None:
    world = make_world(described(dead={"match": "key"}))
    world.run_scenario(scenario("S2"))
    begin(world)
    world.settle()
    wrong(world, world.expect()[0])
    assert kind in kinds(read(world))


def test_without_tenants_nameless_dead_letters_are_counted_and_a_missing_one_is_found(make_world: MakeWorld) -> None:
    world = make_world(described(dead={"match": "count", "column": None}))
    others_write(world)
    world.run_scenario(scenario("S3", Share(RequestClass.MALFORMED, 3)))
    begin(world)
    world.settle()
    assert read(world).discrepancies == ()
    world.execute("DELETE FROM {letters} WHERE shop <> 'x' AND id = (SELECT max(id) FROM {letters})")
    assert kinds(read(world)) == [DiscrepancyKind.LOST]


# --- no dead letters ---


def test_without_dead_letters_nothing_may_be_stored_of_a_malformed_event(make_world: MakeWorld) -> None:
    world = make_world(described())
    assert world.profile.row(RequestClass.MALFORMED, world.profile.routes[0].name) is Row.NONE
    world.run_scenario(scenario("S6", Share(RequestClass.VALID, 5), Share(RequestClass.MALFORMED, 2)))
    begin(world)
    world.settle()
    truth = read(world)
    assert truth.discrepancies == ()
    world.keep(next(each for each in world.expect() if each.request_class is RequestClass.MALFORMED))
    assert kinds(read(world)) == [DiscrepancyKind.UNEXPECTED]


def test_a_dead_row_without_dead_letters_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match=r'answers\.malformed\.row is "dead": write \[truth\.dead\]'):
        described(top={"answers": {"malformed": {"row": "dead"}}})


# --- SQL ---

STATEMENT = """
SELECT s."dedup%key" AS dedup, s.trace, s.medium, s.doc, 'a%sb $1 {x}' AS odd -- 100% ; no end
FROM "sales ""2024"" 100%s" s WHERE s."shop id" <> 'x';
"""


def by_sql(statement: str = STATEMENT, **columns: Any) -> Profile:
    return described(table=None, sql=statement, **({"key": "dedup"} | columns))


def test_sql_is_taken_as_it_is_written_and_a_wrong_row_is_found(make_world: MakeWorld) -> None:
    world = make_world(by_sql())
    world.run_scenario(scenario("S2"))
    begin(world)
    world.settle()
    assert read(world).discrepancies == ()
    world.execute("DELETE FROM {sales} WHERE {dedup} = {}", world.expect()[0].key)
    world.keep(world.expect()[1])
    assert sorted(kinds(read(world))) == [DiscrepancyKind.DUPLICATED, DiscrepancyKind.LOST]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT 1 AS dedup; DELETE FROM vault.audit", "cannot insert multiple commands"),
        ("SELECT nothing AS dedup FROM vault.audit", 'column "nothing" does not exist'),
        ("SELECT note AS dedup FROM vault.audit WHERE note = $1", "parameter"),
        ("DELETE FROM vault.audit RETURNING note AS dedup", "failed as a sub-select"),
        ("WITH gone AS (DELETE FROM vault.audit RETURNING note) SELECT note AS dedup FROM gone", "as a sub-select"),
        ("SELECT note AS dedup, note AS dedup FROM vault.audit", "two columns of one name"),
        ("SELECT note FROM vault.audit", r"truth\.canonical\.key: .* has no column 'dedup'"),
        ("", "failed"),
    ],
)
def test_sql_that_cannot_be_truth_names_its_key(make_world: MakeWorld, statement: str, says: str) -> None:
    world = make_world(by_sql(statement or " ", correlation=None, channel=None))
    with pytest.raises(ConfigError, match=rf"(?s)truth\.canonical\.(sql|key).*{says}|{says}"):
        begin(world)


def test_a_view_is_a_table(make_world: MakeWorld) -> None:
    world = make_world(described(table="sold"))
    world.execute("CREATE VIEW vault.sold AS SELECT * FROM {sales} WHERE \"shop id\" <> 'x'")
    world.run_scenario(scenario("S2"))
    begin(world)
    world.settle()
    assert read(world).discrepancies == ()
    world.execute("UPDATE {sales} SET \"shop id\" = 'x' WHERE {dedup} = {}", world.expect()[0].key)
    assert kinds(read(world)) == [DiscrepancyKind.LOST]


# --- batches ---


def batched(**dead: Any) -> Profile:
    document = described(dead={"match": "key"} | dead).model_dump(exclude_unset=True)
    batch = {"events": 3, "event": '{"id": "<event>"}', "body": '{"all": [<events>]}'}
    return Profile.model_validate(document | {"tenants": {}, "routes": [document["routes"][0] | batch]})


def test_each_event_of_a_batch_has_its_row(make_world: MakeWorld) -> None:
    world = make_world(batched())
    world.run_scenario(scenario("S6", Share(RequestClass.VALID, 4), Share(RequestClass.MALFORMED, 2)))
    begin(world)
    targets = world.targeter.bind(world.scenario_runs[0].scenario)
    events = [event for seq in range(6) for event in targets.expect_all(seq)]
    for event in events:
        world.keep(event) if event.row is Row.CANONICAL else world.bury(event)
    truth = read(world)
    assert truth.discrepancies == ()
    (group,) = truth.groups
    assert (group.canonical_min, group.canonical, group.dead_min, group.dead) == (12, 12, 6, 6)
    assert RequestIndex(world.targeter, [world.scenario_runs[0].scenario]).by_identity(events[2].key) is not None
    last = next(event for event in reversed(events) if event.row is Row.CANONICAL)
    world.execute("DELETE FROM {sales} WHERE {dedup} = {}", last.key)
    assert [(key.kind, key.key) for key in read(world).discrepancies] == [(DiscrepancyKind.LOST, last.key)]


# --- personal data ---


def keeping(policy: str, *columns: str) -> Profile:
    return described(top={"personal_data": {"policy": policy, "columns": columns}})


def store_personal(world: World, *, doc: Callable[[str], dict[str, Any]], trace: bool = False) -> TruthReport:
    world.run_scenario(scenario("S4", PERSONAL))
    begin(world)
    targets = world.targeter.bind(world.scenario_runs[0].scenario)
    for seq, expected in enumerate(world.expect()):
        assert expected.row is Row.CANONICAL
        value = targets.canary(seq).tokens[0]
        world.keep(expected, doc=json.dumps(doc(value)))
        if trace:
            world.execute("INSERT INTO vault.audit VALUES (1, {}, NULL)", value)
    return read(world)


def test_personal_data_may_lie_where_the_profile_says(make_world: MakeWorld) -> None:
    world = make_world(keeping("keep", 'sales "2024" 100%s.doc'))
    assert store_personal(world, doc=lambda value: {"email": value}).canary_hits == ()


def test_kept_personal_data_is_found_anywhere_else(make_world: MakeWorld) -> None:
    world = make_world(keeping("keep", 'sales "2024" 100%s.doc'))
    hits = store_personal(world, doc=lambda value: {"email": value}, trace=True).canary_hits
    assert {hit.place for hit in hits} == {f"{SCHEMA}.audit.note"}
    assert len(hits) == 3


def test_a_service_that_scrubs_may_keep_keys_and_no_values(make_world: MakeWorld) -> None:
    world = make_world(keeping("scrub"))
    assert store_personal(world, doc=lambda value: {"email": "***"}).canary_hits == ()
    world.keep(world.expect()[0], doc=json.dumps({"email": world.targeter.bind(
        world.scenario_runs[0].scenario).canary(0).tokens[0]}))  # fmt: skip
    world.baseline = Baseline({}, {})
    assert len(read(world).canary_hits) == 1


def test_personal_data_that_is_refused_may_lie_nowhere(make_world: MakeWorld) -> None:
    world = make_world(described(top={"answers": {"personal": {"row": "canonical"}}}))
    hits = store_personal(world, doc=lambda value: {"email": value}).canary_hits
    assert len(hits) == 6  # key and value of each


def test_a_column_to_keep_personal_data_in_must_exist(make_world: MakeWorld) -> None:
    world = make_world(keeping("keep", "audit.nots"))
    with pytest.raises(ConfigError, match=r"personal_data\.columns: .*no column 'nots'"):
        begin(world)


@pytest.mark.parametrize(
    ("policy", "columns", "says"),
    [("keep", (), "columns belong to"), ("scrub", ("a.b",), "columns belong to"), ("keep", ("ab",), "table.column")],
)
def test_personal_data_that_contradicts_itself(policy: str, columns: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        keeping(policy, *columns)


@pytest.mark.parametrize("policy", ["scrub", "keep"])
def test_an_event_with_accepted_personal_data_is_answered_as_a_valid_one(policy: str) -> None:
    columns = ("a.b",) if policy == "keep" else ()
    top = {"personal_data": {"policy": policy, "columns": columns}, "answers": {"valid": {"status": [202]}}}
    own = described(top=top)
    pair = (RequestClass.PERSONAL, own.routes[0].name)
    assert (own.row(*pair), own.answer(*pair).status) == (Row.CANONICAL, (202,))


# --- old rows and other types ---


@pytest.mark.parametrize(
    "old",
    ['{"inner": {"dedup": "k", "note": "a\\u0000b"}}', '{"inner": {"dedup": "k", "note": "\\ud800"}}'],
    ids=["NUL", "half a pair"],
)
@pytest.mark.parametrize("kind", ["json", "text"])
def test_an_old_dead_letter_that_is_no_text_names_no_request(make_world: MakeWorld, kind: str, old: str) -> None:
    world = make_world(profile("payload-key", path="inner.dedup"))
    if world.connection.info.server_version < 160000 and kind == "text":
        pytest.skip("a path into a text column needs PostgreSQL 16")
    world.execute(f"ALTER TABLE {{letters}} ALTER raw TYPE {kind} USING raw::{kind}")
    world.execute("INSERT INTO {letters} (shop, raw) VALUES ('old', {})", old)
    world.run_scenario(scenario("S3", Share(RequestClass.MALFORMED, 2)))
    world.begin(ALONE)
    for expected in world.expect():
        inner = {"dedup": expected.key, "note": "\\u0000 \U0001f600"}  # escaped backslash, and a whole pair
        world.bury(expected, raw=json.dumps({"inner": inner}))
    assert world.read().discrepancies == ()


def test_keys_of_bytes_are_read_as_text(make_world: MakeWorld) -> None:
    world = make_world(described())
    world.execute("ALTER TABLE {sales} ALTER {dedup} TYPE bytea USING {dedup}::bytea")
    world.run_scenario(scenario("S2"))
    begin(world)
    world.settle()
    assert read(world).discrepancies == ()
    world.execute("DELETE FROM {sales} WHERE {dedup} = {}", world.expect()[0].key.encode())
    assert kinds(read(world)) == [DiscrepancyKind.LOST]


def test_keys_of_bytes_that_are_no_text_are_refused(make_world: MakeWorld) -> None:
    world = make_world(described())
    world.execute("ALTER TABLE {sales} ALTER {dedup} TYPE bytea USING {dedup}::bytea")
    world.execute("INSERT INTO {sales} (\"shop id\", {dedup}) VALUES ('x', {})", b"\x01\xfe\xff")
    world.run_scenario(scenario("S2"), Outcome.NOT_SENT)
    with pytest.raises(ConfigError, match=r"truth\.canonical\.key: .* is of type bytea"):
        begin(world)


@pytest.mark.parametrize("kind", ["uuid", "citext", "vault.own_key", "name", "char(80)", "generated"])
def test_a_key_of_any_type_is_found_and_a_lost_one_is_named(make_world: MakeWorld, kind: str) -> None:
    world = make_world(described())
    own = {
        "citext": "CREATE EXTENSION citext SCHEMA public",
        "vault.own_key": f"CREATE DOMAIN {kind} AS text CHECK (VALUE <> '')",
    }
    if kind in own:
        world.execute(own[kind])
    if kind == "generated":
        world.execute("ALTER TABLE {sales} RENAME {dedup} TO given")
        world.execute("ALTER TABLE {sales} ADD {dedup} text GENERATED ALWAYS AS (given) STORED")
    else:
        world.execute(f"ALTER TABLE {{sales}} ALTER {{dedup}} TYPE {kind} USING {{dedup}}::{kind}")
    world.run_scenario(scenario("S2"))
    begin(world)
    for expected in world.expect():
        if kind == "generated":
            world.execute(
                'INSERT INTO {sales} ("shop id", given, trace) VALUES ({}, {}, {})',
                "x",
                expected.key,
                expected.correlation,
            )
        else:
            world.keep(expected)
    assert read(world).discrepancies == ()
    world.execute("DELETE FROM {sales} WHERE {dedup}::text = {}", world.expect()[0].key)
    assert kinds(read(world)) == [DiscrepancyKind.LOST]
