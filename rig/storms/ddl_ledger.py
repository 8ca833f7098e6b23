"""A ledger of what happened to a database's schema: an event trigger notes every committed DDL command.

Each note has the backend that ran the command and, for a refresh, its beginning and end. A command that was rolled back
has no note. The notes lie in the schema ``rig_ledger`` of the storm's own database. Only a superuser can make an event
trigger; on a server of its own the rig is one.

Where it is asked to, every session passes a gate when it begins, and every DDL command another: locks that the rig can
hold (``LOGIN_GATE``, from PostgreSQL 17 on, and ``DDL_GATE``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from rig.errors import Unavailable

SCHEMA = "rig_ledger"
DDL_GATE = 0x51D_6A7E
LOGIN_GATE = 0x51D_6A7F
"""The advisory locks that a DDL command, or a session, asks for before it begins."""
LOGIN_SINCE = 170_000

_INSTALL: LiteralString = """
CREATE SCHEMA rig_ledger;
CREATE TABLE rig_ledger.ddl (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    tag text NOT NULL,
    object text NOT NULL,
    pid integer NOT NULL DEFAULT pg_backend_pid(),
    began timestamptz,
    ended timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION rig_ledger.note_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('rig_ledger.began', clock_timestamp()::text, true);
END $$;
CREATE FUNCTION rig_ledger.note_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO rig_ledger.ddl (tag, object, began)
    SELECT command_tag, coalesce(object_identity, ''),
           CASE WHEN tg_tag = 'REFRESH MATERIALIZED VIEW'
                THEN current_setting('rig_ledger.began', true)::timestamptz END
    FROM pg_event_trigger_ddl_commands()
    WHERE schema_name IS DISTINCT FROM 'pg_temp' AND schema_name IS DISTINCT FROM 'rig_ledger';
END $$;
CREATE EVENT TRIGGER rig_ledger_start ON ddl_command_start
    WHEN TAG IN ('REFRESH MATERIALIZED VIEW') EXECUTE FUNCTION rig_ledger.note_start();
CREATE EVENT TRIGGER rig_ledger_end ON ddl_command_end EXECUTE FUNCTION rig_ledger.note_end();
"""

# The lock timeout of whoever migrates is meant for other locks.
_GATE: LiteralString = """
CREATE FUNCTION rig_ledger.pass_{name}() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
BEGIN
    PERFORM pg_advisory_lock_shared({key});
    PERFORM pg_advisory_unlock_shared({key});
END $$;
CREATE EVENT TRIGGER rig_ledger_{name} ON {name} EXECUTE FUNCTION rig_ledger.pass_{name}();
"""


@dataclass(frozen=True, slots=True)
class Note:
    """One committed command on one object. ``began`` is None but for a refresh."""

    seq: int
    tag: str
    object: str
    pid: int
    began: datetime | None
    ended: datetime

    @property
    def length_ms(self) -> float:
        """From the beginning to the end of a refresh; 0 for any other command."""
        return round((self.ended - self.began).total_seconds() * 1e3, 1) if self.began else 0.0

    def row(self) -> Mapping[str, Any]:
        """For the pack."""
        return asdict(self)


def install(admin_dsn: str, *, gated: bool = False) -> None:
    """Begin to take notes in a database; Unavailable where the role may not make an event trigger."""
    try:
        with psycopg.connect(admin_dsn, application_name="rig-ledger", connect_timeout=10) as connection:
            connection.execute(_INSTALL)
            if gated:
                connection.execute(_GATE.format(name="ddl_command_start", key=DDL_GATE).encode())
            if gated and connection.info.server_version >= LOGIN_SINCE:
                connection.execute(_GATE.format(name="login", key=LOGIN_GATE).encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(
            f"the rig cannot make the event trigger that notes DDL commands: {str(error).splitlines()[0]}; "
            "set RIG_PG_DSN to the DSN of a superuser, or unset it: then the rig starts a server of its own"
        ) from None


def read_notes(admin_dsn: str) -> list[Note]:
    """All notes so far, in order."""
    with (
        psycopg.connect(admin_dsn, application_name="rig-ledger", connect_timeout=10) as connection,
        connection.cursor(row_factory=class_row(Note)) as cursor,
    ):
        return cursor.execute("SELECT seq, tag, object, pid, began, ended FROM rig_ledger.ddl ORDER BY seq").fetchall()
