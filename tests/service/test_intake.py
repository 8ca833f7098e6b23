"""The decision about one request: canonical, or dead and why."""

import json
from typing import Any

import pytest

from stub_server.service.config import REFERENCE_ROUTES
from stub_server.service.directory import Taxonomy
from stub_server.service.intake import Canonical, Dead, Decision, Delivery, Intake, Reason
from tests.service.sending import stripe_body

TAXONOMY = Taxonomy({"fb": "facebook_paid"}, unknown="other", absent="direct")


def judge(body: Any, key: str = "k-1") -> Decision:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Intake(REFERENCE_ROUTES).judge(Delivery(REFERENCE_ROUTES[0], "t", key, "c", raw), TAXONOMY)


def test_a_sound_body_becomes_an_event_with_its_channel() -> None:
    body = stripe_body("fb")
    decision = judge(body)
    assert isinstance(decision, Canonical)
    assert (decision.idempotency_key, decision.channel) == ("k-1", "facebook_paid")
    assert json.loads(decision.payload) == body


def test_without_a_key_vendor_and_event_id_are_the_key() -> None:
    decision = judge(stripe_body(id="pi_7"), key="")
    assert isinstance(decision, Canonical)
    assert decision.idempotency_key == "stripe:pi_7"


@pytest.mark.parametrize("key", ["k-1", ""])
@pytest.mark.parametrize("external_id", ["pi_\ud800", "pi_\0"])
def test_an_id_that_no_database_can_hold_is_a_dead_letter(external_id: str, key: str) -> None:
    decision = judge(stripe_body(id=external_id), key)
    assert isinstance(decision, Dead)
    assert (decision.reason, decision.idempotency_key) == (Reason.UNSTORABLE, key or None)
    assert set(json.loads(decision.payload)) == {"body_bytes", "body_sha256"}


@pytest.mark.parametrize("external_id", ["pi_é\U0001f600", "pi\n7"])
def test_an_id_may_be_any_other_text(external_id: str) -> None:
    assert isinstance(judge(stripe_body(id=external_id)), Canonical)


@pytest.mark.parametrize("key", ["x" * 256, "é", "tab\t", "\udcff"])
def test_a_key_that_cannot_be_one_is_a_dead_letter(key: str) -> None:
    decision = judge(stripe_body(), key)
    assert isinstance(decision, Dead)
    assert (decision.reason, decision.idempotency_key) == (Reason.INVALID_KEY, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b'{"id": 1',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 500 + b"1" + b"}" * 499,
    ],
)
def test_what_is_not_json_leaves_only_its_digest(raw: bytes) -> None:
    decision = judge(raw)
    assert isinstance(decision, Dead)
    assert decision.reason is Reason.INVALID_JSON
    assert set(json.loads(decision.payload)) == {"body_bytes", "body_sha256"}


@pytest.mark.parametrize("number", ["1e400", "123456789012345678.125", "0.10"])
def test_a_number_is_kept_as_it_was_sent(number: str) -> None:
    body = json.dumps(stripe_body(own=4711)).replace("4711", number)
    decision = judge(body.encode())
    assert isinstance(decision, Canonical)
    assert number in decision.payload


def test_personal_data_wins_over_everything_else_and_is_gone() -> None:
    for body in (stripe_body(receipt_email="canary@x"), {"nested": [{"Phone": "canary"}]}):
        decision = judge(body)
        assert isinstance(decision, Dead)
        assert decision.reason is Reason.PERSONAL_DATA
        assert "canary" not in f"{decision}"
        assert "email" not in f"{decision}".casefold()


@pytest.mark.parametrize("body", [[], 3, None, "text", {}, stripe_body(amount="12")])
def test_json_that_is_no_event_is_kept_with_the_names_of_the_fields(body: Any) -> None:
    decision = judge(body)
    assert isinstance(decision, Dead)
    assert decision.reason is Reason.SCHEMA_INVALID
    assert json.loads(decision.payload) == body
    assert decision.detail
    assert "amount" in decision.detail


def test_nesting_beyond_reason_is_a_decision_too() -> None:
    for levels in (900, 990, 5000):
        assert isinstance(judge(b'{"a":' * levels + b"1" + b"}" * levels), Dead)
