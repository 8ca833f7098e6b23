"""Breaks the database in which a fleet shares its keys: by a relay on the way, or by taking the right to write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from rig.evidence.key_case import StoreFault
from rig.machine import libpq
from rig.target.postgres import Database
from rig.target.relay import Relay

_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = %s AND pid <> pg_backend_pid() AND backend_start < %s"""


@dataclass(frozen=True, slots=True)
class StoreBreaker:
    """``strike`` and ``heal`` return when (monotonic ns) the fault began to hold, or ended."""

    strike: Callable[[], int]
    heal: Callable[[], int]


@contextmanager
def breakable_store(
    fault: StoreFault | None, database: Database, dsn: str
) -> Iterator[tuple[str, StoreBreaker | None]]:
    """The DSN for the fleet, and what breaks its store; None without a fault. It is whole when the context ends."""
    if fault is None:
        yield dsn, None
        return
    if fault is StoreFault.READ_ONLY:
        with psycopg.connect(database.admin_dsn, autocommit=True, application_name="rig-storm") as admin:
            strike, heal = _read_only(admin, database.runtime_role)
            try:
                yield dsn, StoreBreaker(strike, heal)
            finally:
                heal()
        return
    with Relay(_server_of(dsn)) as relay:
        breaking = relay.cut if fault is StoreFault.CUT else relay.hold
        yield libpq.at(dsn, relay.address), StoreBreaker(_timestamp(breaking), _timestamp(relay.heal))


def _server_of(dsn: str) -> tuple[str, int] | Path:
    server = conninfo_to_dict(dsn)
    host, port = str(server["host"]), int(str(server.get("port", 5432)))
    return Path(host, f".s.PGSQL.{port}") if host.startswith("/") else (host, port)


def _read_only(admin: psycopg.Connection, role: str) -> tuple[Callable[[], int], Callable[[], int]]:
    """The role's sessions end, and new ones cannot write; the same the other way round, as after a failover.

    Nobody can log in while that changes. So each session is known to be an old one or a new one, and only old ones
    end: a new one may have the lease already, and to end it would let a second process fetch beside it.
    """

    def change(act: str) -> int:
        name = sql.Identifier(role)
        admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
        now = admin.execute("SELECT clock_timestamp()").fetchone()
        assert now is not None
        admin.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(act)))
        admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(name))
        admin.execute(_END_SESSIONS, [role, *now])
        return time.monotonic_ns()

    setting = "default_transaction_read_only"
    return lambda: change(f"SET {setting} = on"), lambda: change(f"RESET {setting}")


def _timestamp(act: Callable[[], None]) -> Callable[[], int]:
    def stamp() -> int:
        act()
        return time.monotonic_ns()

    return stamp
