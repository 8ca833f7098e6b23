"""SQL of a profile, as a storm runs it: an error names the key of the statement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from rig.errors import ConfigError


def execute(
    connection: psycopg.Connection[Any],
    key: str,
    statement: str,
    parameters: Mapping[str, Any] | None = None,
    columns: int | None = None,
) -> list[tuple[Any, ...]]:
    """Run the statement of a key of the profile; its rows, none where it gives none.

    ConfigError names the key where it fails or gives another number of ``columns``. psycopg.Error where the connection
    was lost: then the statement is not to blame.
    """
    try:
        cursor = connection.execute(statement.encode(), parameters)
        found = len(cursor.description or ())
        if columns not in (None, found):
            raise ValueError(f"it gives {found} columns, not {columns}")
        return cursor.fetchall() if cursor.description else []
    except (psycopg.Error, TypeError, ValueError) as error:
        if connection.broken:
            raise
        raise ConfigError(f"profile key {key} failed: {first_line(error)}") from None


_MISTAKES = (
    psycopg.errors.SyntaxError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.IndeterminateDatatype,
    psycopg.errors.WrongObjectType,
)


def is_mistake(error: psycopg.Error) -> bool:
    """Whether the statement itself is wrong: it never reached the server, or names what does not exist.

    An error within a function that the statement calls has a context, and is the target's.
    """
    if error.sqlstate is None:  # psycopg's own; a lost connection is an OperationalError
        return isinstance(error, psycopg.ProgrammingError)
    return isinstance(error, _MISTAKES) and error.diag.context is None


def first_line(error: Exception) -> str:
    """The first line of an error's message; its type where it has none."""
    return str(error).partition("\n")[0] or type(error).__name__


def error_text(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def table_digest(table: sql.Identifier) -> sql.Composed:
    """A query for the number of rows of a table, and for a digest of their whole content."""
    return sql.SQL("SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {} t").format(table)
