"""A rate limit that the whole fleet shares: so many requests a window, whatever replica they arrive at.

The count is one row for each window in PostgreSQL, and one statement raises it up to the limit. The windows are the
database's, so the clocks of the replicas need not agree. Without *shared* each process counts for itself, as most
libraries do, and the fleet lets through N times the limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, LiteralString

import click
import psycopg

from stub_server.race_subjects.environment import program, runtime_dsn, without_option

_SCHEMA: LiteralString = """
CREATE TABLE rate_window (name text, began timestamptz, used integer NOT NULL, PRIMARY KEY (name, began));
GRANT SELECT, INSERT, UPDATE ON rate_window TO {role};
"""
_TAKE: LiteralString = """
INSERT INTO rate_window AS w VALUES (
    %(name)s, date_bin(%(window_s)s * interval '1 s', clock_timestamp(), 'epoch'::timestamptz), 1)
ON CONFLICT (name, began) DO UPDATE SET used = w.used + 1 WHERE w.used < %(limit)s
RETURNING used
"""

Limiter = Callable[[], bool]
"""True: let the request through. False: too many."""


def fleet_limiter(connection: psycopg.Connection[Any], limit: int, window_s: float) -> Limiter:
    """A limiter for the fleet: all that use the same table share one limit. ``connection`` is in autocommit."""

    def take() -> bool:
        row = connection.execute(_TAKE, {"name": "api", "window_s": window_s, "limit": limit}, prepare=True).fetchone()
        return row is not None

    return take


def process_limiter(limit: int, window_s: float) -> Limiter:
    """A limiter for this process alone."""
    window, used = -1, 0
    lock = threading.Lock()

    def take() -> bool:
        nonlocal window, used
        with lock:
            now = int(time.time() / window_s)
            if now != window:
                window, used = now, 0
            used += 1
            return used <= limit

    return take


def _handler(limiter: Limiter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" or limiter() else 429)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the name is http.server's
            """Write nothing: a line for every request would be its slowest part."""

    return Handler


def create(connection: psycopg.Connection[Any], role: str, without: Collection[str] = ()) -> None:
    """Make the tables, as the owner."""
    connection.execute(psycopg.sql.SQL(_SCHEMA).format(role=psycopg.sql.Identifier(role)))


_PROTECTIONS = ("shared",)
cli = program("A rate limit over PostgreSQL.", _PROTECTIONS, create)


@cli.command()
@click.option("--port", type=int, required=True)
@click.option("--limit", type=int, default=20, show_default=True, help="Requests a window.")
@click.option("--window-s", type=float, default=1.0, show_default=True)
@without_option(*_PROTECTIONS)
def serve(port: int, limit: int, window_s: float, without: tuple[str, ...]) -> None:
    """Serve one replica: GET / answers 200 or 429."""
    if "shared" in without:
        limiter = process_limiter(limit, window_s)
    else:
        connection = psycopg.connect(runtime_dsn(), autocommit=True, application_name="limiter")
        limiter = fleet_limiter(connection, limit, window_s)
    ThreadingHTTPServer(("127.0.0.1", port), _handler(limiter)).serve_forever()


if __name__ == "__main__":
    cli()
