"""Tenants that share tables and a pool, and a worker that works for them and cannot change ingested rows.

Row-level security (*row-security*) shows a transaction all rows (*own-rows*) of the tenant that it has entered.
``enter_tenant`` sets the tenant for one transaction (*transaction-scope*), so the next user of the connection starts as
nobody. Set for the session, it would outlive its request, and a request that enters no tenant would read another's
rows. The worker's context is set in the same way; a trigger (*worker-guard*) keeps it from changing ingested rows. A
job that fails is kept in the worker's own *dead-letters*, with tenant and correlation id.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, LiteralString

import click
import psycopg
from psycopg import sql

from stub_server.race_subjects.environment import program, runtime_dsn, without_option

TENANTS = tuple(f"00000000-0000-4000-8000-{number:012}" for number in (1, 2, 3))
_PROTECTIONS = ("transaction-scope", "row-security", "own-rows", "worker-guard", "dead-letters")

_TABLES: LiteralString = """
CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY, tenant text NOT NULL, cents bigint NOT NULL);
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text NOT NULL, correlation_id text NOT NULL,
    payload text NOT NULL);
CREATE TABLE worker_dead_letter (
    tenant text NOT NULL, correlation_id text NOT NULL, payload text NOT NULL, error text NOT NULL,
    at timestamptz NOT NULL DEFAULT now());
INSERT INTO event (tenant, cents) SELECT tenant, n FROM unnest(ARRAY[{tenants}]) AS tenant, generate_series(1, 20) AS n;
GRANT SELECT, INSERT, UPDATE, DELETE ON event, job, worker_dead_letter TO {role};

CREATE FUNCTION enter_tenant(tenant text) RETURNS void LANGUAGE sql AS
$$ SELECT set_config('app.current_tenant_id', tenant, {is_local}) $$;
CREATE FUNCTION enter_worker(tenant text) RETURNS void LANGUAGE sql AS
$$ SELECT enter_tenant(tenant), set_config('app.context', 'worker', true) $$;
"""
_ROW_SECURITY: LiteralString = """
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
ALTER TABLE event FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON event USING (tenant = current_setting('app.current_tenant_id', true));
"""
# A second condition that is too narrow: it hides some rows from their own tenant.
_TOO_NARROW: LiteralString = "CREATE POLICY recent ON event AS RESTRICTIVE USING (id % 10 > 0)"
_WORKER_GUARD: LiteralString = """
CREATE FUNCTION keep_ingested() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('app.context', true) = 'worker' THEN
        RAISE insufficient_privilege USING MESSAGE = 'a worker may not change ingested rows';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_ingested BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON event
FOR EACH STATEMENT EXECUTE FUNCTION keep_ingested();
"""
_TAKE: LiteralString = """
DELETE FROM job WHERE id = (SELECT id FROM job ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING tenant, correlation_id, payload
"""
_BURY: LiteralString = """
INSERT INTO worker_dead_letter (tenant, correlation_id, payload, error) VALUES (%s, %s, %s, %s)
"""


def create(connection: psycopg.Connection[Any], role: str, without: Collection[str] = ()) -> None:
    """Make the tables, twenty events for each tenant, and the functions that enter a context."""
    names = {
        "tenants": sql.SQL(", ").join(map(sql.Literal, TENANTS)),
        "role": sql.Identifier(role),
        "is_local": sql.Literal("transaction-scope" not in without),
    }
    connection.execute(sql.SQL(_TABLES).format(**names))
    if "row-security" not in without:
        connection.execute(_ROW_SECURITY)
    if "own-rows" in without:
        connection.execute(_TOO_NARROW)
    if "worker-guard" not in without:
        connection.execute(_WORKER_GUARD)


def do_jobs(connection: psycopg.Connection[Any], without: Collection[str] = ()) -> tuple[int, int]:
    """Do all jobs, each in a transaction of its own; returns how many succeeded and how many failed."""
    succeeded = failed = 0
    while True:
        with connection.transaction():
            row = connection.execute(_TAKE).fetchone()
            if row is None:
                return succeeded, failed
            tenant, correlation_id, payload = row
            try:
                with connection.transaction():  # a savepoint: what a failed job has done is undone
                    connection.execute("SELECT enter_worker(%s)", (tenant,))
                    _recompute(payload)
                succeeded += 1
            except ValueError as error:
                failed += 1
                if "dead-letters" not in without:
                    connection.execute(_BURY, (tenant, correlation_id, payload, str(error)))


def _recompute(payload: str) -> int:
    """The work of a job. ValueError where its payload is no number."""
    return int(payload) * 2


cli = program("Tenants and a worker over PostgreSQL.", _PROTECTIONS, create)


@cli.command()
@without_option(*_PROTECTIONS)
def work(without: tuple[str, ...]) -> None:
    """Run the worker: do all jobs, and end."""
    with psycopg.connect(runtime_dsn(), autocommit=True, application_name="worker") as connection:
        succeeded, failed = do_jobs(connection, without)
    click.echo(f"did {succeeded} jobs, {failed} failed")


if __name__ == "__main__":
    cli()
