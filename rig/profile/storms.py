"""The part of a profile that says what the storms are run against.

Every storm works in a database that the rig makes for it. ``prepare`` makes the target's schema in it. The values of
``env`` reach all commands of the storm; they may use ``{admin_dsn}`` and ``{runtime_dsn}``, so that no command line
shows a DSN. Commands may use ``{python}`` and ``{profile_dir}``, and the word ``{without}``. It becomes ``--without
NAME`` for each protection that a run switches off; a target that has such switches can prove its gates with them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from rig.limits import REQUESTS_CEILING, SECONDS_CEILING
from rig.profile.fields import (
    BaseUrl,
    Command,
    Count,
    Header,
    HeaderValue,
    OldName,
    Route,
    Seconds,
    Section,
    Status,
    Text,
    Variable,
    Word,
)

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"
]
ForgedKind = Literal[
    "signature", "none", "hmac", "algorithm", "unnamed", "expired", "early", "issuer", "audience", "key", "size", "form"
]


def _default_env() -> dict[str, str]:
    return {"DATABASE_URL": "{runtime_dsn}", "MIGRATION_DATABASE_URL": "{admin_dsn}"}


class VerifierPromises(Section):
    """What a verifier keeps to, in seconds, and what it can be asked. What it cannot be asked is NOT-RUN by name.

    The rig cannot set a fleet that runs already, so it believes you. A factory is told the times of each case, but for
    those that you state here.
    """

    cool_down_s: Annotated[Seconds, OldName("floor_s")] = 30
    """How long nobody fetches after the end of a fetch."""
    ttl_s: Seconds = 300
    """How long keys are fresh."""
    grace_s: float = Field(default=3600, ge=0, le=SECONDS_CEILING)
    """How long stale keys are used after that."""
    backoff_base_s: Seconds = 1
    """Wait after the first failed fetch; it doubles with each."""
    backoff_cap_s: Seconds = 60
    """The longest wait."""
    jitter: float = Field(default=0.2, ge=0, le=1)
    """Waits are longer, refreshes earlier, by a random share of up to this."""
    wait_timeout_s: Annotated[Seconds, OldName("patience_s")] = 1
    """How long one process waits for another's fetch."""
    fetch_timeout_s: Seconds = 3
    """How long a fetch may take."""
    leader_timeout_s: Seconds = 5
    """After how long another process takes over from one that stands still in its fetch."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    """What it verifies. Valid, unknown and forged tokens are of these."""
    keys: int = Field(default=3, ge=1, le=64)
    """How many keys the set has at first; each algorithm has one at least."""
    grain_s: float = Field(default=0, ge=0, le=SECONDS_CEILING)
    """Its settings are multiples of this: 1 where it takes whole seconds. 0: any."""
    unchecked: tuple[ForgedKind, ...] = ()
    """Kinds of forged tokens that it accepts by design: ``audience`` where it knows none."""
    waits: bool = False
    """Whether callers wait while another process fetches, so that a valid token is never refused."""
    without_key_id: Literal["accepted", "refused"] | None = None
    """What becomes of a valid token without a key id. Accepted: it finds the key among those of the algorithm."""
    expires: bool = True
    """Whether old keys are fetched again. ``false``: only an unknown key id makes it fetch; a withdrawn key is accepted
    until then.
    """
    refuses_with: tuple[Variable, ...] = ()
    """Exceptions that mean a refusal, though they usually mean a mistake: ``KeyError``, ``TypeError`` and so on."""

    @model_validator(mode="after")
    def _backoff_grows(self) -> Self:
        if self.backoff_cap_s < self.backoff_base_s:
            raise ValueError("backoff_cap_s is the longest wait and must not be below backoff_base_s, the first one")
        return self


class UnknownKid(Section):
    """Processes hand tokens to a verifier, valid ones and ones that name unknown keys. The origin counts its fetches.

    The rig is the JWKS origin. A factory finds its address in ``JWKS_URL`` and what to keep to in ``JWKS_COOL_DOWN_S``
    and so on (the times of ``promises`` in upper case, with the values of each case), and its algorithms in
    ``JWKS_ALGORITHMS``. So does a process of ``command``. Set a fleet at ``urls`` to fetch from ``origin_port``, and
    write into ``promises`` what it keeps to.
    """

    subject: Text = "http"
    """``http`` (a fleet: ``urls`` or ``command``), ``reference``, ``pyjwt``, ``authlib``, or ``module:factory``."""
    urls: tuple[BaseUrl, ...] = ()
    """Base URLs of a fleet that runs already."""
    command: Command | None = None
    """Program of one process of a fleet: it serves at 127.0.0.1 and ``{port}``. The rig starts, kills and stops it."""
    path: Route = "/api/whoami"
    """Asked with GET and the token."""
    header: Header = "Authorization"
    """The header that carries the token."""
    scheme: HeaderValue | Literal[""] = "Bearer"
    """Stands before the token, with a space between; may be empty."""
    accepted: tuple[Status, ...] = Field(default=(200,), min_length=1)
    """Status for a token that is accepted."""
    rejected: tuple[Status, ...] = Field(default=(401,), min_length=1)
    """Status for a token that is refused; any other is a failure, for a bad token too. Add 503 where the fleet answers
    so to unknown keys while it cannot fetch."""
    timeout_s: Seconds = 10
    """How long the rig waits for an answer."""
    prepare: Command | None = None
    """Program that makes a factory's tables. It gets ``MIGRATION_DATABASE_URL``, whose role may create, and
    ``DATABASE_URL``, whose role the verifier has."""
    origin_port: int = Field(default=0, ge=0, le=65535)
    """Port of 127.0.0.1 where the rig's origin listens; 0: a free one, which works for a factory only."""
    issuer: Text = "https://issuer.invalid"
    """Who signs the tokens (``iss``, ``JWKS_ISSUER``). ``{origin}`` in it is the address of the rig's origin, which
    answers OpenID Connect Discovery there: ``issuer = "{origin}"``."""
    cache_control: HeaderValue | None = None
    """``Cache-Control`` of the key sets, as your issuer sends it (``public, max-age=300``). Without it a verifier that
    keeps keys in an HTTP cache keeps none. The origin sends an ``ETag`` in any case, and answers 304 to it."""
    promises: VerifierPromises = VerifierPromises()
    """What the subject keeps to, and what it can be asked."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.subject == "http" and self.command is None and not (self.urls and self.origin_port):
            raise ValueError("subject http needs command, or urls and origin_port")
        if self.command is not None and self.urls:
            raise ValueError("give command or urls, one of them")
        _tell_apart(accepted=self.accepted, rejected=self.rejected)
        return self


def _tell_apart(**statuses: tuple[int, ...]) -> None:
    (one, own), (other, others) = statuses.items()
    if both := set(own) & set(others):
        raise ValueError(f"{min(both)} stands in {one} and in {other}: nobody could tell what it means")


class RaceSection(Section):
    """What the sections of all race tests have."""

    env: dict[Variable, Word] = Field(default_factory=_default_env)
    """Environment of the commands, on top of the rig's own."""


