"""Every name and number of the service: a TOML file, validated. The defaults are the reference contract.

Flow: ``load_config(path)`` → ``Config``, frozen. Every serving process reads the file again. Database addresses come
from the environment and webhook secrets from the tenants table; neither is in the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from stub_server.service.errors import ServiceConfigError

Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HttpPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]*$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,63}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
FieldPath = Annotated[str, StringConstraints(pattern=r"^[^.]+(\.[^.]+)*$")]
"""Dotted path into a body; a number is the index in a list: ``note_attributes.0.value``."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeaderNames(_Section):
    """Names of the request headers. The answer has the correlation id under the same name."""

    tenant_key: Header = "X-Tenant-Key"
    idempotency_key: Header = "X-Idempotency-Key"
    correlation_id: Header = "X-Correlation-ID"


class ProbePaths(_Section):
    """Paths of the probes, the metrics and the token check."""

    health: HttpPath = "/health"
    ready: HttpPath = "/health/ready"
    metrics: HttpPath = "/metrics"
    whoami: HttpPath = "/api/whoami"


class Auth(_Section):
    """Who verifies bearer tokens: ``module:factory``, called as ``factory(environ) -> verify(token) -> claims``."""

    verifier: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = (
        "stub_server.service.tokens:from_environment"
    )


class DatabaseNames(_Section):
    """Names in the database, and the bounds of each serving process's pool."""

    schema_name: Identifier = "public"
    tenant_setting: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")] = (
        "app.current_tenant_id"
    )
    ingest_function: Identifier = "ingest_event"
    dead_letter_function: Identifier = "record_dead_letter"
    pool_min: int = Field(default=2, ge=0, le=100)
    pool_max: int = Field(default=8, ge=1, le=100)
    pool_timeout_s: float = Field(default=5.0, gt=0)
    statement_timeout_s: float = Field(default=5.0, gt=0)
    answer_timeout_s: float = Field(default=1.5, gt=0)
    """How long the database may take to answer. A connection that may be dead is given up then."""
    cache_ttl_s: float = Field(default=30.0, ge=0)
    """How long a tenant or the taxonomy is cached. A revoked key may be served for so long."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.pool_min > self.pool_max:
            raise ValueError(f"pool_min {self.pool_min} is above pool_max {self.pool_max}")
        return self


class TenantsTable(_Section):
    """Who may send: one row for each tenant, found by the SHA-256 (hex) of its API key."""

    name: Identifier = "tenants"
    tenant_id: Identifier = "tenant_id"
    label: Identifier = "name"
    api_key_sha256: Identifier = "api_key_sha256"
    webhook_secrets: Identifier = "webhook_secrets"


class EventsTable(_Section):
    """Accepted events, one row for each idempotency key of a tenant."""

    name: Identifier = "attribution_events"
    event_id: Identifier = "event_id"
    tenant_id: Identifier = "tenant_id"
    idempotency_key: Identifier = "idempotency_key"
    correlation_id: Identifier = "correlation_id"
    route: Identifier = "route"
    external_id: Identifier = "external_id"
    amount_minor: Identifier = "amount_minor"
    currency: Identifier = "currency"
    occurred_at: Identifier = "occurred_at"
    channel: Identifier = "channel"
    payload: Identifier = "payload"
    received_at: Identifier = "received_at"


class DeadEventsTable(_Section):
    """Signed requests that are no events, with the reason and without personal data."""

    name: Identifier = "dead_events"
    dead_id: Identifier = "dead_id"
    tenant_id: Identifier = "tenant_id"
    idempotency_key: Identifier = "idempotency_key"
    correlation_id: Identifier = "correlation_id"
    route: Identifier = "route"
    reason: Identifier = "reason"
    detail: Identifier = "detail"
    payload: Identifier = "payload"
    received_at: Identifier = "received_at"


class TaxonomyTable(_Section):
    """Which spelling of a source means which channel."""

    name: Identifier = "channel_taxonomy"
    alias: Identifier = "alias"
    channel: Identifier = "channel"


class Tables(_Section):
    """The four tables."""

    tenants: TenantsTable = TenantsTable()
    canonical: EventsTable = EventsTable()
    dead: DeadEventsTable = DeadEventsTable()
    taxonomy: TaxonomyTable = TaxonomyTable()


class Channels(_Section):
    """Channel → the sources that mean it. ``migrate`` writes them into the taxonomy table."""

    aliases: dict[str, tuple[str, ...]] = {
        "facebook_paid": ("fb", "facebook", "fb ads", "facebook ads", "meta"),
        "google_paid": ("google", "google ads", "adwords", "gads"),
        "tiktok_paid": ("tiktok", "tiktok ads"),
        "email": ("newsletter", "email", "klaviyo"),
    }
    unknown: str = "other"
    absent: str = "direct"


class AmountField(_Section):
    """Where the amount is: minor units as an integer, or major units as a decimal string (``"12.34"``)."""

    path: FieldPath
    type: Literal["integer", "decimal"]


class TimeField(_Section):
    """Where the time is: whole unix seconds, or ISO 8601 (read as UTC where it names no zone)."""

    path: FieldPath
    type: Literal["unix", "iso8601"]


class Fields(_Section):
    """Where a vendor's body keeps what an event needs; all are required but the source."""

    id: FieldPath
    amount: AmountField
    currency: FieldPath
    occurred_at: TimeField
    source: FieldPath


