"""The part of a profile that says what the storms are let loose on.

Every storm works in a database that the rig makes for it. ``prepare`` brings that database to the target's schema, and
the values of ``env`` reach all commands of the storm; they may use ``{admin_dsn}`` and ``{runtime_dsn}``, so that no
DSN stands on a command line. Commands may use ``{python}`` and ``{profile_dir}``, and the word ``{without}``, which
becomes ``--without NAME`` for each protection that a run switches off: the reference implementations have it, and
whoever gives his own such switches can prove his gates as well.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from rig.profile.fields import Command, Header, HeaderValue, Route, Section, Status, Text, Variable, Word


def _default_env() -> dict[str, str]:
    return {"DATABASE_URL": "{runtime_dsn}", "MIGRATION_DATABASE_URL": "{admin_dsn}"}


class VerifierPromises(Section):
    """What a verifier keeps to, in seconds; a fleet that runs already cannot be told, so it must be believed."""

    floor_s: float = Field(default=30, gt=0)
    """Nobody fetches within so long after the end of a fetch."""
    ttl_s: float = Field(default=300, gt=0)
    """How long keys are fresh."""
    grace_s: float = Field(default=3600, ge=0)
    """How long stale ones are served after that."""
    backoff_base_s: float = Field(default=1, gt=0)
    """Wait after the first failed fetch; it doubles with each."""
    backoff_cap_s: float = Field(default=60, gt=0)
    """It grows no further than this."""
    jitter: float = Field(default=0.2, ge=0, le=1)
    """Waits are longer, refreshes earlier, by a random share of up to this."""
    patience_s: float = Field(default=1, gt=0)
    """How long one process waits for another's fetch."""
    fetch_timeout_s: float = Field(default=3, gt=0)
    """How long a fetch may take."""
    leader_timeout_s: float = Field(default=5, gt=0)
    """After how long a process that stands still while it fetches is overtaken."""


class UnknownKid(Section):
    """Processes hand tokens to a verifier: valid ones, and such that name unknown keys. The origin counts its fetches.

    The rig is the JWKS origin. A factory is told its address in ``JWKS_URL`` and what to keep to in ``JWKS_FLOOR_S``
    and the like (the keys of ``promises`` in upper case, with the values of each case); a fleet at ``urls`` must be set
    to fetch from ``origin_port``, and ``promises`` says what it keeps to.
    """

    subject: Text = "http"
    """``http`` (the fleet at ``urls``), ``reference``, ``pyjwt``, ``authlib``, or ``module:factory`` of one's own."""
    urls: tuple[str, ...] = ()
    """Base URLs of the fleet."""
    path: Route = "/api/whoami"
    """Asked with GET and the token."""
    header: Header = "Authorization"
    """Carries the token."""
    scheme: HeaderValue | Literal[""] = "Bearer"
    """Stands before the token, with a space between; may be empty."""
    accepted: tuple[Status, ...] = (200,)
    """Status for a token that is accepted."""
    rejected: tuple[Annotated[int, Field(ge=200, le=599)], ...] = (401,)
    """Status for one that is not; any other is a failure, for a bad token too. A fleet that answers 503 to unknown keys
    while it cannot ask names that as well."""
    timeout_s: float = Field(default=10, gt=0)
    """An answer later than this is none."""
    origin_port: int = Field(default=0, ge=0, le=65535)
    """Port of 127.0.0.1 that the rig's origin is to be found at; 0: a free one, which only a factory can be told."""
    promises: VerifierPromises = VerifierPromises()
    """What the fleet at ``urls`` keeps to."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.subject == "http" and not (self.urls and self.origin_port):
            raise ValueError("subject http needs urls and origin_port")
        return self


class MigrationRace(Section):
    """Replicas run ``command`` at once on an empty database, then all once more.

    What must come of it is what a lone replica makes of another empty database.
    """

    command: Command
    """Program that migrates and ends with exit code 0."""
    env: dict[Variable, Word] = Field(default_factory=_default_env)
    """Environment of the commands, on top of the rig's own."""
    timeout_s: float = Field(default=60, gt=0)
    """How long all replicas may take."""


class SchedulerClaim(Section):
    """Replicas drain one queue; every job has an effect that can be counted. One replica is killed in mid-job.

    A replica knows itself by the environment variable ``REPLICA`` (0, 1, …). The statements run as the owner.
    """

    command: Command
    """Program of one replica; it ends with exit code 0 when nothing is left to do."""
    prepare: Command | None = None
    """Program that makes the schema."""
    env: dict[Variable, Word] = Field(default_factory=_default_env)
    """Environment of the commands, on top of the rig's own."""
    enqueue_sql: Text
    """One statement that makes the jobs; it gets ``%(jobs)s``, how many."""
    effects_sql: Text
    """Query for the effects: one row an effect, the job's name in the first column."""
    unfinished_sql: Text
    """Query for one number: jobs that are not done."""
    held_sql: Text | None = None
    """Query for the jobs that ``%(replica)s`` (text) works on now: one row a job, its name in the first column, as in
    ``effects_sql``. Without it the kill may miss a job, and whose job was repeated cannot be told."""
    jobs: int = Field(default=60, ge=2, le=100_000)
    """How many jobs."""
    timeout_s: float = Field(default=60, gt=0)
    """How long all replicas may take."""


