"""What a fleet knows of an issuer's keys: one row, and a line for every fetch.

All times are the database's, so the clocks of the fleet's hosts need not agree. Readers get them as seconds from now.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from fleet_jwks.fleet import KeySetRow
from fleet_jwks.settings import JwksSettings

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = """
CREATE TABLE IF NOT EXISTS jwks_cache (
    source          text PRIMARY KEY,
    document        jsonb,                          -- NULL until the first fetch that succeeded
    version         bigint NOT NULL DEFAULT 0,      -- fetches that succeeded
    failures        bigint NOT NULL DEFAULT 0,      -- fetches that failed since
    expires_at      timestamptz NOT NULL DEFAULT '-infinity',
    next_allowed_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE TABLE IF NOT EXISTS jwks_fetches (
    source     text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    failures   bigint NOT NULL,                     -- in a row, this one among them; 0: it succeeded
    wait_s     double precision NOT NULL,           -- from its end to the next that was allowed
    error      text NOT NULL,
    pid        integer NOT NULL                     -- of the process that fetched
);
CREATE INDEX IF NOT EXISTS jwks_fetches_age ON jwks_fetches (source, ended_at);
"""
ROLE_NEEDS = "GRANT SELECT, INSERT, UPDATE ON jwks_cache TO {0}; GRANT INSERT, SELECT, DELETE ON jwks_fetches TO {0}"

_ENSURE = "INSERT INTO jwks_cache (source) VALUES (%(source)s) ON CONFLICT DO NOTHING"
_AHEAD = "coalesce(extract(epoch FROM nullif({0}, '-infinity') - clock_timestamp()), 0)::float8"
_COLUMNS = f"""
    CASE WHEN version > %(known)s THEN document END, version, failures,
    {_AHEAD.format("expires_at")}, {_AHEAD.format("next_allowed_at")}, clock_timestamp()
"""
_READ = f"SELECT {_COLUMNS} FROM jwks_cache WHERE source = %(source)s"
_WRITE = f"""
UPDATE jwks_cache SET
    document = coalesce(%(document)s, document),
    version = version + CASE WHEN %(error)s = '' THEN 1 ELSE 0 END,
    failures = %(failures)s,
    expires_at = CASE WHEN %(error)s = '' THEN clock_timestamp() + make_interval(secs => %(ttl_s)s) ELSE expires_at END,
    next_allowed_at = coalesce(%(from)s, clock_timestamp()) + make_interval(secs => %(wait_s)s)
WHERE source = %(source)s
RETURNING {_COLUMNS}
"""
_LOG = """
INSERT INTO jwks_fetches (source, started_at, failures, wait_s, error, pid)
VALUES (%(source)s, %(started_at)s, %(failures)s, %(wait_s)s, %(error)s, %(pid)s)
"""
_FORGET = """
DELETE FROM jwks_fetches WHERE source = %(source)s AND ended_at < clock_timestamp() - make_interval(secs => %(keep_s)s)
"""


@dataclass(frozen=True, slots=True)
class FetchOutcome:
    """What a fetch brought, and how long nobody may fetch again: ``wait_s`` from its end, or from ``started_at``."""

    document: Mapping[str, Any] | None
    error: str
    failures: int
    started_at: Any
    wait_s: float
    from_start: bool
    pid: int


def create_schema(dsn: str, role: str) -> None:
    """Make the tables, and let ``role`` use them."""
    with psycopg.connect(dsn) as connection:
        connection.execute(SCHEMA)
        connection.execute(sql.SQL(ROLE_NEEDS).format(sql.Identifier(role)))


def role_of(dsn: str) -> str:
    """The role that connects by a DSN, which the DSN need not name. Raises psycopg.OperationalError."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT current_user").fetchone()
    assert row is not None  # every session has a role
    return str(row[0])


def ensure(connection: Connection, source: str) -> None:
    """Make the row where there is none, so that the first fetch is coordinated too."""
    connection.execute(_ENSURE, {"source": source})


def read(connection: Connection, source: str, known: int) -> KeySetRow:
    """The row; its document only where it is newer than version ``known``."""
    row = connection.execute(_READ, {"source": source, "known": known}).fetchone()
    assert row is not None  # ``ensure`` made it
    return KeySetRow(*row)


def write(connection: Connection, source: str, known: int, outcome: FetchOutcome, settings: JwksSettings) -> KeySetRow:
    """Write what a fetch brought, and delete old lines about fetches; returns the row as it is then."""
    values = {
        "source": source,
        "known": known,
        "document": None if outcome.document is None else Jsonb(outcome.document),
        "error": outcome.error,
        "failures": outcome.failures,
        "ttl_s": settings.ttl_s,
        "started_at": outcome.started_at,
        "wait_s": outcome.wait_s,
        "from": outcome.started_at if outcome.from_start else None,
        "pid": outcome.pid,
        "keep_s": settings.keep_s,
    }
    connection.execute(_LOG, values)
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():  # tables of an older release
        connection.execute(_FORGET, values)
    row = connection.execute(_WRITE, values).fetchone()
    assert row is not None
    return KeySetRow(*row)
