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
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from rig import pool_metrics
from rig.errors import ConfigError
from rig.model import RequestClass, Row
from rig.profile_fields import (
    Command,
    Header,
    HeaderPrefix,
    HeaderValue,
    Identifier,
    Name,
    Route,
    Series,
    Signed,
    Status,
    Text,
    Variable,
    Word,
)
from rig.profile_storms import Storms


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Target(_Section):
    """Where the target listens. ``base_url`` may be left out only where the rig launches it itself."""

    base_url: str | None = None
    """Like ``http://127.0.0.1:8080``; a path in it is put before those of the routes."""
    allow_host: str | None = None
    """The one host beside loopback that may be loaded; the command line must repeat it (``--allow-host``)."""
    max_requests: int | None = Field(default=None, ge=1)
    """A run may send so many requests at most, all drives together; the command line can only lower it."""
    max_rate_per_s: float | None = Field(default=None, gt=0)
    """No open loop may be faster; the command line can only lower it. A closed loop goes as fast as it is answered."""
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
            plain = self.base_url.isascii() and self.base_url.isprintable() and not set(self.base_url) & set(" ?#@")
            if not plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                # Not repeated: what somebody put before an @ may be a password.
                raise ValueError("base_url must look like http://127.0.0.1:8080, perhaps with a path, and nothing else")
        return self


class Launch(_Section):
    """How the rig starts the target itself; without this section it must already be running.

    The commands may use ``{python}``, ``{profile_dir}``, ``{port}`` and ``{processes}``; the values of ``env`` also
    ``{admin_dsn}`` and ``{runtime_dsn}`` (so that no DSN stands on a command line). ``migrate`` runs once first.
    """

    command: Command
    """Program and arguments; it must stay in the foreground and end on SIGTERM."""
    migrate: Command | None = None
    """Program that prepares the database; anything but exit code 0 ends the run."""
    env: dict[Variable, Word] = {}
    """Environment variables for both, on top of the rig's own."""
    processes: int = Field(default=2, ge=1, le=64)
    """Number of serving processes, for ``{processes}``."""
    ready_timeout_s: float = Field(default=20, gt=0)
    """How long it may take until the ready probe answers 200."""
    stop_timeout_s: float = Field(default=10, gt=0)
    """How long it may take to end after SIGTERM; then it is killed."""


class Headers(_Section):
    """Names of the request headers."""

    tenant_key: Header
    """Carries the tenant's API key."""
    tenant_key_prefix: HeaderPrefix = ""
    """What stands before the key in that header, like ``Token `` with its space."""
    idempotency_key: Header
    """Carries the key that events are deduplicated by, within a tenant."""
    correlation_id: Header
    """Carries an id that is unique to the request."""


class PoolSeries(_Section):
    """Prometheus series of the metrics that tell of the pool of database connections.

    The diagnosis wants them: without, whether requests waited for a connection is judged from the sessions alone. All
    samples of a name are added up; whichever process is asked must answer for the whole service.
    """

    connections_max: Series | None = None
    """Gauge: bound of the pool."""
    acquire_wait_seconds: Series | None = None
    """Counter: seconds that requests waited for a connection."""
    acquired: Series | None = None
    """Counter: connections that were acquired."""
    timeouts: Series | None = None
    """Counter: requests that waited in vain."""

    def names(self) -> dict[str, str | None]:
        """What each series means (``rig.pool_metrics``) and what it is called, None where it is not named."""
        return {
            pool_metrics.CONNECTIONS_MAX: self.connections_max,
            pool_metrics.ACQUIRE_WAIT_S: self.acquire_wait_seconds,
            pool_metrics.ACQUIRED: self.acquired,
            pool_metrics.TIMEOUTS: self.timeouts,
        }


class Probes(_Section):
    """What the prober asks beside every storm. A path left out is not asked."""

    health: Route | None = None
    """Path that answers 200 while the process lives."""
    ready: Route | None = None
    """Path that answers 200 while events can be stored; a launched target is waited for with it."""
    metrics: Route | None = None
    """Path of the metrics."""
    timeout_s: float = Field(default=2.0, gt=0)
    """An answer later than this is none."""
    pool: PoolSeries = PoolSeries()
    """What the metrics call the pool's counters."""


