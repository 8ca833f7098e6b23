"""A materialised view that everybody may ask to be refreshed, and that is refreshed once.

The function takes a transaction-scoped advisory *lock*, or *skips* at once: the second caller gets the first one's
result. Readers go on meanwhile, because the refresh is *concurrent*. Each tenant has a view and a lock of its own
(*tenant-scope*), and a *scheduler* refreshes when nobody asks. Without the lock every caller refreshes; without the
skip each waits for its turn to do so; without concurrency the readers wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, LiteralString

import click
import psycopg
from psycopg import sql

from stub_server.race_subjects.environment import program, runtime_dsn, without_option

TENANTS = ("north", "south")
_PROTECTIONS = ("lock", "skip", "concurrently", "tenant-scope", "scheduler")

_SALES: LiteralString = """
CREATE TABLE sale (tenant text NOT NULL, day date NOT NULL, cents bigint NOT NULL);
INSERT INTO sale SELECT tenant, '2026-01-01'::date + n % 90, n
FROM generate_series(1, 2000) AS n, unnest(ARRAY[{tenants}]) AS tenant;
"""
# A refresh takes most of a second.
_VIEW: LiteralString = """
CREATE MATERIALIZED VIEW {view} AS
SELECT day, sum(cents) AS cents FROM sale, pg_sleep(0.8) WHERE tenant = {tenant} GROUP BY day;
CREATE UNIQUE INDEX ON {view} (day);
GRANT SELECT ON {view} TO {role};
"""
_FUNCTION: LiteralString = """
CREATE FUNCTION refresh_revenue(tenant text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    {guard}
    EXECUTE format('REFRESH MATERIALIZED VIEW {concurrently} %I', 'revenue_' || tenant);
    RETURN 'refreshed';
END $$;
REVOKE ALL ON FUNCTION refresh_revenue(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_revenue(text) TO {role};
"""
_TRY: LiteralString = "IF NOT pg_try_advisory_xact_lock({key}) THEN RETURN 'skipped'; END IF;"
_WAIT: LiteralString = "PERFORM pg_advisory_xact_lock({key});"
_TENANT_KEY: LiteralString = "hashtextextended('refresh_revenue ' || tenant, 0)"
_ONE_KEY: LiteralString = "hashtextextended('refresh_revenue', 0)"
_REFRESH: LiteralString = "SELECT refresh_revenue(%s)"


def create(connection: psycopg.Connection[Any], role: str, without: Collection[str] = ()) -> None:
    """Make table, views and function; ``role`` may read and ask for refreshes."""
    reader = sql.Identifier(role)
    tenants = sql.SQL(", ").join(map(sql.Literal, TENANTS))
    connection.execute(sql.SQL(_SALES).format(tenants=tenants))
    for tenant in TENANTS:
        view = sql.Identifier(f"revenue_{tenant}")
        connection.execute(sql.SQL(_VIEW).format(view=view, tenant=sql.Literal(tenant), role=reader))
    key = sql.SQL(_ONE_KEY if "tenant-scope" in without else _TENANT_KEY)
    guard = sql.SQL("" if "lock" in without else _WAIT if "skip" in without else _TRY).format(key=key)
    concurrently = sql.SQL("" if "concurrently" in without else "CONCURRENTLY")
    connection.execute(sql.SQL(_FUNCTION).format(guard=guard, concurrently=concurrently, role=reader))


cli = program("A materialised view over PostgreSQL that is refreshed once.", _PROTECTIONS, create)


@cli.command()
@click.option("--every-s", type=float, default=1.0, show_default=True)
@without_option(*_PROTECTIONS)
def schedule(every_s: float, without: tuple[str, ...]) -> None:
    """Ask for every tenant's refresh again and again, until SIGTERM."""
    with psycopg.connect(runtime_dsn(), autocommit=True, application_name="refresher") as connection:
        while True:
            if "scheduler" not in without:
                for tenant in TENANTS:
                    connection.execute(_REFRESH, (tenant,))
            time.sleep(every_s)


if __name__ == "__main__":
    cli()
