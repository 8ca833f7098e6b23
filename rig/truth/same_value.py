"""SQL that tells whether a column holds what was sent, by the type of the field and the type of the column.

Each text stands for one kind of comparison: ``{e}`` is what was sent as text, ``{c}`` the column, ``{text}`` the column
as text. Nothing that a row may hold makes one of them raise an error: a value is cast only where it has the form.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import Connection, sql

from rig.errors import ConfigError
from rig.requests.content import Comparison
from rig.truth.tables import SOUND_JSON, Column, Table

_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "money"})
_TIMES = frozenset({"timestamptz", "timestamp", "date"})
_JSONS = frozenset({"json", "jsonb"})
_OF_JSON = ("json", "json-contains")
_OF_TIME = ("unix", "iso")
_OF_NUMBER = ("integer", "decimal", "cents")
_FLOATS = frozenset({"float4", "float8"})
_SPELT = frozenset({"inet", "cidr", "macaddr", "macaddr8", "interval", "time", "timetz"})
"""Types that print a value in a spelling of their own, so that what was sent is read as one of them."""
_POSTGRES_16 = 160000

_IS_NUMBER = r"^\s*[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?\s*$"
# Days that every year has, so that no cast fails.
_IS_TIME = (
    r"^\s*([12]\d{3}-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    r"|20([02468][048]|[13579][26])-02-29)"
    r"([Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d{1,9})?)?(\s?(Z|z|UTC|[+-](0\d|1[0-4])(:?[0-5]\d)?))?)?\s*$"
)
_TEXT: LiteralString = "{text} = {e}"
_BYTES: LiteralString = "{c} = pg_catalog.convert_to({e}, 'UTF8')"
_SPELLING: LiteralString = (
    "CASE WHEN {text} = {e} THEN true"
    " WHEN pg_catalog.pg_input_is_valid({e}, {type}) THEN {text} = {e}::{spelt}::text END"
)
_UUID: LiteralString = "replace({c}::text, '-', '') = lower(replace({e}, '-', ''))"
_NUMBER: LiteralString = "{number} = {e}::numeric"
_NUMBER_AS_TEXT: LiteralString = "CASE WHEN {e} ~ {is_number} THEN {number} = {e}::numeric ELSE {text} = {e} END"
_NUMBER_IN_TEXT: LiteralString = "CASE WHEN {text} ~ {is_number} THEN {text}::numeric = {e}::numeric END"
# To the precision that was sent: so many decimals of a second. The database holds six.
_TIME: LiteralString = (
    "CASE WHEN scale({e}::numeric) <= 6"
    " THEN trunc(extract(epoch FROM {c})::numeric, scale({e}::numeric)) = {e}::numeric"
    " ELSE extract(epoch FROM {c})::numeric IN (trunc({e}::numeric, 6), round({e}::numeric, 6)) END"
)
_DAY: LiteralString = "{c} = pg_catalog.to_timestamp({e}::numeric)::date"
# In seconds, or in a smaller unit. Of no more than a second any small number would be a part.
_UNIX: LiteralString = (
    "trunc({number}, scale({e}::numeric)) = {e}::numeric OR {number} = {e}::numeric * 1000"
    " OR abs({e}::numeric) >= 1 AND {e}::numeric IN (trunc({number} / 1e3, scale({e}::numeric)),"
    " trunc({number} / 1e6, scale({e}::numeric)), trunc({number} / 1e9, scale({e}::numeric)))"
)
_TIME_IN_TEXT: LiteralString = (
    "CASE WHEN {text} ~ {is_number} THEN "
    + _UNIX.replace("{number}", "{text}::numeric")
    + " WHEN {text} ~ {is_time} THEN "
    + _TIME.replace("{c}", "replace({text}, ',', '.')::timestamptz")
    + " END"
)
_FILLED: LiteralString = "CASE WHEN {own} #> {path} IS NULL THEN {e} ELSE jsonb_set({e}, {path}, {own} #> {path}) END"

# @> asks neither for the order nor for the number of items.
_SAME_LIST: LiteralString = """
    CASE WHEN jsonb_typeof(own #> {path}) = 'array' AND jsonb_typeof(e #> {path}) = 'array' THEN
        jsonb_array_length(own #> {path}) = jsonb_array_length(e #> {path}) AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(e #> {path}) WITH ORDINALITY AS item (value, place),
                LATERAL (SELECT own #> {path} -> (place - 1)::int AS other) found
            WHERE (other @> value AND jsonb_typeof(other) = jsonb_typeof(value)) IS NOT TRUE)
    END
"""


def require_fit(connection: Connection[object], table: Table, column: Column, kind: str, key: str) -> None:
    """ConfigError where values of a field's type cannot lie in a column."""
    fits, remedy = True, "choose another type or another column"
    if kind in _OF_NUMBER:
        fits = column.type in _NUMBERS | _TEXTS | _JSONS
    elif kind in _OF_TIME:
        fits = column.type in _TIMES | _NUMBERS | _TEXTS | _JSONS
    elif kind in _OF_JSON:
        fits = column.type != "bytea"
    elif column.type in _TIMES:
        fits, remedy = False, 'give type = "iso", or "unix" where the event has a number'
    needs_16 = column.type in (_TEXTS if kind in _OF_JSON else _SPELT if kind == "text" else ())
    if needs_16 and connection.info.server_version < _POSTGRES_16:
        what = "JSON in a text column" if kind in _OF_JSON else f"a column of the type {column.type}"
        raise ConfigError(f"{key}: {what} needs PostgreSQL 16; take the field out")
    if not fits:
        raise ConfigError(
            f"{key}: type {kind!r} does not fit {table}.{column.name}, which is {column.declared}; {remedy}"
        )


def same_value(
    comparison: Comparison, column: Column, expected: sql.Composable, found: sql.Composable
) -> sql.Composable:
    """SQL that is true where a column holds what it must."""
    kind = comparison.type
    if kind in _OF_JSON:
        return _same_json(comparison, column, sql.SQL("{}::jsonb").format(expected), found)
    return sql.SQL(_how(kind, column)).format(
        e=expected,
        c=found,
        text=value_text(column, found, kind),
        # A cast of a float to numeric keeps 15 digits, its text keeps all.
        number=sql.SQL("{}::text::numeric" if column.type in _FLOATS else "{}::numeric").format(found),
        spelt=sql.Identifier("pg_catalog", column.type),
        type=sql.Literal(column.type),
        is_number=sql.Literal(_IS_NUMBER),
        is_time=sql.Literal(_IS_TIME),
    )


def _how(kind: str, column: Column) -> LiteralString:
    """The comparison of one value."""
    if kind == "null":
        return "{text} IS NULL"
    if kind == "text":
        if column.type in _NUMBERS:
            return _NUMBER_AS_TEXT
        return _SPELLING if column.type in _SPELT else {"uuid": _UUID, "bytea": _BYTES}.get(column.type, _TEXT)
    if kind in _OF_NUMBER:
        return _NUMBER if column.type in _NUMBERS else _NUMBER_IN_TEXT
    if column.type == "date":
        return _DAY
    return _TIME if column.type in _TIMES else _UNIX if column.type in _NUMBERS else _TIME_IN_TEXT


def _same_json(
    comparison: Comparison, column: Column, expected: sql.Composable, found: sql.Composable
) -> sql.Composable:
    own = _as_jsonb(column, found)
    for hole in comparison.holes:
        path = sql.SQL("{}::text[]").format(sql.Literal(list(hole)))
        expected = sql.SQL(_FILLED).format(e=expected, own=own, path=path)
    if comparison.type == "json":
        return sql.SQL("coalesce({}, 'null') = {}").format(own, expected)
    lists = [
        sql.SQL(_SAME_LIST).format(path=sql.SQL("{}::text[]").format(sql.Literal(list(at)))) for at in comparison.lists
    ]
    contains = sql.SQL("own @> e AND pg_catalog.jsonb_typeof(own) = pg_catalog.jsonb_typeof(e)").format()
    # The sub-select makes both values once.
    return sql.SQL("(SELECT {} FROM (SELECT coalesce({}, 'null') AS own, {} AS e OFFSET 0) AS pair)").format(
        sql.SQL(" AND ").join([contains, *lists]), own, expected
    )


def value_text(column: Column, found: sql.Composable, kind: str) -> sql.Composable:
    """SQL for a value as text; of JSON that is held against one value, that value."""
    if column.type in _JSONS and kind not in _OF_JSON:
        return sql.SQL("(({} #>> '{{}}') COLLATE \"C\")").format(found)
    text = "pg_catalog.encode({}, 'escape')" if column.type == "bytea" else "{}::text"
    return sql.SQL(f'({text} COLLATE "C")').format(found)


def _as_jsonb(column: Column, found: sql.Composable) -> sql.Composable:
    """SQL for a value as jsonb; NULL for a text that is no JSON, or none that PostgreSQL can hold."""
    if column.type == "jsonb":
        return found
    if column.type in _TEXTS:
        valid = "CASE WHEN pg_catalog.pg_input_is_valid({0}::text, 'jsonb') THEN {0}::text::jsonb END"
        return sql.SQL(valid).format(found)
    if column.type == "json":
        sound = sql.SQL(SOUND_JSON).format(column=found)
        return sql.SQL("CASE WHEN {} THEN {}::jsonb END").format(sound, found)
    return sql.SQL("pg_catalog.to_jsonb({})").format(found)
