"""Named intermediate results inside the database: temporary tables, or common table expressions where a role may not
create any (a read-only role, a standby).

Queries refer to a result by its name, whichever of the two it is. Everything is gone with the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from psycopg import Connection, sql

Columns = Sequence[tuple[str, Literal["int", "text"]]]
"""(name, type) of each column. Text compares byte by byte, whatever the database's collation."""

_COLLATION = {"int": sql.SQL(""), "text": sql.SQL(' COLLATE "C"')}


class Staging:
    """Results by name, within one transaction. Values must stand in the SQL itself, as ``sql.Literal``.

    (Parameters do not go together with identifiers that contain ``%``, nor with ``CREATE TABLE AS``.)
    """

    def __init__(self, connection: Connection[Any], *, temporary: bool) -> None:
        self._connection = connection
        self._temporary = temporary
        self._expressions: list[bytes] = []

    def load(self, name: str, columns: Columns, rows: Iterable[Sequence[object]]) -> None:
        """Load rows by COPY. Without temporary tables they are arrays that each query carries along."""
        if self._temporary:
            self._copy(name, columns, rows)
            return
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [
            sql.SQL("{}::{}[]").format(sql.Literal(list(array)), sql.SQL(kind))
            for array, (_, kind) in zip(values, columns, strict=True)
        ]
        names = sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns)
        collated = sql.SQL(", ").join(
            sql.SQL("{}{collation} AS {}").format(*[sql.Identifier(column)] * 2, collation=_COLLATION[kind])
            for column, kind in columns
        )
        query = sql.SQL("SELECT {} FROM unnest({}) AS loaded ({})").format(collated, sql.SQL(", ").join(arrays), names)
        self.define(name, query)

    def define(self, name: str, query: sql.Composable) -> None:
        """Give the result of a query a name that later queries may use."""
        if self._temporary:
            statement = sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}")
            self._connection.execute(statement.format(sql.Identifier(name), query))
            self._analyze(name)
        else:
            expression = sql.SQL("{} AS MATERIALIZED ({})").format(sql.Identifier(name), query)
            # Rendered once, because every query carries it, with all loaded rows.
            self._expressions.append(expression.as_bytes(self._connection))

    def select(self, query: sql.Composed) -> list[tuple[Any, ...]]:
        """The rows of a query over the named results."""
        rows: list[tuple[Any, ...]] = self._connection.execute(self.render(query)).fetchall()
        return rows

    def render(self, query: sql.Composed) -> bytes:
        """The whole text of a query over the named results."""
        text = query.as_bytes(self._connection)
        return b"WITH " + b", ".join(self._expressions) + b" " + text if self._expressions else text

    def _copy(self, name: str, columns: Columns, rows: Iterable[Sequence[object]]) -> None:
        definitions = sql.SQL(", ").join(
            sql.SQL("{} {}{}").format(sql.Identifier(column), sql.SQL(kind), _COLLATION[kind])
            for column, kind in columns
        )
        create = sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP")
        self._connection.execute(create.format(sql.Identifier(name), definitions))
        with (
            self._connection.cursor() as cursor,
            cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))) as copy,
        ):
            for row in rows:
                copy.write_row(row)
        self._analyze(name)

    def _analyze(self, name: str) -> None:
        # Otherwise the planner assumes that every result is small.
        self._connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(name)))


def may_create_temporary(connection: Connection[Any]) -> bool:
    """True when this role may create temporary tables here and now."""
    row = connection.execute(
        """
        SELECT has_database_privilege(current_database(), 'TEMPORARY') AND NOT pg_is_in_recovery()
            AND current_setting('default_transaction_read_only') = 'off'
        """
    ).fetchone()
    return bool(row and row[0])