class Tenants(_Section):
    """How tenants come to exist: one SQL statement run over the truth DSN for each, or fixed ones.

    The statement gets ``%(tenant_id)s``, ``%(name)s``, ``%(api_key)s``, ``%(api_key_sha256)s`` and ``%(secrets)s`` (a
    JSON object of webhook secrets by the names that the routes use). A command gets the same as environment variables
    TENANT_ID, TENANT_NAME, TENANT_API_KEY, TENANT_API_KEY_SHA256 and TENANT_SECRETS. Where the service numbers its
    tenants itself, the statement ends in ``RETURNING … AS tenant_id``: that is what their rows carry. A fixed tenant
    names the environment variable that holds its API key; secrets then come from the routes' ``secret_env``.
    """

    provision_sql: Text | None = None
    """One statement, run once for each tenant; a column ``tenant_id`` that it returns is what their rows carry."""
    provision_command: Command | None = None
    """Program and arguments, run once for each tenant."""
    fixed: tuple[FixedTenant, ...] = ()
    """Tenants that exist already; a full run needs one for A, B, warm-up, S8-1 … and T01 … T20."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(bool(way) for way in (self.provision_sql, self.provision_command, self.fixed)) != 1:
            raise ValueError("give exactly one of provision_sql, provision_command and [[tenants.fixed]]")
        if len({tenant.id for tenant in self.fixed}) != len(self.fixed):
            raise ValueError("two fixed tenants have the same id")
        return self


class FixedTenant(_Section):
    """A tenant that already exists."""

    id: Text
    """What its rows carry."""
    api_key_env: Variable
    """Environment variable that holds its API key."""


class Mutation(_Section):
    """One way to make a body schema-invalid: remove the value at a dotted path, or set it."""

    remove: str | None = None
    """Dotted path of the value to remove; a number steps into a list."""
    set: str | None = None
    """Dotted path of the value to replace."""
    to: JsonValue = None
    """What it is replaced by; left out: null."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.remove is None) == (self.set is None):
            raise ValueError("give exactly one of remove and set")
        return self


class PersonalField(_Section):
    """Where a body gets personal data: a dotted path (made where it is missing) and the shape of the value."""

    at: str
    """Dotted path; what is missing on the way is made."""
    kind: Literal["email", "phone", "name", "address", "ip", "ssn"]


class WebhookRoute(_Section):
    """One vendor's door: path, signature, body shape and the ways to spoil it.

    The HMAC schemes sign ``signed``, which is the raw body where nothing else is said. GitHub's way is
    ``hmac-sha256-hex`` with ``signature_prefix = "sha256="``; Slack's has ``signature_prefix = "v0="``,
    ``signed = "v0:<unix>:<body>"`` and ``timestamp_header = "X-Slack-Request-Timestamp"``.
    """

    name: Name
    """What reports call it."""
    path: Route
    """Path of the door, posted to."""
    scheme: Literal["stripe", "hmac-sha256-base64", "hmac-sha256-hex"]
    """How the raw body is signed."""
    signature_header: Header
    """Header that carries the signature."""
    signature_prefix: HeaderPrefix = ""
    """What stands before the signature in that header."""
    signed: Signed = "<body>"
    """What is signed: ``<body>`` is the raw body, ``<unix>`` the time of signing."""
    timestamp_header: Header | None = None
    """Header that carries the time of signing, seconds since 1970; it goes with ``<unix>`` in ``signed``."""
    secret: Name
    """Name of the webhook secret; routes with the same name share it."""
    secret_env: Variable | None = None
    """Environment variable that holds the secret; without it the rig makes one for each tenant."""
    tolerance_s: float = Field(default=300, gt=0)
    """How old a signature may be (where no time is signed, it means nothing)."""
    content_type: HeaderValue = "application/json"
    """Value of the Content-Type header."""
    body: str
    """JSON with placeholders: ``<event>``, ``<number>``, ``<amount>``, ``<decimal>``, ``<unix>``, ``<iso>``,
    ``<source>``, ``<correlation>``, ``<key>``."""
    malformed: tuple[Mutation, ...] = Field(min_length=1)
    """Ways to make the body schema-invalid; malformed requests take turns through them."""
    personal: tuple[PersonalField, ...] = Field(min_length=1)
    """Places for personal data; requests take turns through them, and through all of them at once."""

    @model_validator(mode="after")
    def _one_signature(self) -> Self:
        if self.scheme == "stripe" and (self.signature_prefix or self.signed != "<body>" or self.timestamp_header):
            raise ValueError("the stripe scheme has its own form; leave out signature_prefix, signed, timestamp_header")
        if ("<unix>" in self.signed) != (self.timestamp_header is not None):
            raise ValueError("<unix> in signed and timestamp_header go together: the time is told and signed")
        return self

    @property
    def ageing(self) -> bool:
        """Whether a signature holds its time, so that it grows too old to be accepted."""
        return self.scheme == "stripe" or self.timestamp_header is not None


class Answer(_Section):
    """What a target answers to a request class and where its row lies then."""

    status: tuple[Status, ...] = Field(default=(200,), min_length=1)
    """Any of these is the right answer; 5xx never is."""
    row: Row
    """Table that its row must lie in then."""


class CanonicalTable(_Section):
    """Where accepted events lie. ``channel`` and ``correlation`` are checked where they are given."""

    table: Identifier
    """Table name, with its schema where that is not in ``truth.schemas``."""
    tenant: Identifier
    """Column with the tenant's id."""
    key: Identifier
    """Column with the idempotency key."""
    correlation: Identifier | None = None
    """Column with the correlation id."""
    channel: Identifier | None = None
    """Column with the normalised channel."""


