"""What becomes of one signed request: an event to keep, or a dead letter. Pure: no I/O, no clock.

Flow: parse → scrub → validate → normalise the channel. ``Intake.judge(delivery, taxonomy)`` gives a ``Decision`` whose
payload is JSON text without personal data, fit to be stored. ``vendors`` and ``directory`` have checked the sender
before; ``store`` stores it after.

Where a vendor sends no idempotency key, the key is made of vendor and event id, so its events are counted once too.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from stub_server.service.config import Route
from stub_server.service.directory import KnownTenant, Taxonomy
from stub_server.service.events import EventReader, InvalidEvent, SaleEvent
from stub_server.service.vendors import VERIFY

KEY_CHARACTERS_MAX = 255
PERSONAL_KEYS = frozenset(
    {
        "email", "email_address", "phone", "phone_number", "ssn", "social_security_number", "ip", "ip_address",
        "first_name", "last_name", "full_name", "address", "street_address", "billing_address", "shipping_address",
        "receipt_email", "customer_email", "customer_phone",
    }
)  # fmt: skip
"""In any case and at any depth; the whole value goes with its key. The contract names keys, not shapes of values."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Reason(StrEnum):
    """Why a request became a dead letter."""

    INVALID_JSON = "invalid_json"
    PERSONAL_DATA = "personal_data"
    SCHEMA_INVALID = "schema_invalid"
    INVALID_KEY = "invalid_idempotency_key"
    UNSTORABLE = "unstorable"
    """JSON that PostgreSQL refuses: a NUL or half a surrogate pair in a text."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request of a known tenant with a good signature. ``idempotency_key`` is as sent, "" for none."""

    route: Route
    tenant_id: str
    idempotency_key: str
    correlation_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Canonical:
    """An event to be kept once under its key."""

    idempotency_key: str
    event: SaleEvent
    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter. ``detail`` names fields, never values; ``idempotency_key`` is None where it is unusable."""

    reason: Reason
    idempotency_key: str | None
    payload: str
    detail: str | None = None


Decision = Canonical | Dead


def usable_text(text: str) -> bool:
    """True for what may be a key or a correlation id: 1 to 255 printable ASCII characters."""
    return 0 < len(text) <= KEY_CHARACTERS_MAX and text.isascii() and text.isprintable()


def digest_only(body: bytes) -> str:
    """What is kept of a body that cannot be searched for personal data: JSON with its size and SHA-256."""
    return _encode({"body_bytes": len(body), "body_sha256": hashlib.sha256(body).hexdigest()})


class Intake:
    """Judges requests. Make it once for the configured routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._readers = {route.name: EventReader(route.fields) for route in routes}

    def judge(self, delivery: Delivery, taxonomy: Taxonomy) -> Decision:
        """The decision for one delivery. Nothing that a sender puts into it raises."""
        key = delivery.idempotency_key if usable_text(delivery.idempotency_key) else None
        try:
            body = _decode(delivery.body.decode())
            personal = holds_personal(body)
            # As it was sent, because a float may not hold its numbers. What was scrubbed must be written anew.
            payload = _encode(scrub(body)) if personal else delivery.body.decode()
        except (ValueError, RecursionError):
            # Not JSON, digits beyond reason, or nested beyond it: this cannot be searched, so it is not kept.
            return Dead(Reason.INVALID_JSON, key, digest_only(delivery.body))
        if personal:
            return Dead(Reason.PERSONAL_DATA, key, payload)
        try:
            event = self._readers[delivery.route.name].read(body)
        except InvalidEvent as error:
            return Dead(Reason.SCHEMA_INVALID, key, payload, str(error))
        if _UNSTORABLE.search(event.external_id):
            # Elsewhere in a body the database finds this. The id is a parameter, and may be the key.
            return Dead(Reason.UNSTORABLE, key, digest_only(delivery.body))
        if key is None:
            if delivery.idempotency_key:
                return Dead(Reason.INVALID_KEY, None, payload)
            key = f"{delivery.route.vendor}:{event.external_id}"
        return Canonical(key, event, taxonomy.channel_of(event.source), payload)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Made once: with options json.loads and json.dumps build a new coder for each call.
_decode: Any = json.JSONDecoder(parse_constant=_refuse).decode
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class WebhookOutcome(StrEnum):
    """How a request ended. The first three are answered with 200, and only after the commit."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead_letter"
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a request says of its sender. ``signature`` is None where the header is missing."""

    route: Route
    tenant: KnownTenant
    signature: str | None
    body: bytes


def admits(request: SignedRequest) -> bool:
    """Whether the tenant's secret signed the body."""
    route, secret = request.route, request.tenant.secrets.get(request.route.secret)
    if not secret:
        return False
    return VERIFY[route.scheme](secret, request.signature or "", request.body, time.time(), route.tolerance_s)


async def keep_nothing(delivery: Delivery) -> None:
    """A request that is refused leaves no row."""


def reply_as_it_was(outcome: WebhookOutcome, correlation_id: str) -> tuple[WebhookOutcome, str]:
    """The answer says how the request ended, with its own correlation id."""
    return outcome, correlation_id


Judge = Callable[[Delivery, Taxonomy], Decision]
Persist = Callable[[Delivery, Decision], Awaitable[WebhookOutcome]]


@dataclass(frozen=True)
class Steps:
    """The steps of a request, as values, so that a defect can replace each.

    ``admit`` verifies the signature, ``judge`` is pure and decides, ``persist`` is one transaction and stores.
    ``refuse`` is what becomes of a request that was not admitted, ``reply`` what body and headers of an answer say.
    """

    judge: Judge
    persist: Persist
    admit: Callable[[SignedRequest], bool] = admits
    refuse: Callable[[Delivery], Awaitable[None]] = keep_nothing
    reply: Callable[[WebhookOutcome, str], tuple[WebhookOutcome, str]] = reply_as_it_was


def holds_personal(value: Any) -> bool:
    """True when any object in the JSON value, at any depth, has a personal key. RecursionError past ~900 levels.

    It is on the hot path and builds nothing; only where it is True is ``scrub`` called.
    """
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
