"""Pairs of keys that hardly differ."""

from __future__ import annotations

import uuid

import pytest

from rig.profile import Profile
from rig.requests.key_pairs import KEY_PAIRS, is_key_free, is_key_sent
from tests.profiles import handmade

OWN = "0e7768d5-37f4-5276-aab0-6e5f3d087f57"


def test_the_keys_of_a_pair_differ_and_no_two_pairs_share_one() -> None:
    pairs = [pair for pair in KEY_PAIRS if not pair.shares]
    keys = [key for pair in pairs for key in pair.keys(OWN)]
    assert len(set(keys)) == 2 * len(pairs)
    assert {len(key) for key in keys} >= {36, 64, 200}


def test_where_only_a_uuid_fits_both_are_one() -> None:
    for pair in KEY_PAIRS:
        if not pair.needs:
            assert all(str(uuid.UUID(key)) == key for key in pair.keys(OWN))


def test_a_key_in_an_address_is_a_part_of_one() -> None:
    assert all(
        key.isascii() and " " not in key for pair in KEY_PAIRS if pair.needs != "letters" for key in pair.keys(OWN)
    )


def profile(header: str | None, **route: str) -> Profile:
    plain = handmade({"canonical": {"table": "t", "tenant": "s", "key": "k"}}, malformed=[], personal=[], **route)
    document = plain.model_dump(mode="json")
    document["headers"]["idempotency_key"] = header
    return Profile.model_validate(document)


@pytest.mark.parametrize(
    ("header", "route", "is_free"),
    [
        (None, {"body": '{"id": "<key>"}'}, True),
        ("X-Key", {"body": '{"id": "<key>"}'}, False),
        (None, {"body": '{"id": "<key>"}', "path": "/in/<key>"}, False),
        (None, {"body": '{"id": "<key>"}', "format": "form"}, False),
    ],
)
def test_any_letter_may_be_in_a_key_that_stands_in_json_alone(
    header: str | None, route: dict[str, str], is_free: bool
) -> None:
    described = profile(header, **route)
    assert is_key_free(described, described.routes[0]) is is_free


@pytest.mark.parametrize(
    ("header", "route", "is_sent"),
    [
        (None, {"body": '{"id": "<key>"}'}, True),
        ("X-Key", {"body": "{}"}, True),
        (None, {"body": '{"id": "evt_<event>"}'}, False),
        (None, {"sender": "standard-webhooks", "body": '{"type": "paid"}'}, False),  # msg_<event> is its id
    ],
)
def test_an_event_that_goes_by_another_form_of_the_key_has_no_other_key(
    header: str | None, route: dict[str, str], is_sent: bool
) -> None:
    described = profile(header, **route)
    assert is_key_sent(described, described.routes[0]) is is_sent