class RateLimit(Section):
    """Each process asks its own replica as fast as it may; the answers say what the whole fleet lets through.

    ``urls`` of replicas that run already, or a ``command`` that serves one on 127.0.0.1 and ``{port}``.
    """

    urls: tuple[str, ...] = ()
    """One URL for each replica, asked with GET."""
    command: Command | None = None
    """Program that serves one replica at ``{port}`` until SIGTERM."""
    prepare: Command | None = None
    """Program that makes the schema."""
    env: dict[Variable, Word] = Field(default_factory=_default_env)
    """Environment of the commands, on top of the rig's own."""
    path: Route = "/"
    """What is asked of a replica that ``command`` serves."""
    limit: int = Field(default=20, ge=1)
    """The configured limit L: so many requests a window."""
    window_s: float = Field(default=1.0, gt=0)
    """Length of a window."""
    promised: Literal["fleet", "process"] = "fleet"
    """Scope that is promised: ``fleet`` (scope factor 1) or ``process`` (scope factor N)."""
    accepted: tuple[int, ...] = (200,)
    """Status of a request that was let through."""
    limited: tuple[int, ...] = (429,)
    """Status of one that was not."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.urls) == bool(self.command):
            raise ValueError("give exactly one of urls and command")
        return self


class MatviewRefresh(Section):
    """Processes ask for the same refresh at once, over the runtime DSN, while others read.

    The rig sees refreshes by an event trigger, whoever runs them.
    """

    prepare: Command | None = None
    """Program that makes the schema and the view."""
    env: dict[Variable, Word] = Field(default_factory=_default_env)
    """Environment of the commands, on top of the rig's own."""
    refresh_sql: Text
    """One statement that asks for a refresh; with ``tenants`` it gets ``%(tenant)s``."""
    read_sql: Text
    """A query that reads the view; with ``tenants`` it gets ``%(tenant)s``."""
    tenants: tuple[Text, ...] = ()
    """Where each tenant has a view of its own: their refreshes may run side by side, and every one must happen."""
    scheduler: Command | None = None
    """Program that refreshes by a schedule until SIGTERM; without it that gate is NOT-RUN."""
    scheduled_within_s: float = Field(default=10, gt=0)
    """How soon its first refresh must have happened."""
    reader_wait_timeout_ms: int = Field(
        default=200, gt=0, validation_alias=AliasChoices("reader_wait_timeout_ms", "reader_patience_ms")
    )
    """A reader that waits for a lock for longer is blocked; a refresh must take longer than this to show it. Until the
    next release ``reader_patience_ms`` means the same."""


class TenantLeak(Section):
    """Tenants take turns over a small pool on the runtime DSN, with requests of no tenant between them.

    ``read_sql`` run as the owner says what there is to see, so ``prepare`` must leave rows of two tenants at least.
    """

    prepare: Command | None = None
    """Program that makes the schema and rows of several tenants."""
    env: dict[Variable, Word] = Field(default_factory=_default_env)
    """Environment of the commands, on top of the rig's own."""
    set_tenant_sql: Text
    """Statement that begins each transaction of a tenant; it gets ``%(tenant)s``."""
    read_sql: Text
    """Query for what is visible: the tenant's id in the first column of every row."""
    ingested_table: Text
    """Table of the ingested rows; the rig compares its content before and after the worker."""
    worker_context_sql: Text | None = None
    """Statement that makes a transaction the worker's; it gets ``%(tenant)s``."""
    tamper_sql: tuple[Text, ...] = ()
    """Statements that change ingested rows; in the worker's context none may have any effect."""
    worker: Command | None = None
    """Program that works off the jobs and ends."""
    enqueue_sql: Text | None = None
    """Statement that makes a job that will fail; it gets ``%(tenant)s`` and ``%(correlation)s``."""
    dead_letters_sql: Text | None = None
    """Query for the worker's dead letters: tenant and correlation id."""


class Storms(Section):
    """What the storms are let loose on. A storm that is left out is not run, and says so.

    Each works in a fresh database. Commands may use ``{python}``, ``{profile_dir}`` and the word ``{without}``, which
    becomes ``--without NAME`` for each protection that is to be off; values of ``env`` ``{admin_dsn}`` and
    ``{runtime_dsn}``.
    """

    # By either: a profile says "unknown-kid", a manifest holds the fields' own names.
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    unknown_kid: UnknownKid | None = Field(default=None, alias="unknown-kid")
    """Processes that verify tokens."""
    migration_race: MigrationRace | None = Field(default=None, alias="migration-race")
    """Replicas that migrate."""
    scheduler_claim: SchedulerClaim | None = Field(default=None, alias="scheduler-claim")
    """Replicas that drain a queue."""
    rate_limit: RateLimit | None = Field(default=None, alias="rate-limit")
    """Replicas that share a limit."""
    matview_refresh: MatviewRefresh | None = Field(default=None, alias="matview-refresh")
    """Replicas that refresh a materialised view."""
    tenant_leak: TenantLeak | None = Field(default=None, alias="tenant-leak")
    """Tenants over one pool."""
