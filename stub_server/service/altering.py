"""Defects of the schema that store other content than was sent: a trigger before each insert into an event table.

The functions run with the rights of the tables' owner, which row-level security does not bind. Not for anything that a
real service should do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from stub_server.service.config import Config
from stub_server.service.switches import ServiceDefect

_ANOTHER: LiteralString = """
    SELECT * INTO another FROM {table} other
    WHERE other.{tenant_id} = NEW.{tenant_id} AND other.{idempotency_key} <> NEW.{idempotency_key} LIMIT 1;
    IF FOUND THEN
        NEW.{external_id} := another.{external_id}; NEW.{amount_minor} := another.{amount_minor};
        NEW.{occurred_at} := another.{occurred_at}; NEW.{payload} := another.{payload};
    END IF;
"""
_OF_CANONICAL: Mapping[ServiceDefect, LiteralString] = {
    ServiceDefect.CONTENT_OF_ANOTHER_EVENT: _ANOTHER,
    ServiceDefect.AMOUNT_ZERO: "NEW.{amount_minor} := 0;",
    ServiceDefect.AMOUNT_OFF_BY_ONE: "NEW.{amount_minor} := NEW.{amount_minor} + 1;",
    # As int(float(text) * 100) does.
    ServiceDefect.AMOUNT_FLOAT: "NEW.{amount_minor} := trunc((NEW.{amount_minor} / 100.0)::float8 * 100::float8);",
    ServiceDefect.AMOUNT_HUNDREDFOLD: "NEW.{amount_minor} := NEW.{amount_minor} * 100;",
    ServiceDefect.CURRENCY_WRONG: "NEW.{currency} := 'GBP';",
    ServiceDefect.TIME_1970: "NEW.{occurred_at} := to_timestamp(0);",
    ServiceDefect.TIME_OTHER_ZONE: "NEW.{occurred_at} := NEW.{occurred_at} + interval '2 hours';",
    ServiceDefect.TIME_DAYS: "NEW.{occurred_at} := date_trunc('day', NEW.{occurred_at});",
    # Of an hour that comes twice, local time keeps one.
    ServiceDefect.TIME_HOUR_LOST: (
        "NEW.{occurred_at} := NEW.{occurred_at} AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'Europe/Berlin';"
    ),
    ServiceDefect.LARGE_AMOUNTS_ROUNDED: (
        "IF NEW.{amount_minor} > 2::numeric ^ 53 THEN"
        " NEW.{amount_minor} := round(NEW.{amount_minor} / 100.0) * 100; END IF;"
    ),
    ServiceDefect.EXTERNAL_ID_CHANGED: "NEW.{external_id} := upper(NEW.{external_id});",
    ServiceDefect.CHANNEL_WRONG: "NEW.{channel} := 'tiktok_paid';",
    ServiceDefect.PAYLOAD_EMPTIED: "NEW.{payload} := jsonb_build_object();",
    ServiceDefect.PAYLOAD_TRUNCATED: "NEW.{payload} := to_jsonb(left(NEW.{payload}::text, 60));",
    ServiceDefect.PAYLOAD_KEYS_DROPPED: "NEW.{payload} := NEW.{payload} - 'created' - 'livemode';",
    ServiceDefect.PAYLOAD_NORMALISED: "NEW.{payload} := normalize(NEW.{payload}::text, NFD)::jsonb;",
    ServiceDefect.PAYLOAD_MANGLED: (
        "NEW.{payload} := convert_from(convert_to(NEW.{payload}::text, 'UTF8'), 'LATIN1')::jsonb;"
    ),
    ServiceDefect.REPLAY_OVERWRITES: """
        UPDATE {table} kept SET {amount_minor} = {amount_minor} + 1
        WHERE kept.{tenant_id} = NEW.{tenant_id} AND kept.{idempotency_key} = NEW.{idempotency_key};
    """,
}
_OF_DEAD: Mapping[ServiceDefect, LiteralString] = {
    ServiceDefect.DEAD_LETTER_EMPTIED: "NEW.{payload} := jsonb_build_object();",
}


def alter_rows(connection: psycopg.Connection, config: Config, defects: Collection[ServiceDefect]) -> None:
    """Make the triggers of these defects."""
    tables = config.tables
    for kinds, names in ((_OF_CANONICAL, tables.canonical.model_dump()), (_OF_DEAD, tables.dead.model_dump())):
        for defect in sorted(kinds.keys() & set(defects)):
            _alter_each(connection, config, dict(names), kinds[defect])


def _alter_each(connection: psycopg.Connection, config: Config, names: dict[str, str], change: LiteralString) -> None:
    schema = config.database.schema_name
    table = sql.Identifier(schema, names.pop("name"))
    parts = {place: sql.Identifier(name) for place, name in names.items()}
    body = sql.SQL("DECLARE another record; BEGIN {} RETURN NEW; END").format(
        sql.SQL(change).format(table=table, **parts)
    )
    function = sql.Identifier(schema, "alter_row")
    connection.execute(
        sql.SQL("CREATE OR REPLACE FUNCTION {} () RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}").format(
            function, sql.Literal(body.as_string(connection))
        )
    )
    connection.execute(
        sql.SQL("CREATE OR REPLACE TRIGGER alter_row BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {} ()").format(
            table, function
        )
    )
