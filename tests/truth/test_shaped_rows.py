"""The rows of single events with values of their own, in a real database."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from rig.requests.content import Comparison
from rig.requests.shaped import ShapedRequest
from rig.truth.session import connect
from rig.truth.shaped_rows import RowsOfEvent, ShapedRows
from tests.profiles import handmade
from tests.truth.world import SCHEMA, TENANTS, World, profile

MEDIUM, DOC = Comparison("medium", "text"), Comparison("doc", "json")


def look(world: World, **expected: str) -> RowsOfEvent:
    names = {"medium": MEDIUM, "doc": DOC, "amount": Comparison("medium", "integer")}
    wanted = {names[name]: text for name, text in expected.items()}
    request = ShapedRequest((), "k", "c", "A", b"", b"", wanted)
    with connect(world.database.admin_dsn) as connection:
        (found,) = ShapedRows(connection, world.profile, {each.name: each.id for each in TENANTS}).look([request])
    return found


def keep(world: World, medium: str = "x", doc: str | None = None, key: str = "k") -> None:
    world.execute(
        'INSERT INTO {sales} ("shop id", {dedup}, medium, doc) VALUES ({}, {}, {}, {})', TENANTS[0].id, key, medium, doc
    )


def test_what_the_row_holds_is_compared_column_by_column(world: World) -> None:
    keep(world, "caf\u00e9", '{"a": "cafe\\u0301", "n": 1e400}')
    assert look(world, medium="caf\u00e9", doc='{"n": 1e400, "a": "cafe\u0301"}').altered == []
    altered = look(world, medium="cafe\u0301", doc='{"a": "caf\u00e9", "n": 1e400}').altered
    assert len(altered) == 2
    assert all("Unicode normalisation" in words for words in altered)
    assert "'cafe\\u0301' became 'café'" in altered[0]


def test_rows_are_counted(world: World) -> None:
    assert (look(world).canonical, look(world).dead) == (0, 0)
    keep(world)
    keep(world)
    assert look(world).canonical == 2


def test_a_dead_letter_is_found_by_what_names_it(world: World) -> None:
    world.execute("INSERT INTO {letters} (shop, key) VALUES ({}, {})", TENANTS[0].id, "k")
    assert (look(world).canonical, look(world).dead) == (0, 1)


def test_dead_letters_that_name_no_request_say_nothing(make_world: Callable[..., World]) -> None:
    assert look(make_world(profile("count"))).dead is None


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_text_can_hold_is_altered_where_the_event_was_stored(world: World, text: str) -> None:
    keep(world, "ab")
    assert "cannot hold" in look(world, medium=text).altered[0]


def test_a_text_holds_the_escape_of_what_it_cannot_hold(world: World) -> None:
    sent = '{"a":"x\\u0000y","b":"\\ud800"}'
    keep(world, sent)
    assert look(world, medium=sent).altered == []
    assert "cannot hold" in look(world, doc=sent).altered[0]


def test_a_value_that_cannot_be_compared_leaves_the_others_alone(world: World) -> None:
    keep(world, "1", '{"a": 1}')
    deep = '{"a":' * 20_000 + "1" + "}" * 20_000
    found = look(world, medium="1", doc=deep)
    assert (found.canonical, found.compared, found.altered) == (1, 0, [])


def test_a_lost_connection_is_an_error_and_no_verdict(world: World) -> None:
    with connect(world.database.admin_dsn) as connection:
        rows = ShapedRows(connection, world.profile, {"A": TENANTS[0].id})
        world.connection.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(psycopg.Error):
            rows.look([ShapedRequest((), "k", "c", "A", b"", b"", {})])


def test_rows_that_no_lock_holds_are_not_held(world: World) -> None:
    """Behind a materialized view an event can be stored while nothing of what was locked is written."""
    world.execute("CREATE MATERIALIZED VIEW vault.held AS SELECT 'k'::text AS key, 'A'::text AS tenant")
    held = handmade({"schemas": [SCHEMA], "canonical": {"table": "held", "tenant": "tenant", "key": "key"}})
    with connect(world.database.admin_dsn) as connection:
        rows = ShapedRows(connection, held, {"A": TENANTS[0].id})
        with pytest.raises(psycopg.NotSupportedError, match="held is no table"), rows.hold():
            pass