class PreparedSection(RaceSection):
    """What the sections have where the database must be prepared."""

    prepare: Command | None = None
    """Program that makes the schema, and all that the storm needs in it."""


class MigrationRace(RaceSection):
    """Replicas run ``command`` at once on an empty database, then all once more.

    The result, schema and rows, must be what a lone replica makes of another empty database. Columns that differ
    between two lone replicas (times, random ids) are not compared, nor are numbers from a sequence.
    """

    command: Command
    """Program that migrates and ends with exit code 0."""
    races: int = Field(default=3, ge=1, le=20)
    """How often they race, each time over a new database."""
    exit_ok: tuple[Annotated[int, Field(ge=1, le=255)], ...] = ()
    """Exit codes of a replica that refuses by design while another migrates. One at least must end with 0."""
    refuses_with: tuple[Text, ...] = ()
    """Words that such a replica writes, one of them at least; where a crash has the same exit code."""
    ignore_tables: tuple[Text, ...] = ()
    """Tables, as ``schema.table``, whose rows are not compared: a log of attempts, for instance."""
    timeout_s: Seconds = 60
    """How long all replicas may take."""


class SchedulerClaim(PreparedSection):
    """Replicas drain one queue; every job has an effect that can be counted. Two replicas are killed in a job.

    One of two or three replicas is killed, so that at least half live on.

    The environment variable ``REPLICA`` (0, 1, …) tells a replica its number. The statements run as the owner.
    """

    command: Command
    """Program of one replica; it ends with exit code 0 when nothing is left to do. With ``lease_s`` it need not end."""
    lease_s: Seconds | None = None
    """After so long another replica has done the job of a dead one. Replicas that end are started again; all get
    SIGTERM when every job is done, or when none was done for so long. Leave it out where replicas wait for leases."""
    enqueue_sql: Text | None = None
    """One statement that makes the jobs; it gets their number as ``%(jobs)s``."""
    enqueue: Command | None = None
    """Instead of the statement: program that makes the jobs; it may use ``{jobs}``."""
    effects_sql: Text
    """Query for the effects: one row for each, with the job's name in the first column."""
    unfinished_sql: Text
    """Query for the number of jobs that are not done."""
    held_sql: Text | None = None
    """Query for the jobs that ``%(replica)s`` (text) works on now: one row for each, with its name in the first column,
    as in ``effects_sql``; also those that had their effect, and of which the queue does not know yet. Without it the
    kill may miss a job, and the rig cannot tell whose job was repeated."""
    jobs: int = Field(default=60, ge=2, le=100_000)
    """How many jobs."""
    races: int = Field(default=1, ge=1, le=20)
    """How often it is done, each time in a new database and with other kills, which are drawn from the seed."""
    timeout_s: Seconds = 60
    """How long all replicas may take."""

    @model_validator(mode="after")
    def _one_way_to_enqueue(self) -> Self:
        if (self.enqueue_sql is None) == (self.enqueue is None):
            raise ValueError("give enqueue_sql or enqueue, one of them")
        return self


