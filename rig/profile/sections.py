"""The sections of a profile, but for the storms: each a table of the TOML file, its keys with their meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, model_validator

from rig.evidence import pool_metrics
from rig.model import Row, Scheme
from rig.profile.fields import (
    Command,
    Header,
    HeaderPrefix,
    HeaderValue,
    Identifier,
    Name,
    Pattern,
    Route,
    Section,
    Series,
    Signed,
    Status,
    Text,
    Variable,
    Word,
)


class Target(Section):
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
    """Commit of the target under test, for the report; the environment's ``RIG_TARGET_COMMIT`` goes before it."""
    process_match: Pattern | None = None
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


class Launch(Section):
    """How the rig starts the target itself; without this section it must already be running.

    The commands may use ``{python}``, ``{profile_dir}``, ``{port}`` and ``{processes}``; the values of ``env`` also
    ``{admin_dsn}`` and ``{runtime_dsn}`` (so that no DSN stands on a command line). ``migrate`` runs once first.
    """

    command: Command
    """Program and arguments; it must stay in the foreground and end on SIGTERM."""
    migrate: Command | None = None
    """Program that prepares the database; anything but exit code 0 ends the run."""
    env: dict[Variable, Word] = Field(default_factory=dict)
    """Environment variables for both, on top of the rig's own."""
    processes: int = Field(default=2, ge=1, le=64)
    """Number of serving processes, for ``{processes}``."""
    ready_timeout_s: float = Field(default=20, gt=0)
    """How long it may take until the ready probe answers 200."""
    stop_timeout_s: float = Field(default=10, gt=0)
    """How long it may take to end after SIGTERM; then it is killed."""


class Headers(Section):
    """Names of the request headers."""

    tenant_key: Header
    """Carries the tenant's API key."""
    tenant_key_prefix: HeaderPrefix = ""
    """What stands before the key in that header, like ``Token `` with its space."""
    idempotency_key: Header
    """Carries the key that events are deduplicated by, within a tenant."""
    correlation_id: Header
    """Carries an id that is unique to the request."""


class PoolSeries(Section):
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
        """What each series means (``rig.evidence.pool_metrics``) and what it is called, None where it is not named."""
        return {
            pool_metrics.CONNECTIONS_MAX: self.connections_max,
            pool_metrics.ACQUIRE_WAIT_S: self.acquire_wait_seconds,
            pool_metrics.ACQUIRED: self.acquired,
            pool_metrics.TIMEOUTS: self.timeouts,
        }


class Probes(Section):
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


class FixedTenant(Section):
    """A tenant that already exists."""

    id: Text
    """What its rows carry, spelt as PostgreSQL prints it (a uuid in small letters, a number without leading zeros)."""
    api_key_env: Variable
    """Environment variable that holds its API key."""


class Tenants(Section):
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
    """Tenants that exist already: the ladder needs two, a full run six (A, B, one to warm up, one a trial of S8)."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(bool(way) for way in (self.provision_sql, self.provision_command, self.fixed)) != 1:
            raise ValueError("give exactly one of provision_sql, provision_command and [[tenants.fixed]]")
        if len({tenant.id for tenant in self.fixed}) != len(self.fixed):
            raise ValueError("two fixed tenants have the same id")
        return self


class Mutation(Section):
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


class PersonalField(Section):
    """Where a body gets personal data: a dotted path (made where it is missing) and the shape of the value."""

    at: str
    """Dotted path; what is missing on the way is made."""
    kind: Literal["email", "phone", "name", "address", "ip", "ssn"]


class WebhookRoute(Section):
    """One vendor's door: path, signature, body shape and the ways to spoil it.

    The HMAC schemes sign ``signed``, which is the raw body where nothing else is said. GitHub's way is
    ``hmac-sha256-hex`` with ``signature_prefix = "sha256="``; Slack's has ``signature_prefix = "v0="``,
    ``signed = "v0:<unix>:<body>"`` and ``timestamp_header = "X-Slack-Request-Timestamp"``.
    """

    name: Name
    """What reports call it."""
    path: Route
    """Path of the door, posted to."""
    scheme: Scheme
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


class Answer(Section):
    """What a target answers to a request class and where its row lies then.

    NAME is the class: ``valid``, ``replay``, ``malformed``, ``personal`` or ``invalid_json``.
    """

    status: tuple[Status, ...] = Field(default=(200,), min_length=1)
    """Any of these is the right answer; 5xx never is."""
    row: Row
    """Table that its row must lie in then."""


class CanonicalTable(Section):
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


class DeadTable(Section):
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


class Truth(Section):
    """The database that holds the truth. The DSNs come from the environment; the two must be different roles."""

    dsn_env: Variable = "RIG_TRUTH_DSN"
    """Environment variable with the DSN that sees every row."""
    runtime_dsn_env: Variable = "RIG_RUNTIME_DSN"
    """Environment variable with the DSN that the target itself uses."""
    canonical: CanonicalTable
    dead: DeadTable
    schemas: tuple[Identifier, ...] = ("public",)
    """Schemas of the target: every text, JSON and bytea column in them is searched for personal values. (Personal keys
    are searched for in the two event tables.)"""
    quiet_s: float = Field(default=0.1, ge=0.1)
    """Nobody may have worked in the database for so long before it is read; below ``quiesce_timeout_s``. A service that
    stores from a queue after its answer names more than the longest time from an answer to its row."""
    quiesce_timeout_s: float = Field(default=30, gt=0)
    """How long the database may take to come to rest after the last answer."""

    @model_validator(mode="after")
    def _rest_fits(self) -> Self:
        if self.quiet_s >= self.quiesce_timeout_s:
            raise ValueError(
                f"truth.quiet_s ({self.quiet_s:g}) must be below truth.quiesce_timeout_s ({self.quiesce_timeout_s:g}): "
                "lower the first or raise the second"
            )
        return self


class ChannelAlias(Section):
    """Spellings of ``utm_source`` that mean one channel."""

    sources: tuple[str, ...] = Field(min_length=2)
    """Spellings; S9 sends one event under each."""
    channel: str
    """What all of them must be stored as."""
