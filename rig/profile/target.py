"""Where the target listens, how it is started, and what it answers beside events."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from rig.evidence import pool_metrics
from rig.profile.fields import (
    BaseUrl,
    Command,
    Header,
    HeaderPrefix,
    Pattern,
    Route,
    Seconds,
    Section,
    Series,
    Variable,
    Word,
)


class Target(Section):
    """Where the target listens. ``base_url`` may be left out only where the rig launches it itself."""

    base_url: BaseUrl | None = None
    """Like ``http://127.0.0.1:8080``. A path in it stands before the paths of the routes."""
    public_url: BaseUrl | None = None
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
    """Regular expression that finds the target's processes by their command line, for the samplers. Without it they are
    those that listen at the port of ``base_url``, with those that they started. Behind a proxy or in a container it is
    needed."""
    log_files: tuple[Path, ...] = ()
    """Log files of the target. They are searched for personal data."""

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key belongs to client_cert: give that too")
        return self


class Launch(Section):
    """How the rig starts the target itself. Without this section the target must already be running.

    The commands may use ``{python}``, ``{profile_dir}``, ``{port}`` and ``{processes}``. The values of ``env`` may also
    use ``{admin_dsn}`` and ``{runtime_dsn}``, so that no DSN is on a command line. Where a driver takes no DSN, give it
    the parts: ``jdbc:postgresql://{runtime_host}:{runtime_port}/{runtime_database}``, ``{runtime_user}``,
    ``{runtime_password}``, and the same of ``admin``. ``migrate`` runs once first.

    Where the rig makes the database, a DSN is ``postgresql://user:password@host:port/database``. The role of
    ``{admin_dsn}`` owns the database. The role of ``{runtime_dsn}`` may connect and no more: let ``migrate`` GRANT it
    what the service needs. A server of the rig's has no TLS; ``PGSSLMODE=disable`` says so to both programs.
    """

    command: Command
    """Program and arguments. The program must stay in the foreground and end on SIGTERM."""
    migrate: Command | None = None
    """Program that prepares the database. Any exit code but 0 ends the run."""
    migrate_timeout_s: Seconds = 60
    """How long ``migrate`` may take."""
    env: dict[Variable, Word] = Field(default_factory=dict)
    """Environment variables for both programs, on top of the rig's own."""
    processes: int = Field(default=2, ge=1, le=64)
    """Number of serving processes, for ``{processes}``."""
    ready_timeout_s: Seconds = 20
    """How long it may take until the ready probe answers 2xx."""
    stop_timeout_s: Seconds = 10
    """How long it may take to end after SIGTERM. After that it is killed."""


class Headers(Section):
    """Names of the request headers that the rig fills. Each may be left out; what needs it is NOT-RUN then. Such a name
    takes the place of the same header of a sender's preset."""

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
    timeout_s: Seconds = 2.0
    """An answer later than this is none."""
    pool: PoolSeries = PoolSeries()
    """What the metrics call the pool's counters."""
