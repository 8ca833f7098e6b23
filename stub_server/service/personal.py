"""Personal data in a JSON value: is there any, and the value without it. Pure.

Flow: ``holds_personal(value)`` is on the hot path and builds nothing. Only where it is True, ``scrub(value)`` makes a
copy. A key counts at any depth and in any case, and its whole value is removed with it.

Not for personal data under other keys: the contract names keys, not shapes of values.
"""

from __future__ import annotations

from typing import Any

PERSONAL_KEYS = frozenset(
    {
        "email", "email_address", "phone", "phone_number", "ssn", "social_security_number", "ip", "ip_address",
        "first_name", "last_name", "full_name", "address", "street_address", "billing_address", "shipping_address",
        "receipt_email", "customer_email", "customer_phone",
    }
)  # fmt: skip


def holds_personal(value: Any) -> bool:
    """True when any object in the JSON value, at any depth, has a personal key. RecursionError past ~900 levels."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in PERSONAL_KEYS or key.casefold() in PERSONAL_KEYS:
                return True
            if isinstance(item, dict | list) and holds_personal(item):
                return True
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list) and holds_personal(item):
                return True
    return False


def scrub(value: Any) -> Any:
    """A copy of the JSON value without its personal keys and their values."""
    if isinstance(value, dict):
        return {key: scrub(item) for key, item in value.items() if key.casefold() not in PERSONAL_KEYS}
    if isinstance(value, list):
        return [scrub(item) for item in value]
    return value
