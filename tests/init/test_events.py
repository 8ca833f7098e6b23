"""Sample events of any content: each gives a profile whose body is the event again, or one sentence that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.errors import UsageError
from rig.init.sample_event import SampleEvent
from rig.requests.template import SENTINEL_PATTERN
from tests.init.drafting import NUMBER, drafted, rendered, rendered_json


def is_sendable(value: Any) -> bool:
    """Whether no number or text is one of those that the rig writes for a placeholder."""
    return not SENTINEL_PATTERN.search(json.dumps(value))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["<key>", "<p>", "'''", "\ud800", "\x7f\x85\u2028", "\\u003c", "%s %d"])
)
EVENTS = st.dictionaries(
    st.text(),
    st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20),
    min_size=1,
).filter(is_sendable)


def written(tmp_path: Path, content: str | bytes | Any) -> str:
    file = tmp_path / "event"
    data = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    file.write_bytes(data)
    return str(file)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=EVENTS)
def test_any_event_is_sent_again_as_it_was(tmp_path: Path, event: dict[str, Any]) -> None:
    """Nothing in it is taken for an id, an amount or a time: any name may come up, also one of those."""
    file = written(tmp_path, event)
    profile = drafted(event=file, idempotency_header="Key", event_id="", event_amount="", event_time="")
    assert rendered_json(profile) == event


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=EVENTS)
def test_any_event_with_an_id_is_sent_with_the_key(tmp_path: Path, event: dict[str, Any]) -> None:
    file = written(tmp_path, {**event, "id": "p1"})
    profile = drafted(event=file, event_id="id", event_amount="", event_time="")
    assert rendered_json(profile) == {**event, "id": "3f1c"}


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ('{"id":"p1","body_html":"<p>Hi <b>you</b></p>"}', {"id": "3f1c", "body_html": "<p>Hi <b>you</b></p>"}),
        ('{"id":"p1","note":"write to <source> or <key>"}', {"id": "3f1c", "note": "write to <source> or <key>"}),
        ('{"id":"p1","name":"\\ud83d\\ude00 \\u0000 \\ud800"}', {"id": "3f1c", "name": "\U0001f600 \u0000 \ud800"}),
        ('\ufeff{"id":"p1"}', {"id": "3f1c"}),
        ('{"id":"evt_1NqFK2","n":9007199254740993}', {"id": "evt_3f1c", "n": 9007199254740993}),
        ('[{"id":"p1"}]', [{"id": "3f1c"}]),
    ],
)
def test_what_looks_like_a_placeholder_stays_a_text(tmp_path: Path, content: str, body: Any) -> None:
    path = "0.id" if content.startswith("[") else "id"
    assert rendered_json(drafted(event=written(tmp_path, content), event_id=path)) == body


@pytest.mark.parametrize(
    ("time", "sent"),
    [(1764300000123, NUMBER), (1764300000, NUMBER), ("1764300000123", str(NUMBER)), ("2026-01-01T00:00:00.5+02:00",
     "2027-02-02T00:00:00Z")],
)  # fmt: skip
def test_a_time_is_written_as_it_was(tmp_path: Path, time: Any, sent: Any) -> None:
    profile = drafted(event=written(tmp_path, {"id": "p1", "created": time}), event_id="id", event_time="created")
    assert rendered_json(profile)["created"] == sent
    assert ("<unix_ms>" in profile.routes[0].body) == ("123" in str(time))


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        ({"eventId": "p1", "totalPrice": "12.50", "occurredAt": "2027-01-01T00:00:00Z"},
         ("eventId", "totalPrice", "occurredAt")),
        ({"event-id": "p1", "data": {"Grand_Total": 12, "scanned": "2027-01-01T00:00:00Z"}},
         ("event-id", "data.Grand_Total", "data.scanned")),
        ({"id": "p1", "from": "2027-01-01T00:00:00Z", "until": "2027-01-02T00:00:00Z"}, ("id", "", "")),
    ],
)  # fmt: skip
def test_id_amount_and_time_are_found_however_their_names_are_spelt(
    event: dict[str, Any], paths: tuple[str, str, str]
) -> None:
    sample = SampleEvent("json", event, "the event")
    assert (sample.id_path, sample.amount_path, sample.time_path) == paths


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"id":"p1","e":1e400}', "1e400 is too large"),
        ('{"id":"p1","id":"p2"}', "'id' comes twice"),
        ('{"id":"p1","x":NaN}', "NaN is no JSON value"),
        ('{"id":', "not valid JSON"),
        ("[" * 50_000, "not valid JSON"),
        ('{"id":"p1","x":' + "[" * 300 + "]" * 300 + "}", "nested more than"),
        (b"\xff\xfe\x00\xd8", "it is not"),
        ('{"id":7}', "is a number"),
        ('{"id":"p1","n":918273645000000007}', "uses itself"),
        ('{"id":"p1","x":"' + "y" * 1_000_000 + '"}', "larger than"),
        ('"text"', "must hold one event: a JSON object"),
        ("id=%FF%FE", "is not UTF-8"),
    ],
)  # fmt: skip
def test_an_event_that_cannot_be_sent_is_refused_in_words(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        drafted(event=written(tmp_path, content), event_id="id")


def test_a_path_may_have_a_control_character(tmp_path: Path) -> None:
    event = {"id": "p1", "\x7f": {"amount": 5}}
    profile = drafted(event=written(tmp_path, json.dumps(event)), event_id="id")
    assert "\x7f.amount" in {mutation.remove or mutation.set for mutation in profile.routes[0].malformed}


def test_a_field_of_a_form_that_only_looks_like_json_is_a_text(tmp_path: Path) -> None:
    profile = drafted(event=written(tmp_path, "id=p1&text=%7Bhello%7D"), event_id="id")
    assert b"text=%7Bhello%7D" in rendered(profile)


def test_a_number_is_an_id_where_a_header_carries_the_key(tmp_path: Path) -> None:
    profile = drafted(event=written(tmp_path, '{"a":[{"id":7}]}'), event_id="a.0.id", idempotency_header="Key")
    assert rendered_json(profile) == {"a": [{"id": NUMBER}]}


def test_where_the_id_is_a_number_a_text_beside_it_is_the_key(tmp_path: Path) -> None:
    event = written(tmp_path, '{"scan":4711,"at":"2026-11-20T10:00:00Z","to":{"name":"Erika"},"parcel":"P-20-77"}')
    for options in ({}, {"event_text": "parcel"}):
        sent = rendered_json(drafted(event=event, event_id="scan", **options))
        assert (sent["scan"], sent["parcel"]) == (NUMBER, "3f1c")
    assert rendered_json(drafted(event=event, event_id="parcel"))["scan"] == 4711
    with pytest.raises(UsageError, match="give --event-text"):
        drafted(event=event, event_id="scan", event_text="scan")


def test_an_array_of_like_events_is_a_batch(tmp_path: Path) -> None:
    profile = drafted(event=written(tmp_path, '[{"id":"p1"},{"id":"p2"}]'), event_id="id")
    assert profile.routes[0].events == 2
    assert rendered_json(profile) == {"id": "3f1c"}


def test_a_form_is_a_form(tmp_path: Path) -> None:
    profile = drafted(event=written(tmp_path, 'id=p1&text=a%20%3Cb%3E&tag=x&tag=y&more={"n":1}'), event_id="id")
    assert profile.routes[0].content_type == "application/x-www-form-urlencoded"
    assert rendered(profile) == b"id=3f1c&text=a+%3Cb%3E&tag=x&tag=y&more=%7B%22n%22%3A1%7D"


def test_xml_keeps_its_own_tags(tmp_path: Path) -> None:
    xml = "<?xml version='1.0'?>\n<event><id>PX-1</id><key>it's</key></event>"
    profile = drafted(event=written(tmp_path, xml), event_id="PX-1")
    assert profile.routes[0].format == "text"
    assert rendered(profile).decode() == xml.replace("PX-1", "3f1c").replace("<event>", "<event >").replace(
        "<key>", "<key >"
    )
