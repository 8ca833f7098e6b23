"""A queue in a table that any number of replicas may drain: each job's effect happens once.

A replica *claims* a job by one statement that skips what others are claiming. It holds the job by a *lease* and must
finish before that ends. When a replica dies in a job, the lease ends and another does the job again. So an effect
happens at least once, and more than once only for the job in which a replica died. Without the claim several replicas
do the same job; without the lease the job of a dead replica is never finished.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from typing import Any, LiteralString

import click
import psycopg

from stub_server.race_subjects.environment import program, runtime_dsn, without_option

LEASE_S = 1.0
WORK_S = 0.04
"""How long a job takes; a lease must be longer than any job."""
_IDLE_S = 0.05

_SCHEMA: LiteralString = """
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done')),
    holder text,
    lease_until timestamptz);
CREATE INDEX ON job (id) WHERE state <> 'done';
-- What each replica says it works on. A job's holder is only the last replica that claimed it.
CREATE TABLE work (replica text NOT NULL, job text NOT NULL);
-- What jobs do to the outside world. Nothing is unique here: it only tells what happened.
CREATE TABLE effect (job text NOT NULL, replica text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
GRANT SELECT, UPDATE ON job TO {role};
GRANT SELECT, INSERT, DELETE ON work TO {role};
GRANT SELECT, INSERT ON effect TO {role};
"""

_OPEN: LiteralString = "(state = 'queued' OR state = 'running' AND lease_until < clock_timestamp())"
_HOLD: LiteralString = """
UPDATE job SET state = 'running', holder = %(replica)s, lease_until = clock_timestamp() + %(lease_s)s * interval '1 s'
"""
_BEGIN: LiteralString = "INSERT INTO work (replica, job) SELECT %(replica)s, name FROM held RETURNING job"
_CLAIM: LiteralString = f"""
WITH held AS (
    {_HOLD} WHERE id = (SELECT id FROM job WHERE {_OPEN} ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING name)
{_BEGIN}
"""
# What most first versions do: look, then mark. Between the two everybody sees the same job.
_LOOK: LiteralString = f"SELECT name FROM job WHERE {_OPEN} ORDER BY id LIMIT 1"
_MARK: LiteralString = f"WITH held AS ({_HOLD} WHERE name = %(name)s RETURNING name) {_BEGIN}"
_FINISH: LiteralString = """
WITH ended AS (DELETE FROM work WHERE replica = %(replica)s)
UPDATE job SET state = 'done' WHERE name = %(name)s AND holder = %(replica)s
"""
_TO_COME: LiteralString = """
SELECT EXISTS (SELECT FROM job WHERE state = 'queued' OR state = 'running' AND lease_until IS NOT NULL)
"""


class Replica:
    """One worker of the queue, over one connection in autocommit: a job's steps are transactions of their own."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, without: Collection[str] = ()) -> None:
        self._connection = connection
        self._name = name
        self._without = without

    def drain(self) -> int:
        """Do jobs until none is left, neither queued nor in another's lease; how many this replica did."""
        done = 0
        while True:
            job = self._claim()
            if job is not None:
                self._do(job)
                done += 1
            elif self._to_come():
                time.sleep(_IDLE_S)
            else:
                return done

    def _claim(self) -> str | None:
        held = {"replica": self._name, "lease_s": None if "lease" in self._without else LEASE_S}
        if "claim" in self._without:
            row = self._connection.execute(_LOOK).fetchone()
            if row is not None:
                # A real scheduler decides something between the two. The pause makes the race certain.
                time.sleep(WORK_S)
                self._connection.execute(_MARK, held | {"name": row[0]})
        else:
            row = self._connection.execute(_CLAIM, held).fetchone()
        return None if row is None else str(row[0])

    def _do(self, job: str) -> None:
        self._connection.execute("INSERT INTO effect (job, replica) VALUES (%s, %s)", (job, self._name))
        time.sleep(WORK_S)
        self._connection.execute(_FINISH, {"name": job, "replica": self._name})

    def _to_come(self) -> bool:
        row = self._connection.execute(_TO_COME).fetchone()
        return bool(row and row[0])


def create(connection: psycopg.Connection[Any], role: str, without: Collection[str] = ()) -> None:
    """Make the tables, as the owner."""
    connection.execute(psycopg.sql.SQL(_SCHEMA).format(role=psycopg.sql.Identifier(role)))


_PROTECTIONS = ("claim", "lease")
cli = program("A job queue over PostgreSQL.", _PROTECTIONS, create)


@cli.command()
@without_option(*_PROTECTIONS)
def drain(without: tuple[str, ...]) -> None:
    """Run one replica: do jobs until none is left."""
    with psycopg.connect(runtime_dsn(), autocommit=True, application_name="scheduler") as connection:
        done = Replica(connection, os.environ.get("REPLICA", "0"), without).drain()
    click.echo(f"did {done} jobs")


if __name__ == "__main__":
    cli()
