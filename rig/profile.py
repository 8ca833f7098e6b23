"""Who the target is: a TOML file, validated.

Everything that the rig knows about a target stands here: routes, body shapes, signatures, header names, tenants,
answers, the tables and columns that hold the truth, how it is started. A user of another service writes a profile, not
code. Secrets never stand in it: only the names of the environment variables that carry them.

Bodies are JSON texts with placeholders, filled by the targeter: ``<event>`` (text, unique to the key), ``<number>``
(the same as digits), ``<amount>`` (minor units, integer), ``<decimal>`` (the same amount as ``12.34``), ``<unix>`` and
``<iso>`` (when the event happened), ``<source>`` (utm_source), ``<correlation>``, ``<key>``.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from rig.errors import ConfigError
from rig.model import RequestClass, Row

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$")]
Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Route = Annotated[str, StringConstraints(pattern=r"^/[\x21-\x7e]*$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,63}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Section):
    """Where the target listens. ``base_url`` may be left out only where the rig launches it itself."""

    base_url: str | None = None
    allow_host: str | None = None
    """The one host beside loopback that may be loaded; the command line must repeat it (``--allow-host``)."""
    ca_file: Path | None = None
    """Certificates to trust for https, besides the system's."""
    commit: str | None = None
    """Commit of the target under test, for the manifest."""
    process_match: str | None = None
    """Regular expression over the command line of the target's processes, to find them."""
    log_files: tuple[Path, ...] = ()
    """Log files of the target, searched for personal data."""

    @model_validator(mode="after")
    def _url(self) -> Self:
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("base_url must look like http://127.0.0.1:8080")
        return self


class Launch(_Section):
    """How the rig starts the target itself; without this section it must already be running.

    The commands may use ``{python}``, ``{profile_dir}``, ``{port}`` and ``{processes}``; the values of ``env`` also
    ``{admin_dsn}`` and ``{runtime_dsn}`` (so that no DSN stands on a command line). ``migrate`` runs once first.
    """

    command: tuple[str, ...]
    migrate: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    processes: int = Field(default=2, ge=1, le=64)
    ready_timeout_s: float = Field(default=20, gt=0)
    stop_timeout_s: float = Field(default=10, gt=0)


class Headers(_Section):
    """Names of the request headers."""

    tenant_key: Header
    idempotency_key: Header
    correlation_id: Header


class Probes(_Section):
    """What the prober asks beside every storm. A path left out is not asked."""

    health: Route | None = None
    ready: Route | None = None
    metrics: Route | None = None
    timeout_s: float = Field(default=2.0, gt=0)


class Tenants(_Section):
    """How tenants come to exist: one SQL statement run over the truth DSN for each, or fixed ones.

    The statement gets ``%(tenant_id)s``, ``%(name)s``, ``%(api_key)s``, ``%(api_key_sha256)s`` and ``%(secrets)s`` (a
    JSON object of webhook secrets by the names that the routes use). A command gets the same as environment variables
    TENANT_ID, TENANT_NAME, TENANT_API_KEY, TENANT_API_KEY_SHA256 and TENANT_SECRETS. A fixed tenant names the
    environment variable that holds its API key; secrets then come from the routes' ``secret_env``.
    """

    provision_sql: str | None = None
    provision_command: tuple[str, ...] | None = None
    fixed: tuple[FixedTenant, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(bool(way) for way in (self.provision_sql, self.provision_command, self.fixed)) != 1:
            raise ValueError("give exactly one of provision_sql, provision_command and [[tenants.fixed]]")
        return self


class FixedTenant(_Section):
    """A tenant that already exists."""

    id: str
    api_key_env: str


class Mutation(_Section):
    """One way to make a body schema-invalid: remove the value at a dotted path, or set it."""

    remove: str | None = None
    set: str | None = None
    to: Any = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.remove is None) == (self.set is None):
            raise ValueError("give exactly one of remove and set")
        return self


class PersonalField(_Section):
    """Where a body gets personal data: a dotted path (made where it is missing) and the shape of the value."""

    at: str
    kind: Literal["email", "phone", "name", "address", "ip", "ssn"]


class WebhookRoute(_Section):
    """One vendor's door: path, signature, body shape and the ways to spoil it."""

    name: Name
    path: Route
    scheme: Literal["stripe", "hmac-sha256-base64", "hmac-sha256-hex"]
    signature_header: Header
    secret: Name
    """Name of the webhook secret; routes with the same name share it."""
    secret_env: str | None = None
    """Environment variable that holds the secret; without it the rig makes one for each tenant."""
    tolerance_s: float = Field(default=300, gt=0)
    """How old a signature may be (schemes without a time ignore it)."""
    content_type: str = "application/json"
    body: str
    malformed: tuple[Mutation, ...] = Field(min_length=1)
    personal: tuple[PersonalField, ...] = ()


