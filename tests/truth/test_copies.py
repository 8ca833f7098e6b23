"""Rows that belong to no request and carry an event of the run are copies; rows of anybody else are not."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from rig.evidence.truth import DiscrepancyKind, TruthReport
from rig.model import RequestClass, Share
from rig.profile import Profile
from rig.requests.targeter import Expected
from rig.truth.catalog import event_tables
from rig.truth.reconcile import reconcile
from rig.truth.session import connect
from rig.truth.tables import now_in_transactions
from tests.truth.test_forms import ALONE, described
from tests.truth.world import TENANTS, World, profile, scenario

Write = Callable[[World, Expected], None]
KEY = "dedup%key"


@pytest.fixture
def sent(world: World) -> World:
    world.run_scenario(scenario("S6", Share(RequestClass.VALID, 4), Share(RequestClass.MALFORMED, 2)))
    return started(world)


def started(world: World) -> World:
    """What a perfect target does, after the preflight."""
    world.execute('ALTER TABLE {sales} ALTER "shop id" DROP NOT NULL, ALTER {dedup} DROP NOT NULL')
    world.begin()
    world.settle()
    return world


def copies(truth: TruthReport) -> list[str]:
    assert truth.copies == len(truth.copy_examples)
    return list(truth.copy_examples)


def other_key(key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, key))


def event_id(key: str) -> str:
    return key.replace("-", "")


def number(key: str) -> int:
    return int(event_id(key)[:12], 16)


def canonical(**changes: Any) -> Write:
    """A copy in the canonical table; a change may be a function of the event's key."""

    def write(world: World, event: Expected) -> None:
        row = {name: value(event.key) if callable(value) else value for name, value in changes.items()}
        world.keep(event, **({"trace": None} | row))

    return write


def dead(**changes: Any) -> Write:
    def write(world: World, event: Expected) -> None:
        row = {name: value(event.key) if callable(value) else value for name, value in changes.items()}
        world.bury(event, **({"trace": None, "raw": None, "doc": None} | row))

    return write


COPIES: dict[str, tuple[Write, str]] = {
    "another tenant of the run": (canonical(**{"shop id": TENANTS[1].id}), "under tenant tenant-b, with the key"),
    "an unknown tenant": (canonical(**{"shop id": "nobody"}), "under tenant nobody, with the key"),
    "no tenant": (canonical(**{"shop id": None}), "under tenant NULL, with the key"),
    "a key with a suffix": (canonical(**{KEY: lambda key: f"{key}-copy"}), "-copy, carries it"),
    "a key in capitals": (canonical(**{KEY: str.upper}), "under tenant ten'ant-a"),
    "another key and the id in the payload": (
        canonical(**{KEY: other_key, "doc": lambda key: json.dumps({"id": f"evt_{event_id(key)}"})}),
        "with the key",
    ),
    "no key and no tenant": (
        canonical(**{KEY: None, "shop id": None, "doc": lambda key: json.dumps({"id": event_id(key)})}),
        "under tenant NULL, without a key",
    ),
    "digits of a hexadecimal number before the id": (
        canonical(**{KEY: None, "doc": lambda key: json.dumps({"id": f"fab{event_id(key)}"})}),
        "without a key",
    ),
    "the number and the amount alone": (
        canonical(
            **{
                KEY: None,
                "shop id": "nobody",
                "doc": lambda key: json.dumps({"id": number(key), "total": f"{(100 + number(key) % 99900) / 100:.2f}"}),
            }
        ),
        "under tenant nobody, without a key",
    ),
    "the correlation id alone": (
        lambda world, event: world.keep(event, **{KEY: None, "shop id": "nobody"}),
        "under tenant nobody, without a key",
    ),
    "a dead letter of an unknown tenant": (dead(shop="nobody"), "un.delivered under tenant nobody"),
    "a dead letter with another key": (dead(key=other_key, raw=lambda key: f"cut: {key}"), "with the key"),
    "bytes": (dead(key=None, shop="nobody", blob=lambda key: b'{"id":"' + event_id(key).encode()), "without a key"),
}


KNOWN = {
    "another tenant of the run", "an unknown tenant", "no tenant", "a key with a suffix", "a key in capitals",
    "another key and the id in the payload", "digits of a hexadecimal number before the id",
    "a dead letter of an unknown tenant", "a dead letter with another key",
}  # fmt: skip
"""Reconciliation has a kind for these: wrong tenant or unexpected."""


@pytest.mark.parametrize("temporary", [True, False], ids=["tables", "expressions"])
@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_and_named(sent: World, name: str, temporary: bool) -> None:
    event = sent.expect()[0]
    write, detail = COPIES[name]
    assert copies(sent.read()) == []
    write(sent, event)
    with connect(sent.database.admin_dsn) as connection, connection.transaction():
        tables = event_tables(connection, sent.profile.truth)
        found = reconcile(connection, tables, sent.sent, sent.baseline, temporary=temporary).copies
    assert (found.total, found.examined) == (1, 1)
    [example] = found.examples
    assert example.startswith(f"{event.key} (tenant A, {sent.scenario_runs[0].scenario.label}): a row in vault.")
    assert detail in example
    named = {(key.kind, key.key, key.scenario) for key in found.discrepancies}
    assert named == (set() if name in KNOWN else {(DiscrepancyKind.COPY, event.key, "S6")})


