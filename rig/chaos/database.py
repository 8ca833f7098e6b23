"""Faults of PostgreSQL: killed, restarted, sessions ended, slots taken, a table locked, read-only, its disk full."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

import psycopg
from psycopg import sql

from rig.chaos.disk import fill_disk, find_obstacle
from rig.chaos.fault import ChaosTarget, Fault, Struck
from rig.chaos.undo import DSN, STATEMENTS
from rig.errors import RigError
from rig.machine.child import python_module
from rig.target.postgres.connection import connect, find_relation, lift_timeouts

_MOST_SLOTS = 500
_TAKE_ALL_S = 5.0
_LOCK_TIMEOUT_MS = 3000
_OWN = "rig-chaos"
TABLE_LOCKED = "table-locked"

_SESSIONS = """
SELECT pid FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND backend_type = 'client backend' AND usename = coalesce({}, usename)
AND application_name NOT LIKE 'rig-%'"""
"""In a database that the rig made all sessions but its own are the service's, whatever role it connects with."""
_READ_ONLY = """
SELECT count(*) FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS set
WHERE setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
AND set LIKE 'default_transaction_read_only=%'"""


def _needs_own_server(target: ChaosTarget) -> str:
    return "" if target.store.control is not None else "the rig did not start this PostgreSQL"


def _unknown_sessions(target: ChaosTarget) -> str:
    if target.runtime_role or not target.store.lasting:
        return ""
    return f"nobody says which sessions are the service's (${target.profile.truth.runtime_dsn_env})"


def _no_slots(target: ChaosTarget) -> str:
    if why := _unknown_sessions(target):
        return why
    slots = int(target.store.facts.get("max_connections", 0))
    return f"{slots} slots are too many to take" if slots > _MOST_SLOTS else ""


def _no_table(target: ChaosTarget) -> str:
    return "" if target.profile.truth.canonical.table else "truth.canonical names a statement, and no table"


def _no_disk(target: ChaosTarget) -> str:
    if target.store.control is None:
        return "the rig did not start this PostgreSQL"
    return _no_table(target) or find_obstacle(target.store.control.data_dir)


def _own_setting(target: ChaosTarget) -> str:
    if why := _unknown_sessions(target):
        return why
    with _connect(target) as connection:
        is_set = connection.execute(_READ_ONLY.encode()).fetchone() != (0,)
    return "the database sets default_transaction_read_only itself" if is_set else ""


@contextmanager
def _kill(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    control = target.store.control
    assert control is not None
    struck = Struck(control.kill())
    try:
        yield struck
    finally:
        control.start()


@contextmanager
def _restart(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    control = target.store.control
    assert control is not None
    control.stop()
    try:
        yield Struck()
    finally:
        control.start()


@contextmanager
def _end_sessions(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    with _connect(target) as connection:
        ended = _terminate(connection, target)
    if not ended:
        raise RigError("the service had no session in the database")
    yield Struck(notes=[f"{ended} sessions"])


@contextmanager
def _take_slots(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    """Take all slots, then end the service's sessions, and take what they leave."""
    with ExitStack() as taken, _connect(target) as admin:
        count, deadline = 0, time.monotonic() + _TAKE_ALL_S
        while time.monotonic() < deadline:
            count += _fill_slots(target, taken)
            if not _terminate(admin, target):
                break
        yield Struck(notes=[f"{count} slots taken"])


def _fill_slots(target: ChaosTarget, taken: ExitStack) -> int:
    for count in range(_MOST_SLOTS):
        try:
            connection = psycopg.connect(
                target.store.runtime_dsn or "", autocommit=True, connect_timeout=5, application_name=_OWN
            )
        except psycopg.OperationalError:
            return count
        taken.callback(connection.close)
    return _MOST_SLOTS


@contextmanager
def _lock_table(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    """A transaction that does nothing but hold its lock: it ends with its connection, also when the rig is killed."""
    with _connect(target) as connection:
        table = _find_table(connection, target)
        with connection.transaction():
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
            yield Struck()


@contextmanager
def _fill_disk(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    with _connect(target) as connection, fill_disk(target, connection, _find_table(connection, target)) as struck:
        yield struck


def _find_table(connection: psycopg.Connection[Any], target: ChaosTarget) -> sql.Composable:
    """The table of events, on a connection that finds it and does not wait for its lock for long."""
    path = sql.SQL(", ").join(map(sql.Identifier, target.profile.truth.schemas))
    connection.execute(sql.SQL("SET search_path = {}").format(path))
    connection.execute(f"SET lock_timeout = {_LOCK_TIMEOUT_MS}".encode())
    return find_relation(connection, target.profile.truth.canonical.table or "")


@contextmanager
def _forbid_writes(target: ChaosTarget, chance: Random) -> Iterator[Struck]:
    """New sessions may not write; the old ones are ended, for others to take their place, and once more at the end."""
    with _connect(target) as connection:
        name = sql.Identifier(connection.info.dbname).as_string(connection)
        end = f"SELECT pg_catalog.pg_terminate_backend(pid) FROM ({_sessions(connection, target)}) AS sessions"
        undo = [
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
            end,
        ]
        environ = {DSN: target.store.truth_dsn, STATEMENTS: json.dumps(undo)}
        with target.supervisor.undone_at_end([*python_module("rig.chaos.undo"), "sql"], environ):
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
            _terminate(connection, target)
            yield Struck()


def _sessions(connection: psycopg.Connection[Any], target: ChaosTarget) -> str:
    role = target.runtime_role if target.store.lasting else None
    return sql.SQL(_SESSIONS).format(sql.Literal(role)).as_string(connection)


def _terminate(connection: psycopg.Connection[Any], target: ChaosTarget) -> int:
    """End the service's sessions and wait until they are gone; how many there were."""
    query = f"SELECT pg_catalog.pg_terminate_backend(pid, 1000) FROM ({_sessions(connection, target)}) AS sessions"
    return len(connection.execute(query.encode()).fetchall())


def _connect(target: ChaosTarget) -> psycopg.Connection[Any]:
    connection = connect(target.store.truth_dsn, _OWN, 5)
    lift_timeouts(connection)  # else the server would end a fault before its time
    return connection


DATABASE_FAULTS = (
    Fault(
        "database-killed",
        "PostgreSQL is killed (SIGKILL) and recovers",
        _needs_own_server,
        _kill,
        (0.1, 0.5),
        is_crash=True,
    ),
    Fault("database-restarted", "PostgreSQL is restarted fast", _needs_own_server, _restart, (0.1, 0.5)),
    Fault(
        "sessions-terminated", "the service's database sessions are ended", _unknown_sessions, _end_sessions, (0.1, 0.3)
    ),
    Fault("slots-taken", "the service's database sessions are ended, and no slot is free", _no_slots, _take_slots),
    Fault(TABLE_LOCKED, "the table of events is locked", _no_table, _lock_table, (0.5, 3.0)),
    Fault("read-only", "the database takes no writes", _own_setting, _forbid_writes),
    Fault("disk-full", "the disk with the table of events is full", _no_disk, _fill_disk, (0.5, 3.0)),
)