class DeadTable(_Section):
    """Where dead letters lie, and by what one is matched with its request.

    ``match``: ``key`` or ``correlation`` (a column of that content), ``payload-key`` or ``payload-correlation`` (a
    dotted path into a JSON column), or ``count`` (numbers alone: nothing in the row names the request).
    """

    table: Identifier
    """Table name, with its schema where that is not in ``truth.schemas``."""
    tenant: Identifier
    """Column with the tenant's id."""
    match: Literal["key", "correlation", "payload-key", "payload-correlation", "count"]
    column: Identifier | None = None
    """The column that ``match`` speaks of."""
    path: Text | None = None
    """Dotted path within a JSON column."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.match != "count" and self.column is None:
            raise ValueError(f"match = {self.match!r} needs column")
        if self.match.startswith("payload") and not self.path:
            raise ValueError(f"match = {self.match!r} needs path")
        return self


class Truth(_Section):
    """The database that holds the truth. The DSNs come from the environment; the two must be different roles."""

    dsn_env: Variable = "RIG_TRUTH_DSN"
    """Environment variable with the DSN that sees every row."""
    runtime_dsn_env: Variable = "RIG_RUNTIME_DSN"
    """Environment variable with the DSN that the target itself uses."""
    canonical: CanonicalTable
    dead: DeadTable
    schemas: tuple[Identifier, ...] = ("public",)
    """Schemas of the target: every text, JSON and bytea column in them is searched for personal data."""
    quiesce_timeout_s: float = Field(default=30, gt=0)
    """How long the database may take to come to rest after the last answer."""


class ChannelAlias(_Section):
    """Spellings of ``utm_source`` that mean one channel."""

    sources: tuple[str, ...] = Field(min_length=2)
    """Spellings; S9 sends one event under each."""
    channel: str
    """What all of them must be stored as."""


def _default_answers() -> dict[RequestClass, Answer]:
    dead = {RequestClass.MALFORMED, RequestClass.PERSONAL, RequestClass.INVALID_JSON}
    return {kind: Answer(row=Row.DEAD if kind in dead else Row.CANONICAL) for kind in RequestClass}


PERSONAL_KEYS = (
    "email", "email_address", "phone", "phone_number", "ssn", "social_security_number", "ip", "ip_address",
    "first_name", "last_name", "full_name", "address", "street_address", "billing_address", "shipping_address",
    "receipt_email", "customer_email", "customer_phone",
)  # fmt: skip


class Profile(_Section):
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
    answers: dict[RequestClass, Answer] = {}
    """What is the right answer to each request class, where it differs from the reference service's."""
    truth: Truth
    """Where the truth lies."""
    personal_keys: tuple[str, ...] = PERSONAL_KEYS
    """Keys that may not be stored at any depth."""
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


_PROBLEMS_NAMED = 10
_KEY_SHOWN = 80
_LARGEST_BYTES = 1 << 20


def bundled_profile(name: str = "reference") -> Path:
    """Path of a profile that comes with the rig."""
    return Path(__file__).parent.parent / "scenarios" / "profiles" / f"{name}.toml"


def load_profile(path: Path) -> Profile:
    """Read and validate a profile; ConfigError names file, key and remedy."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)  # a device or a pipe may never end
    except FileNotFoundError:
        raise ConfigError(f"profile {path} does not exist; give --profile the path of a TOML file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"profile {path} cannot be read: {error}") from None
    if len(data) > _LARGEST_BYTES:
        raise ConfigError(f"profile {path} is larger than {_LARGEST_BYTES >> 20} MiB; give --profile a TOML file")
    try:
        return parse_profile(data.decode(), path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"profile {path} cannot be read: {error}") from None


def parse_profile(text: str, path: Path) -> Profile:
    """Validate the text of a profile; ``path`` is what errors call it."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise ConfigError(f"profile {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"profile {path} is nested too deeply; no key of a profile lies ten levels deep") from None
    return _validated(raw, path)


def _validated(raw: Mapping[str, Any], path: Path) -> Profile:
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = [f"profile {path} is wrong:"]
        problems = error.errors()
        for problem in problems[:_PROBLEMS_NAMED]:
            where = ".".join(_shown(part) for part in problem["loc"]) or "(whole file)"
            lines.append(f"  {where}: {_remedy(problem['type'], problem['msg'])}")
        if len(problems) > _PROBLEMS_NAMED:
            lines.append(f"  … and {len(problems) - _PROBLEMS_NAMED} more")
        raise ConfigError("\n".join(lines)) from None


def _shown(part: int | str) -> str:
    """A key for the terminal: one that somebody else wrote may hold control characters, and be long."""
    text = str(part)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _KEY_SHOWN else text[:_KEY_SHOWN] + "…"


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
