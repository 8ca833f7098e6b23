"""A lost key and a row that nobody sent may be one fact: the service makes its own keys."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from rig.run.other_key import guess_other_key

KEY, ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7", "evt_0001"


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (str(uuid.uuid5(uuid.NAMESPACE_URL, ID)), "uuid5 of `id` (namespace URL)"),
        (uuid.uuid5(uuid.NAMESPACE_DNS, KEY).hex, "uuid5 of the key (namespace DNS)"),
        (hashlib.md5(KEY.encode()).hexdigest(), "md5 of the key"),
        (KEY.upper(), "upper-case the key"),
        (KEY.replace("-", ""), "the key"),
        (f"stripe:{KEY}", "a part of the key, or more than it"),
        (ID, "`id`"),
        ("something else", ""),
    ],
)
def test_how_a_key_was_made_is_guessed(stored: str, words: str) -> None:
    assert guess_other_key({"the key": KEY, "`id`": ID}, {"a stranger", stored}) == words
