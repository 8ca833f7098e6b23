"""Body templates: what a profile may write, and what it is told when it is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.profile import WebhookRoute
from rig.requests.body import SLOTS, Template, compile_bodies

VALUES = {
    "event": b"e1", "number": 12, "amount": 345, "decimal": b"3.45", "unix": 1_800_000_000,
    "iso": b"2027-01-15T08:00:00Z", "source": b"fb", "correlation": b"c1", "key": b"k1",
    "canary-email": b"x@example.test", "canary-name": b"Jo",
}  # fmt: skip


def route(body: str, **changes: Any) -> WebhookRoute:
    fields = {
        "name": "door",
        "path": "/door",
        "scheme": "hmac-sha256-hex",
        "signature_header": "X-Signature",
        "secret": "door",
        "body": body,
        "malformed": [{"remove": "id"}],
        "personal": [{"at": "email", "kind": "email"}],
    }
    return WebhookRoute.model_validate(fields | changes)


def rendered(template: Template) -> Any:
    return json.loads(template.render([VALUES.get(slot) for slot in SLOTS]))


def test_every_placeholder_is_filled() -> None:
    text = """{"id": "<event>", "n": <number>, "s": "#<number>", "amount": <amount>, "total": "<decimal>", "t": <unix>,
    "at": "<iso>", "<source>": ["<correlation>", "<key>-<key>"], "percent": "100 %(event)s", "é": "ü <b>"}"""
    with pytest.raises(ConfigError, match="<b>"):
        compile_bodies(route(text))
    assert rendered(compile_bodies(route(text.replace("<b>", "b"))).valid) == {
        "id": "e1",
        "n": 12,
        "s": "#12",
        "amount": 345,
        "total": "3.45",
        "t": 1_800_000_000,
        "at": "2027-01-15T08:00:00Z",
        "fb": ["c1", "k1-k1"],
        "percent": "100 %(event)s",
        "é": "ü b",
    }


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('{"id": "<evnt>"}', "unknown placeholder <evnt>; known are <event>"),
        ('{"id": <event>}', "without quotes"),
        ('{"id": 1, "at": <iso>}', "without quotes"),
        ('{"id": 1, "source": <source>}', "without quotes"),
        ('{"id": 1', "not valid JSON"),
        ("17", "must be a JSON object"),
        ('{"id": 1e400}', "not valid JSON"),
        ('{"id": NaN}', "not valid JSON"),
        ('"<event>"', "must be a JSON object"),
        # A placeholder that a JSON parser would round away must not turn into a constant.
        ('{"id": 1, "total": <amount>.00}', "<amount> is not a value of its own"),
        ('{"id": "<event>", "id": 2}', "<event> is not a value of its own"),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_its_route(body: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compile_bodies(route(body))
    assert str(refused.value).startswith("route 'door': ")
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "path", ["missing", "deep.missing", "list.2", "list.x", "list.²", "id.below", "list.0.below.there"]
)
@pytest.mark.parametrize("change", ["remove", "set"])
def test_a_mutation_that_leads_nowhere_is_refused(change: str, path: str) -> None:
    body = '{"id": "<event>", "deep": {"a": 1}, "list": [{"below": 1}, 2]}'
    with pytest.raises(ConfigError, match=f"route 'door': the path '{path}' does not lead anywhere"):
        compile_bodies(route(body, malformed=[{change: path}]))


def test_paths_lead_through_lists() -> None:
    bodies = compile_bodies(
        route(
            '{"id": "<event>", "items": [{"sku": "<event>", "tags": ["a", "b"]}, {"sku": "x"}]}',
            malformed=[
                {"remove": "items.0.sku"},
                {"remove": "items.1"},
                {"set": "items.0.tags.1", "to": {"not": "text"}},
                {"set": "id", "to": None},
            ],
            personal=[
                {"at": "items.1.buyer.email", "kind": "email"},
                {"at": "items.0.tags.0", "kind": "name"},
            ],
        )
    )
    whole = {"id": "e1", "items": [{"sku": "e1", "tags": ["a", "b"]}, {"sku": "x"}]}
    assert rendered(bodies.valid) == whole
    assert [rendered(template) for template in bodies.malformed] == [
        {"id": "e1", "items": [{"tags": ["a", "b"]}, {"sku": "x"}]},
        {"id": "e1", "items": [{"sku": "e1", "tags": ["a", "b"]}]},
        {"id": "e1", "items": [{"sku": "e1", "tags": ["a", {"not": "text"}]}, {"sku": "x"}]},
        whole | {"id": None},
    ]
    email = {"sku": "x", "buyer": {"email": "x@example.test"}}
    assert [rendered(template) for template in bodies.personal] == [
        {"id": "e1", "items": [{"sku": "e1", "tags": ["a", "b"]}, email]},
        {"id": "e1", "items": [{"sku": "e1", "tags": ["Jo", "b"]}, {"sku": "x"}]},
        {"id": "e1", "items": [{"sku": "e1", "tags": ["Jo", "b"]}, email]},
    ]


def test_personal_data_cannot_hang_below_a_value() -> None:
    with pytest.raises(ConfigError, match=r"'id\.email' does not lead anywhere"):
        compile_bodies(route('{"id": "<event>"}', personal=[{"at": "id.email", "kind": "email"}]))
