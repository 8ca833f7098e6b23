"""A server that answers, and the databases on it.

Flow: ``open_cluster`` takes the server that RIG_PG_DSN names, or has one started (``rig.target.postgres.postmaster``).
``Cluster.create_database`` gives a database with two DSNs: the owner's, which bypasses row-level security and reads the
truth, and a runtime role's, which cannot. Databases on an existing server are dropped at the end; a server of the rig's
own is removed as a whole. A rig that is killed leaves its databases on an existing server, because the reaper does not
know the DSN. Their names are the caller's and end in eight random hexadecimal digits.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg import sql

from rig.errors import ConfigError, RigError, Unavailable
from rig.machine import libpq
from rig.machine.supervisor import Supervisor
from rig.target.postgres.installation import BinariesSource
from rig.target.postgres.postmaster import HOST, OWNER, ServerControl, run_postmaster

DSN_VARIABLE = "RIG_PG_DSN"

_DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
_SETTINGS_IN_EVIDENCE = (
    *_DURABILITY,
    "wal_level",
    "wal_sync_method",
    "data_checksums",
    "shared_buffers",
    "max_connections",
    "shared_preload_libraries",
    "track_io_timing",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Database:
    """One database. The DSNs are URLs and hold passwords: they are in no ``repr``, and belong in no log."""

    name: str
    runtime_role: str
    """The role of ``runtime_dsn``; a schema grants to it what the target needs. It starts with nothing."""
    admin_dsn: str = field(repr=False)
    """The owner's, which bypasses even forced row-level security: it reads the truth."""
    runtime_dsn: str = field(repr=False)
    """NOSUPERUSER NOBYPASSRLS: the target's."""