class Answer(_Section):
    """What a target answers to a request class and where its row lies then."""

    status: tuple[int, ...] = Field(default=(200,), min_length=1)
    row: Row


class CanonicalTable(_Section):
    """Where accepted events lie. ``channel`` and ``correlation`` are checked where they are given."""

    table: Identifier
    tenant: Identifier
    key: Identifier
    correlation: Identifier | None = None
    channel: Identifier | None = None


class DeadTable(_Section):
    """Where dead letters lie, and by what one is matched with its request.

    ``match``: ``key`` or ``correlation`` (a column of that content), ``payload-key`` or ``payload-correlation`` (a
    dotted path into a JSON column), or ``count`` (numbers alone: nothing in the row names the request).
    """

    table: Identifier
    tenant: Identifier
    match: Literal["key", "correlation", "payload-key", "payload-correlation", "count"]
    column: Identifier | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.match != "count" and self.column is None:
            raise ValueError(f"match = {self.match!r} needs column")
        if self.match.startswith("payload") and not self.path:
            raise ValueError(f"match = {self.match!r} needs path")
        return self


class Truth(_Section):
    """The database that holds the truth. The DSNs come from the environment; the two must be different roles."""

    dsn_env: str = "RIG_TRUTH_DSN"
    runtime_dsn_env: str = "RIG_RUNTIME_DSN"
    canonical: CanonicalTable
    dead: DeadTable
    schemas: tuple[Identifier, ...] = ("public",)
    """Schemas of the target: every text, JSON and bytea column in them is searched for personal data."""
    quiesce_timeout_s: float = Field(default=30, gt=0)


class ChannelAlias(_Section):
    """Spellings of ``utm_source`` that mean one channel."""

    sources: tuple[str, ...] = Field(min_length=2)
    channel: str


def _default_answers() -> dict[RequestClass, Answer]:
    dead = {RequestClass.MALFORMED, RequestClass.PERSONAL, RequestClass.INVALID_JSON}
    return {kind: Answer(row=Row.DEAD if kind in dead else Row.CANONICAL) for kind in RequestClass}


PERSONAL_KEYS = (
    "email", "email_address", "phone", "phone_number", "ssn", "social_security_number", "ip", "ip_address",
    "first_name", "last_name", "full_name", "address", "street_address", "billing_address", "shipping_address",
    "receipt_email", "customer_email", "customer_phone",
)  # fmt: skip


class Profile(_Section):
    """A whole profile. ``source`` and ``digest`` say where it was read from."""

    version: Literal[1]
    name: Name
    target: Target = Target()
    launch: Launch | None = None
    headers: Headers
    probes: Probes = Probes()
    tenants: Tenants
    routes: tuple[WebhookRoute, ...] = Field(min_length=1)
    answers: dict[RequestClass, Answer] = {}
    truth: Truth
    personal_keys: tuple[str, ...] = PERSONAL_KEYS
    channels: tuple[ChannelAlias, ...] = ()
    default_source: str = "newsletter"
    """``utm_source`` of every event that is not about channels."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [route.name for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("two routes have the same name")
        if self.target.base_url is None and self.launch is None:
            raise ValueError("give target.base_url, or a [launch] section for the rig to start the target")
        return self

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


def bundled_profile(name: str = "reference") -> Path:
    """Path of a profile that comes with the rig."""
    return Path(__file__).parent.parent / "scenarios" / "profiles" / f"{name}.toml"


def load_profile(path: Path) -> Profile:
    """Read and validate a profile; ConfigError names file, key and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"profile {path} does not exist; give --profile the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"profile {path} cannot be read: {error}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"profile {path} is not valid TOML: {error}") from None
    return _validated(raw, path)


def _validated(raw: Mapping[str, Any], path: Path) -> Profile:
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = [f"profile {path} is wrong:"]
        for problem in error.errors()[:10]:
            where = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
            lines.append(f"  {where}: {_remedy(problem['type'], problem['msg'])}")
        raise ConfigError("\n".join(lines)) from None


def _remedy(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key; remove it or mend its spelling (docs/profile.md lists all keys)"
    if kind == "missing":
        return "required, but missing"
    return re.sub(r"^Value error, ", "", message)


def secret_from(environ: Mapping[str, str], variable: str, purpose: str) -> str:
    """The value of an environment variable that must be set; ConfigError says what it is for."""
    value = environ.get(variable)
    if not value:
        raise ConfigError(f"environment variable {variable} is not set; it must hold {purpose}")
    return value


def environment() -> Mapping[str, str]:
    """The process environment: the one place that this package takes secrets from."""
    return os.environ
