"""SQL of a profile, as a storm runs it: whatever is wrong with a statement is told by its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from rig.errors import ConfigError


def execute(
    connection: psycopg.Connection[Any],
    key: str,
    statement: str,
    parameters: Mapping[str, Any] | None = None,
    columns: int | None = None,
) -> list[tuple[Any, ...]]:
    """Run what a key of the profile says; its rows, none where it gives none.

    ConfigError names the key where it fails or gives another number of ``columns``. psycopg.Error where it is the
    connection that was lost: that is no fault of the statement's.
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


def mistaken(error: psycopg.Error) -> bool:
    """Whether it is of who wrote the statement: it never reached the server, or names what there is not.

    What goes wrong within a function that it calls has a context, and is the target's.
    """
    if error.sqlstate is None:  # psycopg's own; a lost connection is an OperationalError
        return isinstance(error, psycopg.ProgrammingError)
    return isinstance(error, _MISTAKES) and error.diag.context is None


def first_line(error: Exception) -> str:
    """What an error says in its first line; its type where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
