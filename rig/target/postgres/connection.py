"""A connection that reads what lies in a database, whatever the shell and the role would make of it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql

from rig.errors import ConfigError

CONNECT_TIMEOUT_S = 10
_TIMEOUTS = {
    "statement_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140000,
    "transaction_timeout": 170000,
}
"""Settings that end a session or a statement, and the server's version that has them first."""


def connect(dsn: str, name: str, timeout_s: int = CONNECT_TIMEOUT_S, **options: Any) -> Connection[Any]:
    """A connection of the rig, ``name`` its application, whose texts are UTF-8. Raises what psycopg raises."""
    own: dict[str, Any] = {"autocommit": True, "application_name": name, "client_encoding": "UTF8"}
    return psycopg.connect(dsn, connect_timeout=timeout_s, **(own | options))


def find_relation(connection: Connection[Any], name: str) -> sql.Identifier:
    """A table as a profile names it: alone, or with its schema before a dot. Any name may have dots of its own."""
    ways = [(name,), *((name[:at], name[at + 1 :]) for at, letter in enumerate(name) if letter == ".")]
    for way in ways:
        found = sql.Identifier(*way)
        quoted = found.as_string(connection)
        row = connection.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [quoted]).fetchone()
        if row and row[0]:
            return found
    return sql.Identifier(*ways[-1])


def lift_timeouts(connection: Connection[Any]) -> None:
    """No setting of the role, the database or the server may end the session while it reads."""
    known = [name for name, since in _TIMEOUTS.items() if connection.info.server_version >= since]
    connection.execute("; ".join(f"SET {name} = 0" for name in known).encode())


def require_unpooled(connection: Connection[Any], variable: str) -> None:
    """ConfigError behind a pooler, before anything is set: another client would get the settings of this session.

    A pooler tells each client a process number of its own making, so that it can pass on requests to cancel.
    """
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    if row and row[0] != connection.info.backend_pid:
        raise ConfigError(
            f"{variable} leads through a pooler (pgbouncer or the like), which gives one session to many clients: give "
            "the address of the PostgreSQL server itself; the target may go on to use the pooler"
        )


def require_primary(connection: Connection[Any], variable: str) -> None:
    """ConfigError on a standby: what it has not replayed yet would be called lost."""
    row = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if row and row[0]:
        raise ConfigError(
            f"the truth DSN is a standby (${variable}): rows reach it later than the primary, and would be called "
            "lost; name the primary"
        )
