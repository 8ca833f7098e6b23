"""A migrator that any number of replicas may run at once: each version is applied exactly once.

It needs two protections: an advisory *lock*, so that replicas work one after another, and a *ledger* table, so that the
next one sees what is done. Everything is one transaction: a replica that dies leaves nothing half done, and no lock.
Without the lock replicas collide on the catalogue; without the ledger a seed runs twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, LiteralString

import click
import psycopg

from stub_server.race_subjects.environment import owner_dsn, without_option

_LOCK_KEY = 0x5EED_0001  # any number that all migrators share


@dataclass(frozen=True, slots=True)
class Version:
    """One step of the schema's history. Statements may assume all earlier ones."""

    number: int
    statement: LiteralString


VERSIONS = (
    Version(1, "CREATE TABLE IF NOT EXISTS channel (code text NOT NULL, label text NOT NULL)"),
    # A seed that would do harm if it ran twice: nothing in the table prevents that.
    Version(2, "INSERT INTO channel VALUES ('facebook_paid', 'Facebook'), ('google_paid', 'Google')"),
    Version(3, "CREATE TABLE IF NOT EXISTS daily_total (day date PRIMARY KEY, channel text, cents bigint NOT NULL)"),
    Version(
        4,
        # A backfill takes its time, here by sleeping.
        """INSERT INTO daily_total SELECT '2026-01-01'::date + n, 'google_paid', n * 100
           FROM generate_series(1, 500) AS n, pg_sleep(0.3) ON CONFLICT DO NOTHING""",
    ),
    Version(5, "ALTER TABLE daily_total ADD COLUMN IF NOT EXISTS currency text NOT NULL DEFAULT 'USD'"),
    Version(6, "CREATE INDEX IF NOT EXISTS daily_total_channel ON daily_total (channel)"),
)


def migrate(connection: psycopg.Connection[Any], without: Collection[str] = ()) -> list[int]:
    """Bring the database to the newest version; returns the versions that it applied. psycopg.Error undoes all."""
    applied = []
    with connection.transaction():
        if "lock" not in without:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        done = set() if "ledger" in without else _ledger(connection)
        for version in VERSIONS:
            if version.number in done:
                continue
            connection.execute(version.statement)
            if "ledger" not in without:
                connection.execute("INSERT INTO schema_version (number) VALUES (%s)", (version.number,))
            applied.append(version.number)
    return applied


def _ledger(connection: psycopg.Connection[Any]) -> set[int]:
    connection.execute(
        """CREATE TABLE IF NOT EXISTS schema_version (
               number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"""
    )
    return {number for (number,) in connection.execute("SELECT number FROM schema_version")}


@click.command()
@without_option("lock", "ledger")
def main(without: tuple[str, ...]) -> None:
    """Migrate the database of MIGRATION_DATABASE_URL; exit code 0 when it is at the newest version."""
    try:
        with psycopg.connect(owner_dsn(), connect_timeout=10, application_name="migrator") as connection:
            applied = migrate(connection, without)
    except psycopg.Error as error:
        raise click.ClickException(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None
    click.echo(f"applied {applied}" if applied else "nothing to do")


if __name__ == "__main__":
    main()