OTHERS: dict[str, Write] = {
    "rows of others": lambda world, _: world.execute(
        "INSERT INTO {sales} (\"shop id\", {dedup}, trace, doc) SELECT 'x', gen_random_uuid()::text,"
        ' gen_random_uuid()::text, format(\'{{"id": %s, "total": "9.99"}}\', 281474976710000 - i)::jsonb'
        " FROM generate_series(1, 500) i"
    ),
    "a row with a number and another amount": canonical(
        **{KEY: None, "shop id": "x", "doc": lambda key: json.dumps({"id": number(key), "total": "0.01"})}
    ),
    "a second row of the same key": canonical(),
    "a dead letter that names no request": lambda world, event: world.execute("SELECT"),
    "a part of the event in another table": lambda world, event: world.execute(
        "INSERT INTO vault.audit VALUES (1, {}, NULL)", event.key
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_copy(sent: World, name: str) -> None:
    OTHERS[name](sent, sent.expect()[0])
    assert copies(sent.read()) == []


@pytest.mark.parametrize("match", ["count", "payload-key"])
def test_dead_letters_that_name_no_request_are_counted_and_no_copies(
    make_world: Callable[[Profile], World], match: str
) -> None:
    world = make_world(profile(match, path=None if match == "count" else "no.such"))
    world.run_scenario(scenario("S7", Share(RequestClass.INVALID_JSON, 3)))
    started(world)
    truth = world.read()
    assert (truth.discrepancies, truth.copies) == ((), 0)
    world.bury(world.expect()[0], shop="nobody")
    assert len(copies(world.read())) == 1, "another tenant's"


def test_in_tables_without_tenants(make_world: Callable[[Profile], World]) -> None:
    world = make_world(described(dead={"match": "key"}))
    world.run_scenario(scenario("S2"))
    started(world)
    event = world.expect()[0]
    OTHERS["rows of others"](world, event)

    def read() -> TruthReport:
        return world.reader.read(world.sent_to(ALONE), world.baseline)

    assert copies(read()) == []
    canonical(**{KEY: "other", "doc": lambda key: json.dumps({"id": key})})(world, event)
    [example] = copies(read())
    assert example.startswith(event.key)
    assert example.endswith('sales "2024" 100%s, with the key other, carries it')


def test_a_row_that_lies_in_the_wrong_place_is_no_copy(sent: World) -> None:
    event = sent.expect()[0]
    sent.execute("UPDATE {sales} SET {dedup} = 'own' WHERE {dedup} = {}", event.key)
    truth = sent.read()
    assert (copies(truth), {key.kind for key in truth.discrepancies}) == (
        [],
        {DiscrepancyKind.LOST, DiscrepancyKind.UNEXPECTED},
    )
    sent.execute("UPDATE {sales} SET \"shop id\" = 'nobody' WHERE {dedup} = 'own'")
    [example] = copies(sent.read())
    assert example.endswith("under tenant nobody, with the key own, carries it; the event has no row of its own")


def test_rows_of_before_the_run_are_not_even_read(sent: World) -> None:
    OTHERS["rows of others"](sent, sent.expect()[0])
    assert sent.read().strangers_examined == 500
    sent.baseline = sent.reader.preflight(
        type(sent.targeter)(sent.profile, sent.targeter.run.__class__(7, "run-2", 0)), (), TENANTS, None
    )
    assert sent.read().strangers_examined == 0
    sent.execute("UPDATE {sales} SET medium = 'x' WHERE \"shop id\" = 'x'")
    assert sent.read().strangers_examined == 500, "what was changed is new"


def test_a_row_written_by_a_transaction_that_was_open_before_is_new(sent: World) -> None:
    with connect(sent.database.admin_dsn) as early, early.transaction():
        early.execute("SELECT txid_current()")
        before = now_in_transactions(sent.connection)
        early.execute(sql.SQL("CREATE TABLE vault.written AS SELECT 1"))
    [(seen,)] = sent.connection.execute(
        "SELECT count(*) FROM vault.written WHERE age(xmin) <= age(%s::text::xid)", [str(before % 2**32)]
    ).fetchall()
    assert seen == 1


def test_a_partition_and_its_parent_count_once(make_world: Callable[[Profile], World]) -> None:
    world = make_world(profile())
    world.execute("DROP TABLE {sales}")
    world.execute(
        'CREATE TABLE {sales} (id bigint, "shop id" text, "dedup%key" text, trace text, medium text, doc jsonb)'
        " PARTITION BY HASH ({dedup})"
    )
    for part in range(2):
        world.execute(
            f"CREATE TABLE vault.part_{part} PARTITION OF {{sales}} FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
        )
    world.run_scenario(scenario("S2"))
    world.begin()
    world.settle()
    world.keep(world.expect()[0], **{KEY: "copy"})
    truth = world.read()
    assert (truth.copies, truth.strangers_examined) == (1, 1)


def test_a_view_is_read_whole(make_world: Callable[[Profile], World]) -> None:
    world = make_world(profile())
    world.execute("CREATE VIEW vault.seen AS SELECT * FROM {sales}")
    document = world.profile.model_dump(exclude_unset=True)
    document["truth"]["canonical"]["table"] = "seen"
    world.profile = Profile.model_validate(document)
    world.run_scenario(scenario("S2"))
    started(world)
    world.keep(world.expect()[0], **{KEY: "copy"})
    assert world.read().copies == 1
