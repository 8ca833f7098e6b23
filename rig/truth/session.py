"""The connection that truth is read over: its name, its settings, and its errors on one line."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel

from rig.target.postgres import connection as postgres
from rig.target.postgres.connection import lift_timeouts

APPLICATION_NAME = "rig-truth"

_CONNECT_TIMEOUT_S = 5

# Names resolve only to pg_catalog and to our temporary tables. A query whose rows row-level security would hide fails
# instead. A small sample of our own tables is enough for the planner, and nested loops over sets are never wanted.
_SETTINGS = """
SET search_path = '';
SET row_security = off;
SET standard_conforming_strings = on;
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET extra_float_digits = 1;
SET lock_timeout = '30s';
SET work_mem = '128MB';
SET temp_buffers = '64MB';
SET jit = off;
SET enable_nestloop = off;
SET default_statistics_target = 10
"""


def connect(dsn: str) -> Connection[Any]:
    """A connection to read truth over; its transactions see one snapshot. Raises what psycopg raises."""
    connection = open_plainly(dsn)
    try:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        lift_timeouts(connection)
        connection.execute(_SETTINGS)
    except psycopg.Error:
        connection.close()
        raise
    return connection


def open_plainly(dsn: str) -> Connection[Any]:
    """A connection as the DSN's role gets it, with nothing set."""
    return postgres.connect(dsn, APPLICATION_NAME, _CONNECT_TIMEOUT_S)


def in_words(error: BaseException) -> str:
    """The message of an error on one line. libpq never puts a password into one.

    The server's details are left out: they print the row that it was reading.
    """
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((said or str(error)).split())
