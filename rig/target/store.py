"""The database of a run: the one that the environment names, else one that is made for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from rig.errors import ConfigError, EvidenceError, Unavailable
from rig.machine import libpq
from rig.machine.supervisor import Supervisor
from rig.profile import Profile, secret_from
from rig.target.postgres import Cluster, ServerControl, open_cluster
from rig.target.postgres.connection import connect, lift_timeouts, require_primary, require_unpooled

_IDENTITY = {
    "system_identifier": "SELECT system_identifier::text FROM pg_control_system()",
    "oid": "SELECT oid::bigint FROM pg_database WHERE datname = current_database()",
    "name": "SELECT current_database()",
}
"""What identifies a database in the facts: the server, and which of its databases it is."""
_CONNECTIONS = 4
"""At once: a sampler, whoever watches rows arrive, the two that read the truth."""
_FACTS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_connections")


@dataclass(frozen=True, slots=True)
class Store:
    """A database and its two DSNs. ``facts`` go into the evidence; ``log_files`` are searched for personal data.

    ``lasting`` is True when it outlives the run, so that its truth can be read later. ``control`` stops
    and starts the server where the rig started it.
    """

    truth_dsn: str = field(repr=False)
    runtime_dsn: str | None = field(repr=False)
    facts: Mapping[str, Any]
    log_files: tuple[Path, ...] = ()
    lasting: bool = False
    control: ServerControl | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """The postmaster's where the rig started it."""
        return self.control.pid if self.control is not None else None

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(conninfo_to_dict(self.truth_dsn).get("port") or 5432)


@contextmanager
def open_store(profile: Profile, supervisor: Supervisor, environ: Mapping[str, str], logs: Path) -> Iterator[Store]:
    """The database of a run.

    ConfigError where a running target's truth DSN is not in the environment, Unavailable where nothing answers.
    """
    if profile.launch is None or environ.get(profile.truth.dsn_env):
        yield existing_store(profile, environ)
        return
    with open_cluster(supervisor, environ=environ, log_file=logs / "postgresql.log") as cluster:
        yield new_store(cluster)


def existing_store(profile: Profile, environ: Mapping[str, str]) -> Store:
    """The database that the environment names."""
    truth_dsn = secret_from(environ, profile.truth.dsn_env, "the DSN that reads the truth of the target")
    given = environ.get(profile.truth.runtime_dsn_env, "").strip()
    if profile.launch is not None and any("{runtime_" in value for value in profile.launch.env.values()):
        given = secret_from(environ, profile.truth.runtime_dsn_env, "the DSN that the target connects with")
    # Whether both may be of one role depends on the tables: preflight asks the server.
    truth_dsn = libpq.complete(truth_dsn, profile.truth.dsn_env)
    runtime_dsn = libpq.complete(given, profile.truth.runtime_dsn_env) if given else None
    try:
        with connect(truth_dsn, "rig-store") as connection:
            require_unpooled(connection, profile.truth.dsn_env)
            lift_timeouts(connection)
            shown = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in _FACTS}
            require_primary(connection, profile.truth.dsn_env)
            _require_connections(connection, profile.truth.dsn_env)
            shown |= {name: _query_row(connection, query) for name, query in _IDENTITY.items()}
    except psycopg.Error as error:
        raise Unavailable(
            f"the truth database ({profile.truth.dsn_env}) cannot be reached: {str(error).strip()}"
        ) from None
    facts = {name: row[0] for name, row in shown.items() if row is not None}
    return Store(truth_dsn, runtime_dsn, {"source": profile.truth.dsn_env, **facts}, lasting=True)


def _query_row(connection: psycopg.Connection[Any], query: str) -> Any:
    """The row that the query gives; None where the role may not run it."""
    try:
        return connection.execute(query.encode()).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None


def require_same(store: Store, facts: Mapping[str, Any]) -> None:
    """EvidenceError where a database is not the one that ``facts`` were read from."""
    for name in _IDENTITY:
        then, now = facts.get(name), store.facts.get(name)
        if None not in (then, now) and then != now:
            raise EvidenceError(
                f"{store.facts['source']} names another database than the run's ({name} {now!r}, the run's {then!r}): "
                "its rows say nothing about this run; set it to the run's database"
            )


def _require_connections(connection: psycopg.Connection[Any], variable: str) -> None:
    """ConfigError where the role may not open as many connections at once as samplers and truth take."""
    query = "SELECT rolname, rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user AND NOT rolsuper"
    row = connection.execute(query).fetchone()
    if row and 0 <= row[1] < _CONNECTIONS:
        raise ConfigError(
            f"the role {row[0]!r} of ${variable} may have {row[1]} connections at once, and the rig needs "
            f"{_CONNECTIONS}: ALTER ROLE … CONNECTION LIMIT {_CONNECTIONS}, or more where the target has the same role"
        )


def new_store(cluster: Cluster, name: str = "rig") -> Store:
    """A fresh database on a server. It is removed with the server, or when the caller drops it."""
    database = cluster.create_database(name)
    facts = {
        "source": cluster.source,
        "server_version": cluster.version,
        **cluster.settings,
        "data_filesystem": cluster.data_filesystem,
        "durable": cluster.durable,
    }
    log_files = (cluster.log_file,) if cluster.log_file is not None else ()
    return Store(database.admin_dsn, database.runtime_dsn, facts, log_files, control=cluster.control)
