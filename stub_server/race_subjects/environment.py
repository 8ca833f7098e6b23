"""What the commands share: where the database is, and the option that switches a protection off."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

import click
import psycopg

Create = Callable[[psycopg.Connection[Any], str, Collection[str]], None]
"""Makes the schema for the service's role, without some protections."""


def without_option(*protections: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--without NAME``, repeatable: switches that protection off."""
    return click.option("--without", multiple=True, type=click.Choice(protections), help="Switch off a protection.")


def program(about: str, protections: Collection[str], create: Create) -> click.Group:
    """The commands of a subject. ``prepare`` is there: it makes the schema by ``create``, as the owner."""

    @click.command()
    @without_option(*protections)
    def prepare(without: tuple[str, ...]) -> None:
        """Make what lies in the database, as the owner."""
        with psycopg.connect(owner_dsn()) as connection:
            create(connection, runtime_role(), without)

    return click.Group(help=about, commands=[prepare])


def runtime_dsn() -> str:
    """How the service connects; ClickException where the variable is not set."""
    return _dsn("DATABASE_URL")


def owner_dsn() -> str:
    """How the owner of the schema connects; ClickException where the variable is not set."""
    return _dsn("MIGRATION_DATABASE_URL")


def runtime_role() -> str:
    """The service's role in the database. The database is asked, because a DSN need not name it.

    Raises psycopg.OperationalError where it cannot connect.
    """
    with psycopg.connect(runtime_dsn()) as connection:
        row = connection.execute("SELECT current_user").fetchone()
    assert row is not None  # every session has a role
    return str(row[0])


def _dsn(variable: str) -> str:
    dsn = os.environ.get(variable)
    if not dsn:
        raise click.ClickException(f"{variable} is not set; it must hold a PostgreSQL DSN")
    return dsn
