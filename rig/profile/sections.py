"""The sections of a profile, but for the storms: each a table of the TOML file, its keys with their meaning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, JsonValue, model_validator

from rig.evidence import pool_metrics
from rig.model import RequestClass, Row
from rig.profile.content import ContentField
from rig.profile.fields import (
    NAME_PATTERN,
    Command,
    Header,
    HeaderPrefix,
    Identifier,
    Name,
    Names,
    Pattern,
    Route,
    Section,
    Series,
    Status,
    Text,
    Variable,
    Word,
)


class Target(Section):
    """Where the target listens. ``base_url`` may be left out only where the rig launches it itself."""

    base_url: str | None = None
    """Like ``http://127.0.0.1:8080``. A path in it stands before the paths of the routes."""
    public_url: str | None = None
    """The address that senders know, where it is another than ``base_url``, as behind a proxy. A signature that covers
    the address (``<url>``) is made with it; the requests go to ``base_url``. Where the target learns it from headers of
    the proxy, like ``X-Forwarded-Host``, give them in ``routes.headers``."""
    allow_host: str | None = None
    """The one host beyond loopback that may be loaded. The command line must repeat it (``--allow-host``)."""
    max_requests: int | None = Field(default=None, ge=1)
    """A run sends at most this many requests, all scenario runs together. The command line can only lower it."""
    max_rate_per_s: float | None = Field(default=None, gt=0)
    """No open loop sends faster. The command line can only lower it. A closed loop sends as fast as it is answered."""
    ca_file: Path | None = None
    """File with certificates to trust for https, on top of the system's."""
    client_cert: Path | None = None
    """File with the certificate (PEM) that the rig shows to a target that asks for one (mutual TLS)."""
    client_key: Path | None = None
    """File with its private key, not encrypted, where ``client_cert`` does not hold it too."""
    commit: str | None = None
    """Commit of the target, for the report. The environment variable ``RIG_TARGET_COMMIT`` overrides it."""
    process_match: Pattern | None = None
    """Regular expression that finds the target's processes by their command line, for the samplers."""
    log_files: tuple[Path, ...] = ()
    """Log files of the target. They are searched for personal data."""

    @model_validator(mode="after")
    def _urls(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key belongs to client_cert: give that too")
        for key, url in (("base_url", self.base_url), ("public_url", self.public_url)):
            if url is not None:
                parts = urlsplit(url)
                plain = url.isascii() and url.isprintable() and not set(url) & set(" ?#@")
                if not plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                    # Not repeated: what somebody put before an @ may be a password.
                    raise ValueError(f"{key} must look like http://127.0.0.1:8080; a path may follow, and nothing else")
        return self


class Launch(Section):
    """How the rig starts the target itself. Without this section the target must already be running.

    The commands may use ``{python}``, ``{profile_dir}``, ``{port}`` and ``{processes}``. The values of ``env`` may also
    use ``{admin_dsn}`` and ``{runtime_dsn}``, so that no DSN is on a command line. ``migrate`` runs once first.
    """

    command: Command
    """Program and arguments. The program must stay in the foreground and end on SIGTERM."""
    migrate: Command | None = None
    """Program that prepares the database. Any exit code but 0 ends the run."""
    migrate_timeout_s: float = Field(default=60, gt=0)
    """How long ``migrate`` may take."""
    env: dict[Variable, Word] = Field(default_factory=dict)
    """Environment variables for both programs, on top of the rig's own."""
    processes: int = Field(default=2, ge=1, le=64)
    """Number of serving processes, for ``{processes}``."""
    ready_timeout_s: float = Field(default=20, gt=0)
    """How long it may take until the ready probe answers 2xx."""
    stop_timeout_s: float = Field(default=10, gt=0)
    """How long it may take to end after SIGTERM. After that it is killed."""


class Headers(Section):
    """Names of the request headers that the rig fills. Each may be left out; what needs it is NOT-RUN then."""

    tenant_key: Header | None = None
    """Carries the tenant's API key."""
    tenant_key_prefix: HeaderPrefix = ""
    """Text before the key in that header, like ``Token `` with its space."""
    idempotency_key: Header | None = None
    """Carries the key by which events are deduplicated, where it is not a part of the event."""
    correlation_id: Header | None = None
    """Carries an id that is unique to the request."""


class PoolSeries(Section):
    """Prometheus series about the target's pool of database connections.

    The diagnosis uses them. Without them it judges from the database sessions alone whether requests waited for a
    connection. All samples of one name are added up, so any process must answer for the whole service.
    """

    connections_max: Series | None = None
    """Gauge: the most connections that the pool opens."""
    acquire_wait_seconds: Series | None = None
    """Counter: seconds that requests waited for a connection."""
    acquired: Series | None = None
    """Counter: connections that were acquired."""
    timeouts: Series | None = None
    """Counter: requests that waited for a connection and got none."""

    def names(self) -> dict[str, str | None]:
        """Each meaning (``rig.evidence.pool_metrics``) with the series' name, None where the profile names none."""
        return {
            pool_metrics.CONNECTIONS_MAX: self.connections_max,
            pool_metrics.ACQUIRE_WAIT_S: self.acquire_wait_seconds,
            pool_metrics.ACQUIRED: self.acquired,
            pool_metrics.TIMEOUTS: self.timeouts,
        }


class Probes(Section):
    """Paths that the prober requests during every scenario run. A path that is left out is not requested."""

    health: Route | None = None
    """Path that answers 2xx to GET while the process lives."""
    ready: Route | None = None
    """Path that answers 2xx to GET while events can be stored. The rig waits for it after it launches the target."""
    metrics: Route | None = None
    """Path of the metrics."""
    timeout_s: float = Field(default=2.0, gt=0)
    """An answer later than this is none."""
    pool: PoolSeries = PoolSeries()
    """What the metrics call the pool's counters."""


class FixedTenant(Section):
    """A tenant that already exists."""

    id: Text
    """The id in its rows, spelt as PostgreSQL prints it (a uuid in small letters, a number without leading zeros)."""
    api_key_env: Variable | None = None
    """Environment variable that holds its API key. Needed where requests carry it (``headers.tenant_key``, or
    ``<api_key>`` in a route)."""


class Tenants(Section):
    """How tenants are made. Leave the section out for a service without tenants.

    They are made: by one SQL statement for each, over the truth DSN; by a command; or not at all.

    The statement gets ``%(tenant_id)s``, ``%(name)s``, ``%(api_key)s``, ``%(api_key_sha256)s`` and ``%(secrets)s`` (a
    JSON object of webhook secrets by the names that the routes use). A command gets the same as environment variables
    TENANT_ID, TENANT_NAME, TENANT_API_KEY, TENANT_API_KEY_SHA256 and TENANT_SECRETS. If the service
    assigns the ids, end the statement with ``RETURNING … AS tenant_id``. A fixed tenant exists already. It names the
    environment variable that holds its API key, and secrets come from the routes' ``secret_env``.
    """

    provision_sql: Text | None = None
    """One statement, run once for each tenant. If it returns a column ``tenant_id``, that is the id in the rows."""
    provision_command: Command | None = None
    """Program and arguments, run once for each tenant."""
    rows: tuple[Text, ...] = ()
    """Columns, as ``table.column``, that hold the id of a tenant that was made so. ``rig clean`` removes these rows
    after the events, in this order. It leaves and names a tenant whose id the service gave: it may be an older one."""
    fixed: tuple[FixedTenant, ...] = ()
    """Tenants that exist already. With one, what takes two is NOT-RUN; with six each trial of S8 has its own."""

    @property
    def are_made(self) -> bool:
        """Whether the rig makes them, as many as it wants."""
        return bool(self.provision_sql or self.provision_command)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(bool(way) for way in (self.provision_sql, self.provision_command, self.fixed)) > 1:
            raise ValueError("give one of provision_sql, provision_command and [[tenants.fixed]]")
        if self.rows and not self.are_made:
            raise ValueError("rows belong to provision_sql or provision_command: no tenant is made without them")
        if wrong := [name for name in self.rows if "." not in name.strip(".")]:
            raise ValueError(f'rows: {wrong[0]!r} must be "table.column"')
        if len({tenant.id for tenant in self.fixed}) != len(self.fixed):
            raise ValueError("two fixed tenants have the same id")
        return self


class BodyRule(Section):
    """What the body of a right answer must say: JSON with a value at a path, or a text."""

    path: Text | None = None
    """Dotted path into the JSON of the body; a number steps into a list."""
    equals: JsonValue = None
    """The value that must lie there."""
    one_of: tuple[JsonValue, ...] = ()
    """Values of which one must lie there."""
    present: bool | None = None
    """Whether something must lie there (``true``), or nothing but null (``false``)."""
    contains: Text | None = None
    """Text that the body must contain, without a path."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.equals is not None, bool(self.one_of), self.present is not None, self.contains is not None)
        if sum(ways) != 1 or (self.path is None) != (self.contains is not None):
            raise ValueError("give path with one of equals, one_of and present, or contains alone")
        return self

    def holds(self, body: bytes) -> bool:
        """Whether a body says so."""
        if self.contains is not None:
            return self.contains.encode() in body
        try:
            found = value_at(json.loads(body), self.path or "")
        except (ValueError, RecursionError):
            return False
        if self.present is not None:
            return (found is not None) == self.present
        return any(_is_same(found, value) for value in self.one_of or (self.equals,))


def value_at(document: object, path: str) -> object:
    """What lies at a dotted path; None where nothing does."""
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def _is_same(one: object, other: object) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class CorrelationAnswer(Section):
    """Where an answer carries the correlation id of its request (``headers.correlation_id``, ``<correlation>``)."""

    header: Header | None = None
    """Header of the answer."""
    path: Text | None = None
    """Dotted path into the JSON of its body."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.header is None and self.path is None:
            raise ValueError("give header or path, or both: where the answer carries the correlation id")
        return self


class Answer(Section):
    """What the target must answer to a request class, and in which table its row must then be.

    The section of each class has the same keys.
    """

    status: tuple[Status, ...] = Field(default=(200,), min_length=1)
    """The right answers. 5xx may be one: some services answer so, for the sender to try again."""
    again: tuple[Status, ...] = ()
    """The right answers to a key that is known already, where they differ: ``status = [201]``, ``again = [409]``. Only
    the first request of a key may then be answered with ``status``."""
    same_body: bool = False
    """Whether the answer to a replay has the body of the first answer."""
    body: BodyRule | None = None
    """What the body of a right answer says, like ``{ path = "status", one_of = ["accepted", "duplicate"] }``."""
    row: Row | None = None
    """Table of its row: ``canonical``, ``dead``, or ``none`` where nothing is stored. Without it: ``canonical`` for
    valid and replay, ``dead`` for malformed, personal and invalid_json."""

    @property
    def right(self) -> tuple[int, ...]:
        """Every right answer, to the first request of a key and to the others."""
        return self.status + self.again


class RouteAnswer(Section):
    """What one route answers to a request class, where it differs from ``[answers]``. A key that is left out is as
    there."""

    status: tuple[Status, ...] | None = Field(default=None, min_length=1)
    """The right answers."""
    again: tuple[Status, ...] | None = None
    """The right answers to a key that is known already."""
    same_body: bool | None = None
    """Whether the answer to a replay has the body of the first answer."""
    body: BodyRule | None = None
    """What the body of a right answer says."""
    row: Row | None = None
    """Table of its row."""


class Answers(Section):
    """The right answer to a request class, where it differs from the reference service's."""

    valid: Answer | None = None
    """To an event that is new and right."""
    replay: Answer | None = None
    """To an event that comes again and again."""
    malformed: Answer | None = None
    """To a body that is schema-invalid."""
    personal: Answer | None = None
    """To an event with personal data."""
    invalid_json: Answer | None = None
    """To a body that is cut off."""
    conflict: Answer | None = None
    """To the key of an earlier event with another body. It is sent where this is given."""
    forged: Literal["off"] | Answer | None = None
    """To a forged request; without it any 3xx or 4xx. ``off``: none is sent, because the target bans their sender."""

    correlation: CorrelationAnswer | None = None
    """Where the correlation id of a request comes back with its right answer."""

    def of(self, request_class: RequestClass) -> Answer | None:
        """The answer to a class; None where the profile does not say it."""
        answer: Answer | str | None = getattr(self, request_class.value)
        return answer if isinstance(answer, Answer) else None

    @property
    def given(self) -> dict[RequestClass, Answer]:
        """The answers that the profile says."""
        return {kind: answer for kind in RequestClass if (answer := self.of(kind)) is not None}


class _Rows(Section):
    """Where rows lie: in a table or view, or in the result of a statement."""

    table: Identifier | None = None
    """Table or view, with its schema if that is not in ``truth.schemas``."""
    sql: Text | None = None
    """Instead of ``table``: one SELECT whose columns the other keys name. Tables in ``truth.schemas`` need no schema
    in it. A percent sign is a percent sign, and there are no parameters."""
    tenant: Identifier | None = None
    """Column with the tenant's id. Leave it out where there are no tenants."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.table is None) == (self.sql is None):
            raise ValueError("give exactly one of table and sql")
        return self


class CanonicalTable(_Rows):
    """The table of accepted events. ``channel`` and ``correlation`` are checked if they are given."""

    key: Identifier
    """Column with the idempotency key."""
    correlation: Identifier | None = None
    """Column with the correlation id."""
    channel: Identifier | None = None
    """Column with the normalised channel."""
    fields: dict[Identifier, ContentField] = Field(default_factory=dict)
    """What the columns hold of the event, on all routes. Without any, here or in a route, content is not compared."""

    @property
    def names(self) -> frozenset[str]:
        """The columns that it names."""
        named = (self.tenant, self.key, self.correlation, self.channel, *self.fields)
        return frozenset(name for name in named if name is not None)


class DeadTable(_Rows):
    """The table of dead letters, and how a row is matched with its request.

    ``match``: ``key`` or ``correlation`` (a column holds it), ``payload-key`` or ``payload-correlation`` (it is at a
    dotted path in a JSON column), or ``count`` (nothing in the row names the request, so only numbers are compared).
    """

    match: Literal["key", "correlation", "payload-key", "payload-correlation", "count"]
    column: Identifier | None = None
    """The column that ``match`` needs."""
    path: Text | None = None
    """Dotted path within a JSON column."""
    fields: dict[Identifier, ContentField] = Field(default_factory=dict)
    """What the columns of a dead letter hold of the event. Personal parts are not compared, nor is what was cut off
    (``invalid_json``). A dead letter that names no request is not compared either."""

    @property
    def names(self) -> frozenset[str]:
        """The columns that it names."""
        return frozenset(name for name in (self.tenant, self.column, *self.fields) if name is not None)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.match != "count" and self.column is None:
            raise ValueError(f"match = {self.match!r} needs column")
        if self.match.startswith("payload") and not self.path:
            raise ValueError(f"match = {self.match!r} needs path")
        return self


class Arrival(Section):
    """How rows arrive where a queue stores events after the answer. Without it a row must be there with its answer."""

    within_s: float = Field(gt=0)
    """How long the last row may take after the last answer. The truth is read as soon as every acknowledged event has
    its row, and no later than this."""


class Isolation(Section):
    """Promises that row-level security keeps the tenants apart.

    The gate ``isolation`` then asks the catalog, and tries it as the target's role (``truth.runtime_dsn_env``), in
    transactions that are rolled back.
    """

    setting: Text
    """The setting that names the tenant to the policies, as in ``SET LOCAL app.current_tenant_id = '…'``."""


class Truth(Section):
    """The database that holds the truth. The DSNs come from the environment."""

    dsn_env: Variable = "RIG_TRUTH_DSN"
    """Environment variable with the DSN that sees every row."""
    runtime_dsn_env: Variable = "RIG_RUNTIME_DSN"
    """Environment variable with the DSN that the target itself uses. It may be the same role where no event table has
    row-level security."""
    canonical: CanonicalTable
    dead: DeadTable | None = None
    """The table of dead letters. Without it none are expected anywhere."""
    schemas: tuple[Identifier, ...] = ("public",)
    """Schemas of the target. Every text, JSON and bytea column in them is searched for personal values; the two event
    tables are searched for personal keys as well."""
    rejections: tuple[Identifier, ...] = ()
    """Those of the two event tables that may keep requests which were refused because they are forged."""
    volatile: Names = ()
    """Columns that may change after the row was stored, as ``column`` or ``table.column``, like a status that a worker
    sets. The gate ``lasting`` leaves them out. It looks at no column that the profile does not name."""
    moves_to: Names = ()
    """Tables to which the service moves rows, as an archive. What lies there is read as if it lay in the event table
    whose columns it has, under the same names."""
    quiet_s: float = Field(default=0.1, ge=0.1)
    """The database is read once nobody has worked in it for this long. Must be below ``quiesce_timeout_s``. With
    ``[truth.arrival]`` it is not waited for."""
    quiesce_timeout_s: float = Field(default=30, gt=0)
    """How long the database may take to become quiet after the last answer."""

    arrival: Arrival | None = None
    """For a service that answers before it stores."""
    isolation: Isolation | None = None
    """For a service whose tenants row-level security keeps apart."""

    @model_validator(mode="after")
    def _rejections_are_event_tables(self) -> Self:
        known = {table for table in (self.canonical.table, self.dead.table if self.dead else None) if table}
        for table in self.rejections:
            if table not in known:
                raise ValueError(
                    f"rejections: {table!r} is neither truth.canonical.table nor truth.dead.table; other tables may "
                    "keep what they like, so take it out"
                )
        return self

    @model_validator(mode="after")
    def _lasting_fits(self) -> Self:
        own = {self.canonical.table: [self.canonical.tenant, self.canonical.key]}
        if self.dead is not None:
            own[self.dead.table] = [self.dead.tenant, self.dead.column if self.dead.match == "key" else None]
        fixed = {f"{table}.{column}" for table, columns in own.items() for column in columns if column}
        for name in self.volatile:
            if name in fixed or any(each.endswith(f".{name}") for each in fixed):
                raise ValueError(f"volatile: {name!r} says whose the row is, and must not change; take it out")
        if wrong := [table for table in self.moves_to if table in own]:
            raise ValueError(f"moves_to: {wrong[0]!r} is an event table already; take it out")
        return self

    @model_validator(mode="after")
    def _rest_fits(self) -> Self:
        if self.isolation is not None and self.canonical.tenant is None:
            raise ValueError("[truth.isolation] needs the column with the tenant's id: truth.canonical.tenant")
        if self.quiet_s >= self.quiesce_timeout_s:
            raise ValueError(
                f"truth.quiet_s ({self.quiet_s:g}) must be below truth.quiesce_timeout_s ({self.quiesce_timeout_s:g}): "
                "lower the first or raise the second"
            )
        return self


class PersonalData(Section):
    """What the service does with personal data in a valid event."""

    policy: Literal["refuse", "scrub", "keep"] = "refuse"
    """``refuse``: the event goes to the dead letters, and the values are nowhere. ``scrub``: it is stored without them,
    but the keys may stay.
    ``keep``: it is stored as it is, in ``columns`` and nowhere else."""
    columns: tuple[Text, ...] = ()
    """With ``keep``: where the values may lie, as ``table.column`` or ``schema.table.column``."""

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if (self.policy == "keep") != bool(self.columns):
            raise ValueError('columns belong to policy = "keep": name the columns where personal data may lie')
        for column in self.columns:
            if "." not in column.strip("."):
                raise ValueError(f'columns: {column!r} must be "table.column"')
        return self


class FaultCommand(Section):
    """A fault that a command of yours makes, with ``docker``, ``kubectl`` or ``systemctl`` for example.

    The rig runs it only where ``faults.allow`` and ``--allow-faults`` both name it. The commands may use ``{python}``
    and ``{profile_dir}``.
    """

    command: Command
    """Program that strikes. Any exit code but 0 means that it did not."""
    undo: Command
    """Program that heals. It also runs when the rig is interrupted or killed, and must do no harm where nothing is
    broken."""
    timeout_s: float = Field(default=30, gt=0)
    """How long ``command`` may take. ``undo`` may take 10 s."""


class Faults(Section):
    """What ``rig chaos`` may break, and how soon the target must be back.

    The rig breaks what it started itself. The rest must be allowed here, and once more with ``--allow-faults``. Each
    ``[faults.NAME]`` is a fault of your own.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FaultCommand]

    allow: tuple[Name, ...] = ()
    """Names of faults that may strike what the rig did not start."""
    timeout_s: float = Field(default=2.0, ge=0.1, le=30)
    """After so long the sender gives up an attempt. Give more for a target that is slow by nature."""
    recovery_s: float | None = Field(default=None, gt=0)
    """After the healing of a fault the target may take so long until it is back at 90 % of its rate. Without it
    the time is a figure, and no gate."""

    @property
    def commands(self) -> dict[str, FaultCommand]:
        """The profile's own faults, by name."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name in self.commands:
            if re.fullmatch(NAME_PATTERN, name) is None:
                raise ValueError(f"{name[:80]!r} is no name of a fault: it takes letters, digits, dots, dashes")
        return self


class ChannelAlias(Section):
    """Spellings of ``utm_source`` that mean one channel."""

    sources: tuple[str, ...] = Field(min_length=2)
    """The spellings. S9 sends one event with each."""
    channel: str
    """The channel that all of them must be stored as."""