@dataclass(frozen=True)
class Cluster:
    """A server that answers, and what the evidence says about it.

    ``data_dir``, ``data_filesystem``, ``log_file`` and ``control`` are ``None`` for an existing server.
    """

    source: BinariesSource | Literal["dsn"]
    version: str
    host: str
    port: int
    settings: Mapping[str, str]
    """Durability, memory and limits as the server reports them, with their units."""
    data_dir: Path | None
    data_filesystem: str | None
    """On tmpfs an fsync means nothing."""
    log_file: Path | None
    control: ServerControl | None = field(repr=False)
    _owner: _OwnerConnection
    _databases: list[Database] = field(default_factory=list, repr=False)

    @property
    def pid(self) -> int | None:
        """The postmaster's where the rig started it."""
        return self.control.pid if self.control is not None else None

    @property
    def durable(self) -> bool:
        """Whether a commit that was acknowledged survives a crash of the machine, as far as settings can say."""
        return all(self.settings[name] != "off" for name in _DURABILITY) and self.data_filesystem != "tmpfs"

    def create_database(self, name: str) -> Database:
        """Create the database ``name`` and its runtime role, with a random password.

        ``name``: lower-case letters, digits, underscores, at most 40. On an existing server it gets a random ending, so
        that it is neither another run's nor one that a crash left. Raises ``RigError`` for a bad or a taken name,
        ``Unavailable`` where the server refuses.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", name):
            raise RigError(f"{name!r} is no name for a database: lower-case letters, digits, underscores, at most 40")
        if self.source == "dsn":
            name = f"{name}_{secrets.token_hex(4)}"
        role, password = f"{name}_runtime", secrets.token_urlsafe(24)
        database = Database(
            name=name,
            runtime_role=role,
            admin_dsn=self._owner.url(dbname=name),
            runtime_dsn=self._owner.url(dbname=name, user=role, password=password),
        )
        try:
            with _connect(self._owner) as connection:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'").format(
                        sql.Identifier(name)
                    )
                )
                self._databases.append(database)  # from here on the rig has to drop it
                _create_role(connection, role, password)
            # By its name the leak check knows that it is ours: it may still be ending when that counts the sessions.
            with psycopg.connect(database.admin_dsn, autocommit=True, application_name="rig-prepare") as connection:
                _prepare_database(connection, database)
        except (psycopg.errors.DuplicateObject, psycopg.errors.DuplicateDatabase) as error:
            raise RigError(
                f"the database {name} or its role {role} exists already on {self.host}:{self.port}"
            ) from error
        except psycopg.Error as error:
            raise Unavailable(
                f"cannot create the database {name} on {self.host}:{self.port}: {_text(error)}"
            ) from error
        return database

    def drop_database(self, database: Database) -> None:
        """Drop ``database`` and its role, whoever is still connected. Already gone is fine.

        Raises ``Unavailable`` where the server does not answer or refuses.
        """
        try:
            with _connect(self._owner) as connection:
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name))
                )
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(database.runtime_role)))
        except psycopg.Error as error:
            raise Unavailable(f"cannot drop the database {database.name}: {_text(error)}") from error
        with suppress(ValueError):
            self._databases.remove(database)


@contextmanager
def open_cluster(
    supervisor: Supervisor,
    *,
    environ: Mapping[str, str],
    durable: bool = True,
    settings: Mapping[str, str] | None = None,
    log_file: Path | None = None,
    max_connections: int = 100,
) -> Iterator[Cluster]:
    """A server for the time of the context: the one that RIG_PG_DSN names, else one that is started here.

    ``durable``, ``settings`` (over all defaults), ``log_file`` (else in the server's temporary directory, removed with
    it) and ``max_connections`` say how a server is started here. An existing one is used as it is; its
    ``Cluster.settings`` say how it is set. Raises ``Unavailable`` where no server can be reached or started,
    ``ConfigError`` where the environment asks for something impossible.
    """
    if dsn := environ.get(DSN_VARIABLE, "").strip():
        with _existing_server(dsn) as cluster:
            yield cluster
    else:
        durability = dict.fromkeys(_DURABILITY, "on" if durable else "off")
        wanted = durability | {"max_connections": str(max_connections)} | dict(settings or {})
        with run_postmaster(supervisor, environ, wanted, log_file) as server:
            address = {"host": HOST, "port": str(server.control.port), "dbname": "postgres"}
            owner = _OwnerConnection(address | {"user": OWNER, "password": server.password})
            yield _describe_cluster(
                owner, source=server.source, data_dir=server.data_dir, log_file=server.log_file, control=server.control
            )


@dataclass(frozen=True)
class _OwnerConnection:
    """How the owner connects: libpq parameters, the password among them."""

    parameters: Mapping[str, str] = field(repr=False)

    def url(self, **changes: str) -> str:
        """As a URL, which every client library takes."""
        rest = dict(self.parameters) | changes
        user, password, dbname = (quote(rest.pop(key, ""), safe="") for key in ("user", "password", "dbname"))
        if rest["host"].startswith("/"):  # a socket's directory does not fit into the authority
            authority = ""
        else:
            host, port = rest.pop("host"), rest.pop("port")
            authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
        return f"postgresql://{user}:{password}@{authority}/{dbname}{query}"


def _connect(owner: _OwnerConnection) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(owner.url(), autocommit=True, connect_timeout=10, application_name="rig-postgres")


def _create_role(connection: psycopg.Connection[tuple[Any, ...]], role: str, password: str) -> None:
    # Hashed here: a server may log its DDL, and pg_stat_statements keeps it.
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}").format(
            sql.Identifier(role), sql.Literal(hashed)
        )
    )
    if not _is_superuser(connection):  # a forced drop ends the role's sessions, which only a member of the role may do
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))


def _prepare_database(connection: psycopg.Connection[tuple[Any, ...]], database: Database) -> None:
    name, role = sql.Identifier(database.name), sql.Identifier(database.runtime_role)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(name, role))
    if _is_superuser(connection):
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")  # as it is by default since version 15
        preloaded = "current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'"
        there = "EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')"
        if connection.execute(f"SELECT {preloaded} AND {there}").fetchone() == (True,):
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def _is_superuser(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    return connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (True,)


@contextmanager
def _existing_server(dsn: str) -> Iterator[Cluster]:
    dsn = libpq.complete(dsn, DSN_VARIABLE)
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
            given = connection.info.get_parameters() | {
                "host": connection.info.host,
                "port": str(connection.info.port),
                "user": connection.info.user,
                "password": connection.info.password,
                "dbname": connection.info.dbname,
            }
            _check_rights(connection)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the server that {DSN_VARIABLE} names cannot be reached: {_text(error)}") from error
    for ours in ("connect_timeout", "application_name", "fallback_application_name"):
        given.pop(ours, None)
    cluster = _describe_cluster(_OwnerConnection(given), source="dsn")
    try:
        yield cluster
    finally:
        for database in list(cluster._databases):
            try:
                cluster.drop_database(database)
            except Unavailable as error:  # must not hide the error that ended the run
                _log.warning("%s; drop it and its role %s by hand", error, database.runtime_role)


def _check_rights(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    row = connection.execute(
        "SELECT rolsuper OR (rolcreatedb AND rolcreaterole AND rolbypassrls) FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    if row != (True,):
        raise ConfigError(
            f"{DSN_VARIABLE}: the role {connection.info.user} may not create databases and roles and bypass "
            "row-level security; it needs SUPERUSER, or CREATEDB, CREATEROLE and BYPASSRLS together"
        )


def _describe_cluster(
    owner: _OwnerConnection,
    *,
    source: BinariesSource | Literal["dsn"],
    data_dir: Path | None = None,
    log_file: Path | None = None,
    control: ServerControl | None = None,
) -> Cluster:
    with _connect(owner) as connection:
        rows = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(_SETTINGS_IN_EVIDENCE)]
        ).fetchall()
        version = connection.info.parameter_status("server_version")
    return Cluster(
        source=source,
        version=version or "unknown",
        host=owner.parameters["host"],
        port=int(owner.parameters["port"]),
        settings=dict(rows),
        data_dir=data_dir,
        data_filesystem=None if data_dir is None else _filesystem(data_dir),
        log_file=log_file,
        control=control,
        _owner=owner,
    )


def _filesystem(path: Path) -> str | None:
    """The type of the filesystem that ``path`` lies on, by the longest mount point above it."""
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in path.resolve().parents if parent in mounts), None)


def _text(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
