"""What a service keeps of personal data is seen in the rows of the probes, and the profile says so."""

from __future__ import annotations

from typing import Any

import pytest

from rig.init.found import Found
from rig.init.personal import kept_parts
from rig.profile.whole import PERSONAL_KEYS
from rig.truth.personal_keys import PersonalKeys
from tests.init.drafting import drafted

KEYS = PersonalKeys(PERSONAL_KEYS)
EVENT = {"id": "1", "buyer": {"Email": "a@example.com"}, "repository": {"full_name": "a/b", "name": "b"}}


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"payload": EVENT}, {"payload": ["buyer.Email", "repository.full_name"]}),
        ({"payload": '{"buyer": {"Email": "a@example.com"}}'}, {"payload": ["buyer.Email"]}),
        ({"e_mail": "a@example.com", "note": "a@example.com"}, {"e_mail": ["buyer.Email"]}),
        ({"payload": {"buyer": {"Email": "[gone]"}, "repository": {"full_name": None}}}, {}),
        ({"id": "1", "name": "b", "email": None}, {}),
        ({"email": "other@example.com"}, {}),
    ],
    ids=["whole", "json in a text", "column", "blanked", "nothing personal", "another's"],
)
def test_a_name_is_kept_with_the_value_that_was_sent(row: dict[str, Any], kept: dict[str, list[str]]) -> None:
    assert {column: sorted(paths) for column, paths in kept_parts([(row, EVENT)], KEYS).items()} == kept


def test_an_event_without_a_document_keeps_nothing() -> None:
    assert kept_parts([({"email": "a@example.com"}, None)], KEYS) == {}


def test_the_profile_of_a_service_that_keeps_it_says_so() -> None:
    answers = {"canonical-table": "events", "canonical-key": "idempotency_key"}
    odd = 'a\n"b\x7f'
    found = Found(answers, personal={"public.events.payload": [odd, "email"]})
    profile = drafted(found=found, stored_status="201", malformed_status="422")
    assert profile.personal_data.policy == "keep"
    assert profile.personal_data.columns == ("public.events.payload",)
    personal = profile.answers.personal
    assert personal is not None
    assert (personal.status, personal.row) == ((201,), "canonical")
    assert drafted(found=Found(answers)).personal_data.policy == "refuse"
