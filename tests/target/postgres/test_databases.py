"""Databases with their two doors, on the rig's server and on an existing one by its DSN."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from rig.errors import ConfigError, ExitCode, RigError, Unavailable
from rig.machine.supervisor import Supervisor
from rig.target.postgres import DSN_VARIABLE, Cluster, Database, open_cluster
from rig.target.postgres.cluster import _OwnerConnection
from tests.target.postgres.servers import scalar


def test_two_databases_know_nothing_of_each_other(cluster: Cluster, database: Database) -> None:
    other = cluster.create_database("other")
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE only_here ()")
    assert scalar(other.admin_dsn, "SELECT to_regclass('only_here')") is None
    astray = urlsplit(database.runtime_dsn)._replace(path=f"/{other.name}").geturl()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(astray)
    cluster.drop_database(other)


def test_the_runtime_role_cannot_pass_row_level_security(database: Database) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("CREATE TABLE events (tenant text)")
        connection.execute("ALTER TABLE events ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE events FORCE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY own ON events USING (tenant = current_setting('app.tenant', true))")
        connection.execute(sql.SQL("GRANT SELECT ON events TO {}").format(sql.Identifier(database.runtime_role)))
        connection.execute("INSERT INTO events VALUES ('a'), ('b'), ('b')")
        owner = connection.info.user
    assert scalar(database.admin_dsn, "SELECT count(*) FROM events") == 3
    with psycopg.connect(database.runtime_dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        connection.execute("SET app.tenant = 'b'")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM events")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER TABLE events DISABLE ROW LEVEL SECURITY")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE own ()")


def test_a_name_is_taken_once_and_free_again(cluster: Cluster, database: Database) -> None:
    if cluster.source == "dsn":
        pytest.skip("on an existing server every name gets an ending of its own")
    with pytest.raises(RigError, match="exists already"):
        cluster.create_database(database.name)
    assert scalar(database.admin_dsn, "SELECT 1") == 1  # the first one is untouched
    cluster.drop_database(database)
    cluster.drop_database(database)
    cluster.drop_database(cluster.create_database(database.name))


@pytest.mark.parametrize("name", ["", "Upper", "a-b", "x" * 41, 'a"; DROP ROLE rig; --'])
def test_a_name_must_be_plain(cluster: Cluster, name: str) -> None:
    with pytest.raises(RigError, match="no name for a database"):
        cluster.create_database(name)


# --- an existing server ----------------------------------------------------------------------------------------------


def role_with(database: Database, name: str, attributes: str, password: str) -> dict[str, str]:
    """A login role on the server, and the environment that names it."""
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + attributes).format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(sql.Identifier, (database.name, name)))
        )
        host, port = connection.info.host, connection.info.port
    dsn = psycopg.conninfo.make_conninfo("", host=host, port=port, dbname=database.name, user=name, password=password)
    return {DSN_VARIABLE: dsn}


def drop_role(database: Database, name: str) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_an_existing_server_is_used_and_left_as_it_was(supervisor: Supervisor, database: Database) -> None:
    everything = (
        "SELECT array_agg(datname ORDER BY 1)::text || (SELECT array_agg(rolname ORDER BY 1)::text FROM pg_roles)"
    )
    everything += " FROM pg_database"
    before = scalar(database.admin_dsn, everything)
    with open_cluster(supervisor, environ={DSN_VARIABLE: database.admin_dsn, "PG_BIN": "/not/looked/at"}) as opened:
        assert (opened.source, opened.pid, opened.data_dir, opened.log_file) == ("dsn", None, None, None)
        created, again = opened.create_database("guest"), opened.create_database("guest")
        assert created.name != again.name
        stays = psycopg.connect(created.runtime_dsn)
        assert scalar(created.admin_dsn, "SELECT current_database()") == created.name
        assert scalar(created.runtime_dsn, "SELECT current_user") == created.runtime_role
        assert scalar(database.admin_dsn, everything) != before
    stays.close()
    assert scalar(database.admin_dsn, everything) == before


def test_a_role_that_is_no_superuser_is_enough(supervisor: Supervisor, database: Database) -> None:
    environ = role_with(database, "landlord", "CREATEDB CREATEROLE BYPASSRLS", password="p@ss/ w:rd%?#&'\"")
    with open_cluster(supervisor, environ=environ) as opened:
        created = opened.create_database("guest")
        stays = psycopg.connect(created.runtime_dsn)
        assert scalar(created.admin_dsn, "SELECT current_user") == "landlord"
    with pytest.raises(psycopg.OperationalError):
        stays.execute("SELECT 1")
    drop_role(database, "landlord")


def test_a_role_that_may_not_create_databases_is_refused(supervisor: Supervisor, database: Database) -> None:
    environ = role_with(database, "lodger", "CREATEDB", password="hush")
    with pytest.raises(ConfigError, match="lodger may not create") as caught, open_cluster(supervisor, environ=environ):
        pass
    assert caught.value.exit_code == ExitCode.CONFIG and "hush" not in str(caught.value)
    drop_role(database, "lodger")


def test_an_unreachable_server_is_unavailable(supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environ = {DSN_VARIABLE: f"postgresql://someone:hush@127.0.0.1:{port}/x"}
    with (
        pytest.raises(Unavailable, match=f"{DSN_VARIABLE}.*{port}") as caught,
        open_cluster(supervisor, environ=environ),
    ):
        pass
    assert caught.value.exit_code == ExitCode.UNAVAILABLE and "hush" not in str(caught.value)


def test_a_dsn_that_is_none_is_not_quoted(supervisor: Supervisor) -> None:
    environ = {DSN_VARIABLE: "postgres//someone:hush@127.0.0.1/x"}
    with (
        pytest.raises(ConfigError, match="holds no PostgreSQL DSN") as caught,
        open_cluster(supervisor, environ=environ),
    ):
        pass
    assert "hush" not in str(caught.value) and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("db.example", "postgresql://u:p%40%2F@db.example:5433/d?sslmode=verify-full"),
        ("::1", "postgresql://u:p%40%2F@[::1]:5433/d?sslmode=verify-full"),
        ("/run/pg", "postgresql://u:p%40%2F@/d?host=%2Frun%2Fpg&port=5433&sslmode=verify-full"),
    ],
)
def test_a_door_is_a_url_that_libpq_reads_back(host: str, url: str) -> None:
    who = {"user": "u", "password": "p@/", "dbname": "d"}
    parameters = {"host": host, "port": "5433", **who, "sslmode": "verify-full"}
    assert _OwnerConnection(parameters).url() == url
    assert psycopg.conninfo.conninfo_to_dict(url) == parameters