class Route(_Section):
    """One vendor's webhook. ``secret`` names the key in the tenant's webhook secrets."""

    name: Word
    vendor: Word
    path: HttpPath
    scheme: Literal["stripe", "hmac-sha256-base64", "hmac-sha256-hex"]
    signature_header: Header
    secret: str
    tolerance_s: float = Field(default=300, gt=0)
    """How old a signature may be. Only the scheme ``stripe`` has a time."""
    fields: Fields


_STRIPE_FIELDS = Fields(
    id="data.object.id",
    amount=AmountField(path="data.object.amount", type="integer"),
    currency="data.object.currency",
    occurred_at=TimeField(path="created", type="unix"),
    source="data.object.metadata.utm_source",
)


def _stripe(name: str, path: str) -> Route:
    return Route(
        name=name,
        vendor="stripe",
        path=f"/api/webhooks/stripe/{path}",
        scheme="stripe",
        signature_header="Stripe-Signature",
        secret="stripe",
        fields=_STRIPE_FIELDS,
    )


REFERENCE_ROUTES = (
    _stripe("stripe_payment_intent_succeeded", "payment_intent/succeeded"),
    _stripe("stripe_payment_intent_succeeded_flat", "payment_intent_succeeded"),
    Route(
        name="shopify_order_create",
        vendor="shopify",
        path="/api/webhooks/shopify/order_create",
        scheme="hmac-sha256-base64",
        signature_header="X-Shopify-Hmac-Sha256",
        secret="shopify",
        fields=Fields(
            id="id",
            amount=AmountField(path="total_price", type="decimal"),
            currency="currency",
            occurred_at=TimeField(path="created_at", type="iso8601"),
            source="note_attributes.0.value",
        ),
    ),
    Route(
        name="woocommerce_order_completed",
        vendor="woocommerce",
        path="/api/webhooks/woocommerce/order_completed",
        scheme="hmac-sha256-base64",
        signature_header="X-WC-Webhook-Signature",
        secret="woocommerce",
        fields=Fields(
            id="id",
            amount=AmountField(path="total", type="decimal"),
            currency="currency",
            occurred_at=TimeField(path="date_created_gmt", type="iso8601"),
            source="meta_data.0.value",
        ),
    ),
    Route(
        name="paypal_sale_completed",
        vendor="paypal",
        path="/api/webhooks/paypal/sale_completed",
        scheme="hmac-sha256-hex",
        signature_header="PayPal-Transmission-Sig",
        secret="paypal",
        fields=Fields(
            id="id",
            amount=AmountField(path="resource.amount.total", type="decimal"),
            currency="resource.amount.currency",
            occurred_at=TimeField(path="create_time", type="iso8601"),
            source="resource.custom",
        ),
    ),
)


class Config(_Section):
    """The whole configuration of the service."""

    headers: HeaderNames = HeaderNames()
    probes: ProbePaths = ProbePaths()
    auth: Auth = Auth()
    database: DatabaseNames = DatabaseNames()
    tables: Tables = Tables()
    channels: Channels = Channels()
    routes: tuple[Route, ...] = Field(default=REFERENCE_ROUTES, min_length=1)
    body_bytes_max: int = Field(default=1 << 20, ge=1)
    stop_timeout_s: float = Field(default=8.0, gt=0)
    """How long requests in flight may take once the service was told to stop."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [route.name for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("two routes have the same name")
        paths = [route.path for route in self.routes] + list(self.probes.model_dump().values())
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"path {twice[0]} is used twice")
        return self


def load_config(path: Path) -> Config:
    """Read and validate a configuration file; ServiceConfigError names file, key and fault in one line."""
    try:
        return Config.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceConfigError(f"configuration {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ServiceConfigError(f"configuration {path} is not valid TOML: {error}") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or '(whole file)'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()[:5]
        )
        raise ServiceConfigError(f"configuration {path} is wrong: {problems}") from None


def required_variable(name: str, purpose: str, environ: Mapping[str, str] = os.environ) -> str:
    """The value of an environment variable; ServiceConfigError says what it must hold."""
    value = environ.get(name)
    if not value:
        raise ServiceConfigError(f"environment variable {name} is not set; it must hold {purpose}")
    return value
