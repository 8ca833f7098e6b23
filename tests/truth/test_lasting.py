"""What becomes of rows between two looks: gone, changed, moved; and what is nobody's fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql

from rig.errors import ConfigError
from rig.evidence.truth import DiscrepancyKind, TruthReport
from rig.model import Outcome, RequestClass, Share
from rig.profile import Profile
from rig.truth.reader import RowsRead
from tests.truth.world import TENANTS, World, profile, scenario

Make = Callable[[Profile], World]
MIXED = (Share(RequestClass.VALID, 6), Share(RequestClass.MALFORMED, 4))


def changed(described: Profile, **truth: Any) -> Profile:
    """The profile with other keys of ``[truth]``; ``canonical`` are further keys of the section."""
    document = described.model_dump(exclude_unset=True)
    document["truth"]["canonical"] |= truth.pop("canonical", {})
    document["truth"] |= truth
    return Profile.model_validate(document)


def with_amount(described: Profile) -> Profile:
    return changed(described, canonical={"fields": {"doc": {"type": "json"}}})


@dataclass
class Twice:
    """A world whose rows were read once."""

    world: World
    first: RowsRead

    @classmethod
    def sent(cls, world: World, *shares: Share, outcome: Outcome = Outcome.ACKNOWLEDGED) -> Twice:
        world.run_scenario(scenario("S6", *(shares or MIXED)), outcome)
        world.begin()
        world.settle()
        return cls(world, world.reader.read_rows(world.sent, world.baseline))

    def again(self) -> TruthReport:
        world = self.world
        return world.reader.read_again(self.first, world.sent, world.baseline).truth

    def figures(self) -> tuple[int, int, int]:
        lasting = self.again().lasting
        assert lasting is not None
        assert not lasting.unread
        return lasting.rows, lasting.vanished, lasting.changed


@pytest.fixture
def twice(make_world: Make) -> Twice:
    return Twice.sent(make_world(with_amount(profile())))


def test_rows_that_stay_are_no_discrepancy(twice: Twice) -> None:
    truth = twice.again()
    assert twice.figures() == (10, 0, 0)
    assert truth.discrepancies == twice.first.truth.discrepancies
    assert truth.lasting is not None
    assert set(truth.lasting.columns) == {'vault.sales "2024" 100%s.trace', 'vault.sales "2024" 100%s.medium',
                                          'vault.sales "2024" 100%s.doc'}  # fmt: skip


def test_a_deleted_row_vanished_and_its_request_is_named(twice: Twice) -> None:
    key = twice.world.expect()[2].key
    twice.world.execute("DELETE FROM {sales} WHERE {dedup} = {}", key)
    assert twice.figures() == (10, 1, 0)
    [found] = new(twice)
    assert (found.kind, found.key, found.scenario, found.tenant) == (DiscrepancyKind.VANISHED, key, "S6", "A")
    assert found.detail == "1 canonical rows gone"


def new(twice: Twice) -> list[Any]:
    """The discrepancies that the second look added."""
    return [key for key in twice.again().discrepancies if key not in twice.first.truth.discrepancies]


def test_a_deleted_dead_letter_vanished(twice: Twice) -> None:
    key = next(each.key for each in twice.world.expect() if each.request_class is RequestClass.MALFORMED)
    twice.world.execute("DELETE FROM {letters} WHERE key = {}", key)
    assert twice.figures() == (10, 1, 0)
    assert [(each.key, each.detail) for each in new(twice)] == [(key, "1 dead rows gone")]


@pytest.mark.parametrize(
    ("column", "value"), [("doc", '{"amount": 2}'), ("doc", None), ("trace", "another"), ("medium", "x")]
)
def test_a_changed_column_is_named(twice: Twice, column: str, value: str | None) -> None:
    key = twice.world.expect()[0].key
    twice.world.execute("UPDATE {sales} SET {} = {} WHERE {dedup} = {}", sql.Identifier(column), value, key)
    assert twice.figures() == (10, 0, 1)
    assert [(each.kind, each.key, each.detail) for each in new(twice)] == [
        (DiscrepancyKind.CHANGED, key, f"{column} of its canonical row changed")
    ]
    lasting = twice.again().lasting
    assert lasting is not None
    assert lasting.changed_columns == {column: 1}


def test_a_row_that_moved_to_another_tenant_is_followed(twice: Twice) -> None:
    key = twice.world.expect()[0].key
    twice.world.execute("UPDATE {sales} SET \"shop id\" = 'thief' WHERE {dedup} = {}", key)
    [found] = new(twice)
    assert (found.key, found.detail) == (key, "1 canonical rows gone; now under tenant thief")


def test_a_second_row_that_comes_later_is_a_change(twice: Twice) -> None:
    twice.world.keep(twice.world.expect()[0])
    assert twice.figures() == (10, 0, 1)
    assert new(twice)[0].detail == "1 more canonical rows came"


def test_what_others_do_and_columns_without_a_meaning_do_not_count(make_world: Make) -> None:
    world = make_world(profile())
    world.execute("INSERT INTO {sales} (\"shop id\", {dedup}) VALUES ('other', 'a'), ({}, 'b')", TENANTS[0].id)
    twice = Twice.sent(world)
    world.execute("DELETE FROM {sales} WHERE {dedup} IN ('a', 'b')")
    world.execute("UPDATE {sales} SET doc = '{{}}'")
    world.keep(world.expect()[0], **{"dedup%key": "somebody's"})
    assert twice.figures()[1:] == (0, 0)


def test_a_volatile_column_may_change(make_world: Make) -> None:
    for volatile in ("doc", 'sales "2024" 100%s.doc'):
        twice = Twice.sent(make_world(changed(with_amount(profile()), volatile=[volatile])))
        twice.world.execute("UPDATE {sales} SET doc = '{{}}'")
        assert twice.figures() == (10, 0, 0)


@pytest.mark.parametrize("moved", ["sales", "letters"])
def test_rows_that_moved_to_a_declared_table_are_where_they_may_be(make_world: Make, moved: str) -> None:
    world = make_world(profile())
    world.execute(f"CREATE TABLE vault.archive (LIKE {{{moved}}}, moved_at timestamptz DEFAULT now())")
    world.profile = changed(profile(), moves_to="archive")
    twice = Twice.sent(world)
    world.execute(f"WITH gone AS (DELETE FROM {{{moved}}} RETURNING *) INSERT INTO vault.archive SELECT * FROM gone")
    assert twice.figures() == (10, 0, 0)
    truth = world.read()
    assert not truth.discrepancies
    assert (truth.copies, [(each.canonical, each.dead) for each in truth.groups]) == (0, [(6, 4)])
    world.execute("DELETE FROM vault.archive")
    assert twice.figures() == (10, 6 if moved == "sales" else 4, 0)


@pytest.mark.parametrize("match", ["count", "correlation", "payload-key"])
def test_dead_letters_by_any_match_are_counted(make_world: Make, match: str) -> None:
    path = "inner.dedup" if match == "payload-key" else None
    twice = Twice.sent(make_world(profile(match, path=path)))
    twice.world.execute("DELETE FROM {letters} WHERE id = 2")
    assert twice.figures() == (10, 1, 0)
    [found] = new(twice)
    assert (found.kind, found.tenant, bool(found.key)) == (DiscrepancyKind.VANISHED, "A", match != "count")


def test_a_role_without_temporary_tables_sees_the_same(twice: Twice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.truth.lasting.may_create_temporary", lambda _: False)
    twice.world.execute("DELETE FROM {sales} WHERE {dedup} = {}", twice.world.expect()[0].key)
    assert [each.key for each in new(twice)] == [twice.world.expect()[0].key]


def test_a_database_that_is_gone_is_said(twice: Twice) -> None:
    twice.world.execute("DROP TABLE {letters}")
    lasting = twice.again().lasting
    assert lasting is not None
    assert "could not be read again" in lasting.unread


def test_names_that_fit_no_table_are_refused(make_world: Make) -> None:
    world = make_world(profile())
    for keys, words in (
        ({"volatile": ["status"]}, "no event table has a column 'status'"),
        ({"moves_to": ["nowhere"]}, "no table 'nowhere'"),
        ({"moves_to": "audit"}, "vault.audit lacks columns that the profile names"),
    ):
        world.profile = changed(profile(), **keys)
        with pytest.raises(ConfigError, match=words):
            world.reader.require_tables(None)
    for keys, words in (
        ({"volatile": ["shop id"]}, "must not change"),
        ({"moves_to": ["un.delivered"]}, "event table already"),
    ):
        with pytest.raises(ValueError, match=words):
            changed(profile(), **keys)


def test_no_row_of_an_indeterminate_request_is_missed(make_world: Make) -> None:
    twice = Twice.sent(make_world(profile()), outcome=Outcome.INDETERMINATE)
    assert twice.figures() == (10, 0, 0)
