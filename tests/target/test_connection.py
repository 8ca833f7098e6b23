"""Databases of every kind that the rig reads from: encodings, time limits, poolers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from rig.errors import ConfigError
from rig.storms.pooler import find_pooler, run_pooler
from rig.target.postgres import Cluster, Database
from rig.target.postgres.connection import connect, find_relation, require_unpooled
from rig.truth import session

LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
)
"""Those of PostgreSQL 13 to 18."""


def test_no_time_limit_of_a_role_ends_a_reading(database: Database) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("CREATE TABLE locked ()")
        known = [
            name for name in LIMITS if admin.execute("SELECT current_setting(%s, true)", [name]).fetchone() != (None,)
        ]
        for name in known:
            admin.execute(
                sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = '50ms'").format(
                    sql.Identifier(database.name), sql.Identifier(name)
                )
            )
    with (
        psycopg.connect(database.admin_dsn, options=" ".join(f"-c {name}=0" for name in known)) as holder,
        session.connect(database.admin_dsn) as connection,
    ):
        holder.execute("LOCK TABLE locked")
        release = threading.Timer(0.2, holder.rollback)
        release.start()
        with connection.transaction():
            connection.execute("SELECT FROM public.locked")  # it waits until there is no lock
            time.sleep(0.2)
            connection.execute("SELECT pg_sleep(0.2)")
        release.join()
        time.sleep(0.2)
        connection.execute("SELECT 1")
    assert len(known) >= 3


@pytest.mark.parametrize(
    ("name", "parts"),
    [("plain", ("plain",)), ("un.delivered", ("un.delivered",)), ("va.ult.sa.les", ("va.ult", "sa.les"))],
)
def test_a_name_of_a_table_may_have_dots(database: Database, name: str, parts: tuple[str, ...]) -> None:
    with connect(database.admin_dsn, "test") as connection:
        if len(parts) > 1:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(parts[0])))
        connection.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(*parts)))
        assert find_relation(connection, name) == sql.Identifier(*parts)
        assert find_relation(connection, "else.where") == sql.Identifier("else", "where")


def test_texts_of_a_database_without_an_encoding_are_texts(cluster: Cluster, database: Database) -> None:
    ascii_name = f"{database.name}_ascii"
    name = sql.Identifier(ascii_name)
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'").format(
                name
            )
        )
        try:
            with connect(psycopg.conninfo.make_conninfo(database.admin_dsn, dbname=ascii_name), "test") as connection:
                assert connection.execute("SELECT current_user::text, 'ü'").fetchone() == (
                    connection.info.user, "ü",
                )  # fmt: skip
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.mark.skipif(find_pooler(os.environ) is None, reason="pgbouncer is not installed")
def test_a_pooler_is_refused_before_anything_is_set(database: Database, tmp_path: Path) -> None:
    with connect(database.runtime_dsn, "test") as direct:
        require_unpooled(direct, "RIG_TRUTH_DSN")
    with run_pooler(database.runtime_dsn, os.environ, server_connections=1, log_file=tmp_path / "pooler.log") as pooled:
        with (
            connect(pooled, "test") as connection,
            pytest.raises(ConfigError, match="RIG_TRUTH_DSN leads through a pooler"),
        ):
            require_unpooled(connection, "RIG_TRUTH_DSN")
        with psycopg.connect(pooled) as other:
            assert other.execute("SHOW search_path").fetchone() == ('"$user", public',)
