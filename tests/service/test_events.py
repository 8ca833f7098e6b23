"""From vendor bodies to events, and what is missing or wrong in them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stub_server.service.config import REFERENCE_ROUTES, AmountField, Fields, Route, TimeField
from stub_server.service.events import EventReader, InvalidEvent
from tests.service.sending import body_for, stripe_body


def reader(amount: str = "decimal", occurred_at: str = "iso8601") -> EventReader:
    return EventReader(
        Fields(
            id="id",
            amount=AmountField.model_validate({"path": "amount", "type": amount}),
            currency="currency",
            occurred_at=TimeField.model_validate({"path": "at", "type": occurred_at}),
            source="tags.0.value",
        )
    )


def body(**changes: Any) -> dict[str, Any]:
    return {"id": "x", "amount": "1.00", "currency": "EUR", "at": "2026-01-01T00:00:00Z"} | changes


@pytest.mark.parametrize("route", REFERENCE_ROUTES, ids=lambda route: route.name)
def test_every_vendors_body_is_the_same_sale(route: Route) -> None:
    event = EventReader(route.fields).read(body_for(route, "fb"))
    assert (event.amount_minor, event.currency, event.source) == (1234, "USD", "fb")
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert event.external_id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"id": True}, "id"),
        ({"id": "x" * 256}, "id"),
        ({"amount": None}, "amount"),
        ({"amount": 12.5}, "amount"),
        ({"amount": "12.345"}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"amount": "-1.00"}, "amount"),
        ({"amount": "1\n"}, "amount"),
        ({"amount": "9" * 17}, "amount"),
        ({"currency": "EU"}, "currency"),
        ({"currency": 978}, "currency"),
        ({"at": "soon"}, "occurred_at"),
        ({"at": 1_767_225_600}, "occurred_at"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        reader().read(body(**changes))
    assert str(caught.value) == f"missing or wrong: {field}"


@pytest.mark.parametrize("created", ["1767225600", 1.5, None, True, 10**30])
def test_unix_time_is_an_integer(created: Any) -> None:
    with pytest.raises(InvalidEvent, match="occurred_at"):
        reader(occurred_at="unix").read(body(at=created))


@pytest.mark.parametrize("amount", ["1234", 12.0, True, -1, 2**63])
def test_minor_units_are_an_integer_that_fits(amount: Any) -> None:
    with pytest.raises(InvalidEvent, match="amount"):
        reader(amount="integer").read(body(amount=amount))


@pytest.mark.parametrize(
    ("amount", "currency", "minor"), [("12.3", "eur", 1230), ("12", "JPY", 12), ("1.234", "KWD", 1234)]
)
def test_decimals_become_minor_units_of_their_currency(amount: str, currency: str, minor: int) -> None:
    assert reader().read(body(amount=amount, currency=currency)).amount_minor == minor


@pytest.mark.parametrize("value", [None, 3, "x", [], [1]])
def test_any_json_value_is_an_answer_not_a_crash(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="id, amount, currency, occurred_at"):
        reader().read(value)


def test_all_wrong_fields_are_named_together() -> None:
    wrong = stripe_body(amount=None)
    wrong["created"] = "now"
    with pytest.raises(InvalidEvent, match="missing or wrong: amount, occurred_at"):
        EventReader(REFERENCE_ROUTES[0].fields).read(wrong)


def test_a_source_is_optional_and_text() -> None:
    assert reader().read(body()).source is None
    assert reader().read(body(tags=[{"value": 7}])).source is None
    assert reader().read(body(tags=[{"value": "fb"}])).source == "fb"
