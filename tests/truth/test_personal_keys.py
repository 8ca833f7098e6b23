"""Personal keys in any spelling, and columns that are named like them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from rig.evidence.truth import CanaryHit
from rig.model import RequestClass, Share
from rig.profile import Profile
from rig.truth.personal_keys import PersonalKeys
from tests.truth.world import LETTERS, SALES, SCHEMA, World, profile, scenario

REQUEST = "S4-1-orders-1 request 1 of tenant A"


def sent(world: World) -> World:
    world.run_scenario(scenario("S4", Share(RequestClass.PERSONAL, 3)))
    world.begin()
    world.settle()
    return world


@pytest.fixture
def personal(world: World) -> World:
    return sent(world)


@pytest.mark.parametrize(
    "key",
    [
        "email", "Email", "EMAIL", "e-mail", "E-Mail", "e_mail", "eMail", "firstName", "FirstName", "first_name",
        "First Name", "first-name", "FIRST_NAME", "emailAddress", "email-address", "E-Mail-Address", "SSN", "Ip",
        "ipAddress", "customerPhone", "customer-phone", "buyer.email", "buyer/firstName", "data.object.Email",
        "socialSecurityNumber", "streetAddress",
    ],
)  # fmt: skip
def test_a_key_is_found_in_every_spelling(personal: World, key: str) -> None:
    name = personal.expect()[1].key
    place = f"{SCHEMA}.{LETTERS}.raw"
    for raw, path in (
        (json.dumps({"a": [{key: None}]}), f"$.a[0].{key}"),
        (json.dumps({"quoted": json.dumps({key: 3})}), "$.quoted"),
        (f'cut: {{"{key}" : 4', ""),
        (f'"{key}"=>"5", "other"=>"6"', ""),
    ):
        personal.execute("UPDATE {letters} SET raw = {} WHERE key = {}", raw, name)
        [hit] = personal.read().canary_hits
        assert (hit.place, hit.request, hit.json_path) == (place, REQUEST, path)
        assert hit.what == f"key {re.split('[./]', key)[-1]!r}"


@pytest.mark.parametrize(
    "key", ["ip_version", "tip", "newsletter_email", "addressee", "emails_sent", "zip", "hostname", "ipv4"]
)
def test_other_names_are_no_keys(personal: World, key: str) -> None:
    personal.execute("UPDATE {letters} SET raw = {}", json.dumps({key: {"value": "email"}, "said": f"{key}: email"}))
    assert personal.read().canary_hits == ()


@pytest.mark.parametrize(
    ("given", "stored", "is_found"),
    [
        ("emailAddress", "email_address", True),
        ("user.email", "user.email", True),
        ("Straße", "STRASSE", True),
        ("first_name", "firstname", True),
        ("first_name", "first__name", True),
        ("first_name", "firstborn_name", False),
    ],
)
def test_keys_of_the_profile_are_folded_too(given: str, stored: str, is_found: bool) -> None:
    assert bool(PersonalKeys([given]).find_personal(stored)) is is_found


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("email", "text", "'kept'"),
        ("Email", "text", "'kept'"),
        ("customer_phone", "bigint", "491701234567"),
        ("emailAddress", "varchar(80)", "'kept'"),
        ("ip", "inet", "'10.0.0.1'"),
        ("address", "jsonb", "'{{}}'"),
    ],
)
@pytest.mark.parametrize("table", [SALES, LETTERS])
def test_a_filled_column_that_is_named_like_personal_data(
    personal: World, table: str, column: str, kind: str, value: str
) -> None:
    name = "{sales}" if table == SALES else "{letters}"
    personal.keep(personal.expect()[2])
    personal.execute(f'ALTER TABLE {name} ADD "{column}" {kind}')
    assert personal.read().canary_hits == (), "it is empty"
    personal.execute(f'UPDATE {name} SET "{column}" = {value}')
    hits = personal.read().canary_hits
    assert [(hit.place, hit.what) for hit in hits] == [
        (f"{SCHEMA}.{table}.{column}", "a value in a column named like personal data,")
    ]
    assert "of tenant A" in hits[0].request


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("ip_version", "int", "4"),
        ("email", "boolean", "true"),
        ("email", "timestamptz", "now()"),
        ("email", "text", "''"),
        ("emails", "text", "'x'"),
    ],
)
def test_columns_that_hold_no_personal_data(personal: World, column: str, kind: str, value: str) -> None:
    personal.execute(f'ALTER TABLE {{letters}} ADD "{column}" {kind}; UPDATE {{letters}} SET "{column}" = {value}')
    assert personal.read().canary_hits == ()


def test_a_column_that_only_others_fill(personal: World) -> None:
    personal.execute("ALTER TABLE {letters} ADD email text")
    personal.execute("INSERT INTO {letters} (shop, key, email) VALUES ('x', 'other', 'kept'), ('x', NULL, 'kept')")
    assert personal.read().canary_hits == ()


@pytest.mark.parametrize("own", [{"policy": "scrub"}, {"policy": "keep", "columns": ["un.delivered.email"]}])
def test_where_the_profile_says_scrub_or_keep_such_a_column_may_be_filled(
    make_world: Callable[[Profile], World], own: dict[str, object]
) -> None:
    document = profile().model_dump(exclude_unset=True)
    world = make_world(Profile.model_validate({**document, "personal_data": own}))
    world.execute("ALTER TABLE {letters} ADD email text DEFAULT 'kept'")
    assert sent(world).read().canary_hits == ()


def test_a_table_of_more_columns_than_a_function_takes_arguments(personal: World) -> None:
    columns = ", ".join(f"column_{number} text" for number in range(120))
    personal.execute(f"CREATE TABLE vault.wide ({columns})")
    token = personal.targeter.bind(personal.scenario_runs[0].scenario).canary(1).tokens[0]
    personal.execute("INSERT INTO vault.wide (column_119) VALUES ({})", token)
    assert personal.read().canary_hits == (CanaryHit("vault.wide.column_119", False, f"value {token}", REQUEST),)
