"""From a vendor's body to an event, by the field paths of the configuration. Pure.

Flow: ``EventReader(fields).read(body)`` → ``SaleEvent``, or ``InvalidEvent`` with the names of all wrong fields. It has
no values, because its message is stored and logged.

Not for personal data, channels or deduplication.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from stub_server.service.config import AmountField, FieldPath, Fields, TimeField

AMOUNT_MINOR_MAX = 2**63 - 1
IDENTIFIER_CHARACTERS_MAX = 255
_DECIMAL = re.compile(r"[0-9]{1,16}(\.[0-9]{1,6})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Za-z]{3}", re.ASCII)
# ISO 4217 currencies whose minor unit is not a hundredth.
_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


@dataclass(frozen=True, slots=True)
class SaleEvent:
    """A sale: the vendor's id, amount in minor units, currency (upper case), time, source."""

    external_id: str
    amount_minor: int
    currency: str
    occurred_at: datetime
    source: str | None


class InvalidEvent(Exception):
    """The body is not such an event; ``str(error)`` says which fields are missing or wrong."""


class EventReader:
    """Reads one route's bodies. Made once, used for every request."""

    def __init__(self, fields: Fields) -> None:
        self._id = _steps(fields.id)
        self._amount = (_steps(fields.amount.path), fields.amount)
        self._currency = _steps(fields.currency)
        self._occurred_at = (_steps(fields.occurred_at.path), fields.occurred_at)
        self._source = _steps(fields.source)

    def read(self, body: Any) -> SaleEvent:
        """The event in a parsed body of any JSON type; raises InvalidEvent."""
        external_id = _identifier(_dig(body, self._id))
        currency = _currency(_dig(body, self._currency))
        steps, amount_field = self._amount
        amount_minor = _amount(_dig(body, steps), amount_field, currency)
        steps, time_field = self._occurred_at
        occurred_at = _time(_dig(body, steps), time_field)
        if external_id is None or amount_minor is None or currency is None or occurred_at is None:
            read = {"id": external_id, "amount": amount_minor, "currency": currency, "occurred_at": occurred_at}
            raise InvalidEvent("missing or wrong: " + ", ".join(k for k, value in read.items() if value is None))
        source = _dig(body, self._source)
        return SaleEvent(external_id, amount_minor, currency, occurred_at, source if isinstance(source, str) else None)


def _steps(path: FieldPath) -> tuple[str, ...]:
    return tuple(path.split("."))


def _dig(value: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _identifier(value: Any) -> str | None:
    text = str(value) if type(value) is int and value >= 0 else value
    return text if isinstance(text, str) and 0 < len(text) <= IDENTIFIER_CHARACTERS_MAX else None


def _currency(value: Any) -> str | None:
    return value.upper() if isinstance(value, str) and _CURRENCY.fullmatch(value) else None


def _amount(value: Any, field: AmountField, currency: str | None) -> int | None:
    if field.type == "integer":
        # `type is`: True is an int for Python, but no amount.
        return value if type(value) is int and 0 <= value <= AMOUNT_MINOR_MAX else None
    if not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        return None
    minor = Decimal(value).scaleb(_EXPONENTS.get(currency or "", 2))
    return int(minor) if minor == int(minor) and minor <= AMOUNT_MINOR_MAX else None


def _time(value: Any, field: TimeField) -> datetime | None:
    try:
        if field.type == "unix":
            return datetime.fromtimestamp(value, UTC) if type(value) is int else None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None
    except (ValueError, OverflowError, OSError):
        return None
