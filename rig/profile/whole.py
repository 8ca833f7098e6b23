"""A whole profile: its sections together, and what must hold between them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from rig.errors import ConfigError
from rig.model import RequestClass, Row
from rig.profile.answers import Answer, Answers
from rig.profile.content import ChannelAlias, ContentField
from rig.profile.faults import Faults
from rig.profile.fields import Name, Section
from rig.profile.routes import WebhookRoute, without_preset_headers
from rig.profile.scenarios import Scenarios
from rig.profile.storms import Storms
from rig.profile.target import Headers, Launch, Probes, Target
from rig.profile.tenants import Tenants
from rig.profile.truth import PersonalData, Truth

_DEFAULT_ROW = {
    RequestClass.MALFORMED: Row.DEAD,
    RequestClass.PERSONAL: Row.DEAD,
    RequestClass.INVALID_JSON: Row.DEAD,
    RequestClass.CONFLICT: Row.NONE,
    RequestClass.FORGED: Row.NONE,
}
_DEFAULT_STATUS = {RequestClass.FORGED: tuple(range(300, 500))}
"""A redirect leads to a login, or nowhere: it is a refusal, too."""


PERSONAL_KEYS = (
    "email", "email_address", "phone", "phone_number", "ssn", "social_security_number", "ip", "ip_address",
    "first_name", "last_name", "full_name", "address", "street_address", "billing_address", "shipping_address",
    "receipt_email", "customer_email", "customer_phone",
)  # fmt: skip


class Profile(Section):
    """A whole profile."""

    version: Literal[1]
    """Version of the profile format."""
    name: Name
    """What reports call the target."""
    target: Target = Target()
    """Where the target listens."""
    launch: Launch | None = None
    """How the rig starts the target. Leave it out for a target that runs already."""
    headers: Headers = Headers()
    """Request headers."""
    probes: Probes = Probes()
    """Paths for health, readiness and metrics."""
    tenants: Tenants = Tenants()
    """How tenants are made."""
    routes: tuple[WebhookRoute, ...] = Field(min_length=1)
    """What senders post. The first route is the main one."""
    answers: Answers = Answers()
    """What the target answers, where that differs from the reference service."""
    truth: Truth
    """The database with the truth."""
    personal_data: PersonalData = PersonalData()
    """What the service does with personal data."""
    personal_keys: tuple[str, ...] = PERSONAL_KEYS
    """JSON keys that no row of the two event tables may contain, at any depth."""
    channels: tuple[ChannelAlias, ...] = ()
    """Spellings of channels, for S9."""
    default_source: str = "newsletter"
    """``utm_source`` of every event that does not test channels."""
    storms: Storms = Storms()
    """What the storms test."""
    faults: Faults = Faults()
    """What ``rig chaos`` may break."""
    scenarios: Scenarios = Scenarios()
    """How much is sent, how fast, in which mix."""

    _folder: Path | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _prefer_own_headers(cls, given: Any) -> Any:
        """What ``[headers]`` names carries the rig's value, and not that of a sender's preset."""
        own = given.get("headers") if isinstance(given, dict) else None
        routes = given.get("routes") if isinstance(own, dict) else None
        if not isinstance(own, dict) or not isinstance(routes, list):
            return given
        return {**given, "routes": [without_preset_headers(route, own) for route in routes]}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [route.name for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("two routes have the same name")
        if self.target.base_url is None and self.launch is None:
            raise ValueError("give target.base_url, or a [launch] section for the rig to start the target")
        if self.target.base_url is not None and self.launch is not None:
            raise ValueError("give target.base_url or [launch], not both: a launched target listens at {port}")
        if self.channels and self.truth.canonical.channel is None:
            # Without the column nobody would check S9, and its gate would pass.
            raise ValueError(
                "[[channels]] needs truth.canonical.channel: name the column that the channel is stored in, or take "
                "[[channels]] out"
            )
        for route in self.routes:
            self._tell_headers_apart(route)
        self._require_keys_and_letters()
        self._require_channels_apart()
        self._require_rows()
        return self

    def _require_channels_apart(self) -> None:
        """S9 sends an event once with each source: two that are one, or that no event has, would show nothing."""
        sources = [source for source, _ in self.sources]
        if twice := [source for source in sources if sources.count(source) > 1]:
            raise ValueError(f"[[channels]]: the source {twice[0]!r} comes twice; give each spelling once")
        route = self.routes[0]
        if sources and "source" not in route.placeholders and not route.hook:
            raise ValueError(
                f"[[channels]] needs <source> in route {route.name!r}, as the value of its utm_source; write it, or "
                "take [[channels]] out"
            )

    def _require_rows(self) -> None:
        """What is stored of an event is the base of every judgement."""
        for kind in (RequestClass.VALID, RequestClass.REPLAY):
            if (answer := self.answers.of(kind)) is not None and answer.row not in (None, Row.CANONICAL):
                raise ValueError(
                    f"answers.{kind.value}.row: a right event has its row in truth.canonical; leave row out. Where one "
                    "route stores nothing, say so in its own answers"
                )
        forged = [
            self.answers.of(RequestClass.FORGED),
            *(each.answers.get(RequestClass.FORGED) for each in self.routes),
        ]
        if any(answer is not None and answer.row not in (None, Row.NONE) for answer in forged):
            raise ValueError(
                "answers.forged.row: a forged request leaves no row; a table that may keep them is named in "
                "truth.rejections"
            )

    def _require_keys_and_letters(self) -> None:
        carried = self.headers.tenant_key or any("api_key" in route.placeholders for route in self.routes)
        if carried and any(tenant.api_key_env is None for tenant in self.tenants.fixed):
            raise ValueError("requests carry the tenant's API key: give api_key_env in each [[tenants.fixed]]")
        if self.answers.correlation is not None and not all(map(self.sends_correlation, self.routes)):
            raise ValueError(
                "[answers.correlation] needs headers.correlation_id, or <correlation> in each route: without it no "
                "request carries an id"
            )
        rows = {f"answers.{kind.value}": answer.row for kind, answer in self.answers.given.items()}
        for route in self.routes:
            rows |= {f"route {route.name!r}: answers.{kind.value}": own.row for kind, own in route.answers.items()}
        dead = [where for where, row in rows.items() if row is Row.DEAD]
        if dead and self.truth.dead is None:
            raise ValueError(f'{dead[0]}.row is "dead": write [truth.dead], or row = "none"')
        self._require_tenant_columns()

    def sends_correlation(self, route: WebhookRoute) -> bool:
        """Whether the route's requests say their correlation id. That of a user's function is unknown."""
        return "correlation" in route.placeholders or self.headers.correlation_id is not None

    def _require_tenant_columns(self) -> None:
        """Rows tell tenants apart by a column in both tables. A table without it has the rows of one tenant."""
        canonical, dead = self.truth.canonical, self.truth.dead
        columns = {"truth.canonical.tenant": canonical.tenant}
        if dead is not None:
            columns["truth.dead.tenant"] = dead.tenant
        given = [key for key, column in columns.items() if column is not None]
        missing = [key for key, column in columns.items() if column is None]
        has_tenants = self.tenant_count != 1 or bool(self.tenants.fixed)
        if given and not has_tenants:
            raise ValueError(f"{given[0]} is given, but [tenants] is missing: write it, or take {given[0]} out")
        if missing and (given or self.tenant_count != 1):
            raise ValueError(
                f"{missing[0]} is missing: name the column with the tenant's id. A service without tenants has neither "
                "[tenants] nor a tenant column; one whose requests must name their only tenant has one "
                "[[tenants.fixed]] and no tenant column"
            )

    def _tell_headers_apart(self, route: WebhookRoute) -> None:
        own = self.headers
        given = [
            own.tenant_key,
            own.idempotency_key,
            own.correlation_id,
            route.signature_header,
            route.timestamp_header,
        ]
        names = [name for name in (*given, *route.headers) if name is not None]
        if len({name.lower() for name in names}) != len(names):
            raise ValueError(f"route {route.name!r}: two of its headers ({', '.join(names)}) have the same name")

    def answer(self, request_class: RequestClass, route: str) -> Answer:
        """What a route must answer to a class; the defaults are the reference service's."""
        given, own = self.answers.of(request_class), self.route(route).answers.get(request_class)
        keeps = request_class is RequestClass.PERSONAL and self.personal_data.policy != "refuse"
        default = self.answer(RequestClass.VALID, route) if keeps else None
        answer = given or default or Answer(status=_DEFAULT_STATUS.get(request_class, (200,)))
        if own is not None:
            answer = answer.model_copy(update={key: value for key, value in own if value is not None})
        if keeps:
            return answer if answer.row is not None else answer.model_copy(update={"row": Row.CANONICAL})
        if answer.row is not None:
            return answer
        row = _DEFAULT_ROW.get(request_class, Row.CANONICAL)
        return answer.model_copy(update={"row": Row.NONE if row is Row.DEAD and self.truth.dead is None else row})

    def right_again(self, request_class: RequestClass, route: str) -> tuple[int, ...]:
        """The right answers to an event of a class that was sent before, whether the target knows it or not."""
        known = self.answer(RequestClass.REPLAY, route).right if request_class is RequestClass.VALID else ()
        return tuple(dict.fromkeys(self.answer(request_class, route).right + known))

    def row(self, request_class: RequestClass, route: str) -> Row:
        """Where the row of a route's request of a class must lie."""
        return self.answer(request_class, route).row or Row.NONE

    def fields(self, route: WebhookRoute) -> dict[str, ContentField]:
        """What each mapped column of a canonical row holds of the route's event."""
        return {**self.truth.canonical.fields, **route.fields}

    @property
    def compares_content(self) -> bool:
        """Whether any column is mapped."""
        return any(self.fields(route) for route in self.routes)

    @property
    def tenant_count(self) -> int | None:
        """How many tenants there are; None where the rig makes as many as it wants."""
        return None if self.tenants.are_made else len(self.tenants.fixed) or 1

    @property
    def first_tenants(self) -> tuple[str, ...]:
        """Two tenants, for what needs two and can do with one; one where there is only one."""
        return ("A", "B")[: self.tenant_count]

    def own_tenant(self, name: str) -> str:
        """A tenant of that name where the rig makes tenants, so that it has no rows yet; else the first."""
        return name if self.tenants.are_made else self.first_tenants[0]

    def sends(self, route: WebhookRoute) -> frozenset[RequestClass]:
        """The request classes that are sent on a route."""
        sent = {kind for kind in RequestClass if route.can_express(kind)}
        is_told = self.answers.conflict is not None or RequestClass.CONFLICT in route.answers
        return frozenset(sent if is_told else sent - {RequestClass.CONFLICT})

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

    @property
    def folder(self) -> Path | None:
        """Where the file lies: the module of a ``sender`` may lie beside it. None where there is no file."""
        return self._folder

    def at(self, folder: Path) -> Self:
        """This profile, which lies in ``folder``."""
        self._folder = folder
        return self

    def for_stub(self) -> Self:
        """This profile for the rig's own stubs, whose answers are a status and no more."""
        routes = tuple(route.model_copy(update={"answers": {}}) for route in self.routes)
        return self.model_copy(update={"answers": Answers(), "routes": routes})

    def digest(self) -> str:
        """SHA-256 of the resolved profile, hex."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
