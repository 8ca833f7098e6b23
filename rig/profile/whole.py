"""A whole profile: its sections together, and what must hold between them."""

from __future__ import annotations

import hashlib
from typing import Literal, Self

from pydantic import Field, model_validator

from rig.errors import ConfigError
from rig.model import RequestClass, Row
from rig.profile.fields import Name, Section
from rig.profile.sections import (
    Answer,
    ChannelAlias,
    Headers,
    Launch,
    Probes,
    Target,
    Tenants,
    Truth,
    WebhookRoute,
)
from rig.profile.storms import Storms


def _default_answers() -> dict[RequestClass, Answer]:
    dead = {RequestClass.MALFORMED, RequestClass.PERSONAL, RequestClass.INVALID_JSON}
    return {kind: Answer(row=Row.DEAD if kind in dead else Row.CANONICAL) for kind in RequestClass}


PERSONAL_KEYS = (
    "email", "email_address", "phone", "phone_number", "ssn", "social_security_number", "ip", "ip_address",
    "first_name", "last_name", "full_name", "address", "street_address", "billing_address", "shipping_address",
    "receipt_email", "customer_email", "customer_phone",
)  # fmt: skip


class Profile(Section):
    """A whole profile."""

    version: Literal[1]
    """Of this format."""
    name: Name
    """What reports call the target."""
    target: Target = Target()
    """Where it listens."""
    launch: Launch | None = None
    """How the rig starts it; left out for one that runs already."""
    headers: Headers
    """Request headers."""
    probes: Probes = Probes()
    """Health, readiness, metrics."""
    tenants: Tenants
    """How tenants come to exist."""
    routes: tuple[WebhookRoute, ...] = Field(min_length=1)
    """The vendors' doors; the first is the main one."""
    answers: dict[RequestClass, Answer] = Field(default_factory=dict)
    """What is the right answer to each request class, where it differs from the reference service's."""
    truth: Truth
    """Where the truth lies."""
    personal_keys: tuple[str, ...] = PERSONAL_KEYS
    """Keys that no row of the two event tables may hold, at any depth."""
    channels: tuple[ChannelAlias, ...] = ()
    """Aliases for S9."""
    default_source: str = "newsletter"
    """``utm_source`` of every event that is not about channels."""
    storms: Storms = Storms()
    """What the storms are let loose on."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [route.name for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("two routes have the same name")
        if self.target.base_url is None and self.launch is None:
            raise ValueError("give target.base_url, or a [launch] section for the rig to start the target")
        if self.target.base_url is not None and self.launch is not None:
            raise ValueError("target.base_url is for a running target: what the rig launches listens where {port} says")
        if self.channels and self.truth.canonical.channel is None:
            # Nobody would look at what S9 promises, and its gate would pass.
            raise ValueError(
                "[[channels]] needs truth.canonical.channel: name the column that the channel is stored in, or take "
                "[[channels]] out"
            )
        for route in self.routes:
            self._tell_headers_apart(route)
        return self

    def _tell_headers_apart(self, route: WebhookRoute) -> None:
        own = self.headers
        names = [own.tenant_key, own.idempotency_key, own.correlation_id, route.signature_header]
        names += [route.timestamp_header] if route.timestamp_header is not None else []
        if len({name.lower() for name in names}) != len(names):
            raise ValueError(f"route {route.name!r}: two of its headers ({', '.join(names)}) have the same name")

    def answer(self, request_class: RequestClass) -> Answer:
        """What the target must answer to a class; the defaults are the reference service's."""
        return self.answers.get(request_class) or _default_answers()[request_class]

    def route(self, name: str) -> WebhookRoute:
        """The route of that name; ConfigError where there is none."""
        for route in self.routes:
            if route.name == name:
                return route
        known = ", ".join(route.name for route in self.routes)
        raise ConfigError(f"profile {self.name!r} has no route {name!r}; it has: {known}")

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """Every spelling of a source with the channel that it means."""
        return tuple((source, alias.channel) for alias in self.channels for source in alias.sources)

    def digest(self) -> str:
        """SHA-256 of the resolved profile, hex."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
