"""Shaped events: which fields may be anything, what is done to them, and that the bytes say exactly that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.model import Pace, RequestClass, RunKey, Scenario, ShapeKind, Share
from rig.profile import Profile
from rig.requests.body import event_of
from rig.requests.event_json import RawJson, Style, write_json
from rig.requests.sender import made_up
from rig.requests.shape_values import changes_of, changes_of_list, control_of, whole_changes
from rig.requests.shaped import ShapedRequest, ShapedRoute
from rig.requests.shapes import EXTRA, MISSING, Change, EventField, FieldRole, change_event, fields_of, lists_of
from rig.requests.targeter import Targeter
from rig.requests.template import PLACE, SENTINEL
from tests.profiles import handmade

BODY = (
    '{"id":"ev-<event>","n":<number>,"cents":<amount>,"price":"<decimal>","at":<unix>,"on":"<iso>","from":"<source>",'
    '"name":"Zoë","lines":[{"qty":2,"of":null}],"live":true}'
)
FIELDS: dict[str, Any] = {
    "doc": {"type": "json"},
    "cents": {"path": "cents", "type": "integer"},
    "price": {"path": "price", "type": "decimal"},
    "name": {"path": "name"},
    "event": {"path": "id"},
}
WHOLE = {"doc": {"type": "text"}, "channel": {"constant": "email"}}
TEXT = EventField(("name",), FieldRole.TEXT)


def profile(**route: Any) -> Profile:
    canonical = {"table": "events", "tenant": "tenant", "key": "key", "fields": route.pop("fields", FIELDS)}
    return handmade({"canonical": canonical}, **{"body": BODY, "malformed": [], "personal": []} | route)


def shaped(*changes: Change, described: Profile | None = None) -> ShapedRequest:
    return route_of(described or profile()).make(3, 1_800_000_000.0, changes)


def route_of(described: Profile) -> ShapedRoute:
    scenario = Scenario("S10", "", 10, "orders", ("A",), (Share(RequestClass.VALID, 10),), Pace(1))
    own = {"A": made_up(described, "A")}
    targets = Targeter(described, RunKey(1, "run", 1_700_000_000)).bind(scenario, own)
    return ShapedRoute(described, targets, own["A"])


def expected(request: ShapedRequest) -> dict[str, str]:
    return {comparison.column: text for comparison, text in request.expected.items()}


def test_what_says_which_event_it_is_stays_as_it_is() -> None:
    found = {field.name: field.role for field in fields_of(event_of(profile().routes[0], {}))}
    assert found == {
        "cents": FieldRole.INTEGER,
        "price": FieldRole.DECIMAL,
        "at": FieldRole.UNIX,
        "on": FieldRole.ISO,
        "from": FieldRole.TEXT,
        "name": FieldRole.TEXT,
        "lines.0.qty": FieldRole.INTEGER,
    }


def test_the_plain_event_is_the_one_that_every_scenario_sends() -> None:
    described = profile()
    own = {"A": made_up(described, "A")}
    scenario = Scenario("S10", "", 10, "orders", ("A",), (Share(RequestClass.VALID, 10),), Pace(1))
    plain = Targeter(described, RunKey(1, "run", 1_700_000_000)).bind(scenario, own).request(3, 1_800_000_000.0)
    assert shaped().request == plain


def all_changes() -> list[Change]:
    fields = [*fields_of(event_of(profile().routes[0], {})), EventField((EXTRA,), FieldRole.TEXT)]
    changes = [change for field in fields for change in (control_of(field), *changes_of(field))]
    return [*changes, *whole_changes(fields[:1])]


@pytest.mark.parametrize("change", all_changes(), ids=lambda change: change.words[:60])
def test_each_shape_is_valid_json_that_differs_only_there(change: Change) -> None:
    if isinstance(change.value, RawJson) and change.size >= 500 and change.kind is ShapeKind.NESTING:
        return  # Python cannot read it, either
    plain, body = (json.loads(request.body.decode("utf-8-sig")) for request in (shaped(), shaped(change)))
    here = body
    for step in change.path[:-1]:
        here = here[int(step) if isinstance(here, list) else step]
    if change.style is not None:
        assert body == plain
    elif change.value is MISSING:
        assert change.path[-1] not in here
    else:
        raw = isinstance(change.value, RawJson)
        assert here[change.path[-1]] == (json.loads(change.value) if raw else change.value)
    assert len(json.dumps(body)) - len(json.dumps(plain)) == 0 or change.style is None
    assert change.words.isprintable()


def longer(items: list[dict[str, Any]]) -> list[list[Any]]:
    found = [change.value for change in changes_of_list(("lines",), items)]
    assert all(value[: len(items)] == items for value in found)
    return found


def test_a_list_comes_longer_and_each_item_keeps_an_id_of_its_own() -> None:
    items = [{"sku": "A", "id": 7}, {"sku": "B", "id": 8}]
    lengths = [len(value) for value in longer(items)]
    assert lengths == [3, 11, 120]
    for own in ("li_1", 7, "0e7768d5-37f4-5276-aab0-6e5f3d087fff"):
        ids = [item["line_id"] for item in longer([{"sku": "A", "line_id": own}])[-1]]
        assert len(set(ids)) == len(ids) == 120
    assert all(item == {"sku": "A"} for item in longer([{"sku": "A"}])[0])
    assert longer([{"id": None}]) == longer([{"id": SENTINEL + PLACE["number"]}]) == []


def test_lists_of_objects_are_found_wherever_they_lie() -> None:
    event = {"a": [1, 2], "b": [{"c": [{"d": 1}]}, {"c": []}], "e": [{}, None]}
    assert [path for path, _ in lists_of(event)] == [("b",), ("b", "0", "c")]


def test_two_events_may_share_amount_and_time_and_no_key() -> None:
    route = route_of(profile())
    ways = ((3, ()), (4, ("amount", "unix")), (4, ("amount", "unix", "event")))
    plain, alike, one = (json.loads(route.make(seq, 1_800_000_000.0, (), "", shares).body) for seq, shares in ways)
    assert [name for name in plain if plain[name] != alike[name]] == ["id", "n"]
    assert [name for name in plain if plain[name] != one[name]] == ["n"]
    assert route.make(4, 1_800_000_000.0, (), "", ("event",)).key == route.make(4, 1_800_000_000.0, ()).key


def test_a_row_must_hold_the_value_that_was_sent() -> None:
    own = expected(shaped(Change(ShapeKind.TEXTS, ("name",), "text in NFD", "e\u0301"), price("0.10")))
    assert (own["name"], own["price"]) == ("e\u0301", "0.10")
    assert json.loads(own["doc"])["name"] == "e\u0301"
    assert own["event"].startswith("ev-")


def price(text: str) -> Change:
    return Change(ShapeKind.NUMBERS, ("price",), "a number", text)


def test_json_is_expected_with_all_its_digits() -> None:
    own = expected(shaped(Change(ShapeKind.NUMBERS, ("cents",), "a number", RawJson("123456789012345678.125"))))
    assert "123456789012345678.125" in own["doc"]
    assert own["cents"] == "123456789012345678.125"


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (Change(ShapeKind.NULLS, ("name",), "null", None), "name"),
        (Change(ShapeKind.MISSING, ("cents",), "missing", MISSING), "cents"),
        (Change(ShapeKind.NUMBERS, ("cents",), "beyond any float", RawJson("1e400")), "cents"),
    ],
)
def test_what_a_service_may_have_a_default_for_is_compared_as_json_only(change: Change, column: str) -> None:
    own = expected(shaped(change))
    assert column not in own
    assert "doc" in own


def test_a_number_of_which_the_column_holds_the_hundredth_is_compared_only_where_both_are_meant_so() -> None:
    described = profile(
        fields={"price": {"path": "price", "type": "cents"}, "cents": {"path": "cents", "type": "cents"}}
    )
    whole = Change(ShapeKind.NUMBERS, ("cents",), "a number", RawJson("12.5"))
    assert "cents" not in expected(shaped(whole, described=described))
    assert expected(shaped(price("12.50"), described=described))["price"] == "1250.00"


def test_the_channel_is_not_compared_where_the_source_is_another() -> None:
    canonical = {
        "table": "events",
        "tenant": "t",
        "key": "key",
        "channel": "name",
        "fields": {"name": {"constant": "x"}},
    }
    described = handmade({"canonical": canonical}, body=BODY, malformed=[], personal=[])
    assert "name" in expected(shaped(described=described))
    source = Change(ShapeKind.TEXTS, ("from",), "a formula", "=1+1")
    assert "name" not in expected(shaped(source, described=described))


def test_a_form_is_shaped_too_and_a_text_is_not() -> None:
    form = profile(
        format="form", body='{"id":"<event>","cents":"<amount>","name":"a"}', fields={"name": {"path": "name"}}
    )
    request = shaped(Change(ShapeKind.TEXTS, ("name",), "quotes", "a & b=ü"), described=form)
    assert b"name=a+%26+b%3D%C3%BC" in request.body
    assert expected(request) == {"name": "a & b=ü"}
    with pytest.raises(ConfigError, match="text"):
        route_of(profile(format="text", body="<id><event></id>", fields={}))


def test_each_event_of_a_batch_has_the_shape() -> None:
    batch = profile(events=2)
    bodies = json.loads(shaped(Change(ShapeKind.TEXTS, ("name",), "a word", "word"), described=batch).body)
    assert [each["name"] for each in bodies] == ["word", "word"]


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (Style(), '{"a":"é/","b":[1,{"c":null}]}'),
        (Style(escapes=True), '{"a":"\\u00e9\\/","b":[1,{"c":null}]}'),
        (Style(reverses=True), '{"b":[1,{"c":null}],"a":"é/"}'),
        (Style(twice=("b", "1", "c")), '{"a":"é/","b":[1,{"c":0,"c":null}]}'),
        (Style(mark=True), '\ufeff{"a":"é/","b":[1,{"c":null}]}'),
    ],
)
def test_json_in_each_style(style: Style, text: str) -> None:
    assert write_json({"a": "é/", "b": [1, {"c": None}]}, style) == text


def test_a_key_that_comes_twice_has_its_own_value_last_in_reversed_order_too() -> None:
    assert json.loads(write_json({"a": 1, "b": 2}, Style(twice=("a",), reverses=True))) == {"a": 1, "b": 2}


def test_several_changes_are_all_made() -> None:
    styles = [Change(ShapeKind.WRITING, (), "", style=style) for style in (Style(spaces=True), Style(mark=True))]
    event, style = change_event({"name": "x"}, [Change(ShapeKind.TEXTS, ("name",), "", "y"), *styles])
    assert (event, style) == ({"name": "y"}, Style(spaces=True, mark=True))


@pytest.mark.parametrize("value", ["\0", "\ud800", "é"])
def test_a_column_of_the_whole_text_holds_what_was_sent_letter_by_letter(value: str) -> None:
    request = shaped(Change(ShapeKind.TEXTS, ("name",), "", value), described=profile(fields=WHOLE))
    assert expected(request) == {"doc": request.body.decode()}
    assert expected(shaped(described=profile(fields=WHOLE)))["channel"] == "email"


def test_a_smaller_change_explains_larger_ones_in_any_field() -> None:
    long = [change for change in changes_of(TEXT) if change.growth is not None]
    assert long[0].covers(long[1])
    assert not long[1].covers(long[0])
    accent = Change(ShapeKind.TEXTS, ("name",), "text in NFD", "e\u0301")
    assert accent.covers(Change(ShapeKind.TEXTS, ("from",), "other", "cafe\u0301"))
    assert not accent.covers(Change(ShapeKind.TEXTS, ("name",), "text in NFC", "café"))
    assert not Change(ShapeKind.TEXTS, ("name",), "empty text", "").covers(accent)


@pytest.mark.parametrize(("own", "others"), [("EUR", ["USD", "GBP", "CHF"]), ("usd", ["eur", "gbp", "chf"])])
def test_a_currency_becomes_another_currency(own: str, others: list[str]) -> None:
    """A service that knows no other text there may still lose what is not in its own currency."""
    (field,) = fields_of({"currency": own})
    assert [change.value for change in (control_of(field), *changes_of(field))] == [*others, None, MISSING]
    (plan,) = fields_of({"plan": "pro"})
    assert control_of(plan).value == "word"
