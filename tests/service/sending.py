"""A vendor's side of the contract, written apart from the service: bodies, signatures and one plain HTTP client."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stub_server.service.config import REFERENCE_ROUTES, HeaderNames, Route

TENANT_A = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
TENANT_B = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
API_KEYS = {TENANT_A: "key-of-a", TENANT_B: "key-of-b"}
STRIPE = REFERENCE_ROUTES[0]


def secret_of(route: Route) -> str:
    """The webhook secret that every tenant of these tests shares with that vendor."""
    return f"secret-of-{route.secret}"


def stripe_body(source: str = "newsletter", **changes: Any) -> dict[str, Any]:
    intent = {"id": f"pi_{uuid.uuid4().hex}", "amount": 1234, "currency": "usd", "metadata": {"utm_source": source}}
    return {"id": "evt_1", "created": 1_767_225_600, "data": {"object": intent | changes}}


def body_for(route: Route, source: str = "newsletter") -> dict[str, Any]:
    """A body as that vendor sends it, worth 12.34."""
    if route.vendor == "stripe":
        return stripe_body(source)
    number = uuid.uuid4().int >> 70
    bodies: dict[str, dict[str, Any]] = {
        "shopify": {
            "id": number,
            "total_price": "12.34",
            "currency": "USD",
            "created_at": "2026-01-01T01:00:00+01:00",
            "note_attributes": [{"name": "utm_source", "value": source}],
        },
        "woocommerce": {
            "id": number,
            "total": "12.34",
            "currency": "USD",
            "date_created_gmt": "2026-01-01T00:00:00",
            "meta_data": [{"key": "utm_source", "value": source}],
        },
        "paypal": {
            "id": f"WH-{number}",
            "create_time": "2026-01-01T00:00:00Z",
            "resource": {"amount": {"total": "12.34", "currency": "USD"}, "custom": source},
        },
    }
    return bodies[route.vendor]


def signature(scheme: str, secret: str, body: bytes, at_unix: int | None = None) -> str:
    """The signature header's value."""
    if scheme == "stripe":
        at_unix = int(time.time()) if at_unix is None else at_unix
        digest = hmac.new(secret.encode(), f"{at_unix}.".encode() + body, hashlib.sha256)
        return f"t={at_unix},v1={digest.hexdigest()}"
    digest = hmac.new(secret.encode(), body, hashlib.sha256)
    return digest.hexdigest() if scheme.endswith("hex") else base64.b64encode(digest.digest()).decode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def outcome(self) -> str:
        return str(self.body["status"])


@dataclass(frozen=True)
class Client:
    """Sends one request a connection to a service on loopback."""

    port: int
    names: HeaderNames = field(default_factory=HeaderNames)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self._ask("GET", path, b"", headers or {})

    def deliver(
        self,
        route: Route = STRIPE,
        body: dict[str, Any] | bytes | None = None,
        *,
        key: str | None = None,
        tenant: str = TENANT_A,
        correlation: str | None = None,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One signed webhook. ``key`` None is a fresh one, "" none at all; ``headers`` override what is made here."""
        raw = body if isinstance(body, bytes) else json.dumps(body or body_for(route)).encode()
        sent = {
            "Content-Type": "application/json",
            self.names.tenant_key: API_KEYS[tenant],
            self.names.idempotency_key: str(uuid.uuid4()) if key is None else key,
            route.signature_header: signature(route.scheme, secret or secret_of(route), raw),
        }
        if correlation:
            sent[self.names.correlation_id] = correlation
        sent.update(headers or {})
        return self._ask("POST", route.path, raw, {name: value for name, value in sent.items() if value})

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, dict(response.headers), json.loads(raw) if is_json else raw.decode())
