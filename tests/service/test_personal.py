"""Personal data is found and removed at any depth, whatever stands around it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stub_server.service.intake import PERSONAL_KEYS, holds_personal, scrub

keys = st.one_of(st.sampled_from(sorted(PERSONAL_KEYS)), st.text(max_size=5))
json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=20,
)


def all_keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in all_keys(item)}
    return {key for item in value for key in all_keys(item)} if isinstance(value, list) else set()


def test_the_contract_names_eighteen_keys() -> None:
    assert len(PERSONAL_KEYS) == 18


@pytest.mark.parametrize("key", [*sorted(PERSONAL_KEYS), "Email", "SSN"])
def test_each_key_goes_with_all_that_stands_under_it(key: str) -> None:
    body = {"id": 1, "lines": [{"deep": {key: {"canary": "canary"}, "sku": "x"}}]}
    assert holds_personal(body)
    assert scrub(body) == {"id": 1, "lines": [{"deep": {"sku": "x"}}]}


@pytest.mark.parametrize("value", [None, 3, "email", [], {}, ["email"], {"emails": 1, "ip_": "phone"}])
def test_values_and_similar_keys_are_not_personal(value: Any) -> None:
    assert not holds_personal(value)
    assert scrub(value) == value


@given(json_values)
def test_scrubbing_leaves_no_personal_key_and_changes_nothing_else(value: Any) -> None:
    before = json.dumps(value)
    clean = scrub(value)
    assert not holds_personal(clean)
    assert not {key.casefold() for key in all_keys(clean)} & PERSONAL_KEYS
    assert json.dumps(value) == before
    if not holds_personal(value):
        assert clean == value