class RateLimit(PreparedSection):
    """Each process asks its own replica, far faster than the limit; the answers show what the whole fleet lets through.

    Give ``urls`` of replicas that run already, or a ``command`` that serves one on 127.0.0.1 and ``{port}``.
    """

    urls: tuple[str, ...] = ()
    """One URL for each replica."""
    command: Command | None = None
    """Program that serves one replica at ``{port}`` until SIGTERM."""
    processes: int = Field(default=1, ge=1, le=64)
    """How many processes share the port of one replica, as with ``uvicorn --workers 4``. Over 1, every request goes
    over a connection of its own: one that is kept would be one process's."""
    path: Route = "/"
    """Path that is asked of a replica that ``command`` serves."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    """How it is asked; without a body."""
    headers: dict[Header, HeaderValue] = Field(default_factory=dict)
    """Headers of every request, as the one that names the caller who is limited."""
    process_header: Header | None = None
    """Header of an answer that names the process which gave it. Needed where ``processes`` share the port of ``urls``;
    the rig sees the processes that ``command`` starts."""
    limit: Count = 20
    """The configured limit L, in requests a window."""
    window_s: Seconds = 1.0
    """Length of a window."""
    burst: int | None = Field(default=None, ge=0, le=REQUESTS_CEILING)
    """How many requests beyond the limit may be let through within the time of one window; ``limit`` where it is not
    given, as at the edge of two windows. Write more where a bucket holds more."""
    promised: Literal["fleet", "process"] = "fleet"
    """Scope that is promised: ``fleet`` (scope factor 1) or ``process`` (scope factor N, of all processes)."""
    accepted: tuple[Status, ...] = Field(default=(200,), min_length=1)
    """Status of an answer to a request that was let through."""
    limited: tuple[Status, ...] = Field(default=(429,), min_length=1)
    """Status of an answer to one that was not."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.urls) == bool(self.command):
            raise ValueError("give exactly one of urls and command")
        if len({url.rstrip("/") for url in self.urls}) < len(self.urls):
            raise ValueError("urls: one of them comes twice; each must be another replica, else one counts as several")
        _tell_apart(accepted=self.accepted, limited=self.limited)
        return self


class MatviewRefresh(PreparedSection):
    """Processes ask for the same refresh at once, over the runtime DSN, while others read.

    The rig sees refreshes by an event trigger, whoever runs them.
    """

    refresh_sql: Text
    """One statement that asks for a refresh; with ``tenants`` it gets ``%(tenant)s``."""
    read_sql: Text
    """A query that reads the view; with ``tenants`` it gets ``%(tenant)s``."""
    tenants: tuple[Text, ...] = ()
    """Where each tenant has a view of its own: the refreshes of several may overlap, and every one must happen."""
    scheduler: Command | None = None
    """Program that refreshes by a schedule until SIGTERM; without it the gate ``scheduled`` is NOT-RUN."""
    scheduled_within_s: Seconds = 10
    """How soon its first refresh must have happened."""
    reader_wait_timeout_ms: Annotated[int, OldName("reader_patience_ms")] = Field(
        default=200, gt=0, le=SECONDS_CEILING * 1000
    )
    """A reader that waits for a lock for longer is blocked. A refresh must take longer than this to show that."""


class TenantLeak(PreparedSection):
    """Tenants take turns over a small pool on the runtime DSN, with requests of no tenant between them.

    The owner's ``read_sql`` shows what there is to see: let ``prepare`` make rows of two tenants at least.
    """

    set_tenant_sql: Text
    """Statement that begins each transaction of a tenant; it gets ``%(tenant)s``."""
    read_sql: Text
    """Query for the visible rows, with the tenant's id in the first column."""
    ingested_table: Text
    """Table of the ingested rows; the rig compares its content before and after the worker."""
    worker_context_sql: Text | None = None
    """Statement that begins a transaction of the worker; it gets ``%(tenant)s``."""
    tamper_sql: tuple[Text, ...] = ()
    """Statements that change ingested rows; in a transaction of the worker none may have an effect."""
    worker: Command | None = None
    """Program that does all jobs and ends."""
    enqueue_sql: Text | None = None
    """Statement that makes a job that will fail; it gets ``%(tenant)s`` and ``%(correlation)s``."""
    dead_letters_sql: Text | None = None
    """Query for the worker's dead letters: tenant and correlation id."""


class Storms(Section):
    """What the storms are run against. A storm without a section is not run, and says so.

    Each works in a fresh database. Commands may use ``{python}``, ``{profile_dir}`` and the word ``{without}``, which
    becomes ``--without NAME`` for each protection that is to be off. Values of ``env`` may use ``{admin_dsn}`` and
    ``{runtime_dsn}``, and their parts as in ``[launch]``.
    """

    # Both names are valid: a profile has "unknown-kid", a manifest holds the fields' own names.
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
