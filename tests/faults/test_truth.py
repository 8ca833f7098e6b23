"""Faults while the truth is read: the connection lost in the middle, the database gone. `rig settle` finishes later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rig.errors import ExitCode
from rig.target.postgres import Database
from tests.cli.commands import Ended, only_pack, rig
from tests.faults.server import Server, doors
from tests.faults.striking import Aftermath, Struck, Workshop

_RUN = ("ladder", "--only", "S2", "--steps", "50")
_READING = "reading the truth"
_THROW_OUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'rig-truth' AND wait_event_type = 'Lock'"""


@contextmanager
def _busy(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """An open transaction: while it stands the database is not quiet, and the truth not read."""
    connection = psycopg.connect(database.admin_dsn)
    try:
        connection.execute("SELECT")
        yield connection
    finally:
        connection.close()


def _waits_for_settling(after: Aftermath) -> None:
    after.told(ExitCode.INVALID, "INVALID")
    assert not after.sealed
    assert "rig settle" in after.err
    assert after.verdict("S2.rows") == "INVALID"
    assert after.verdict("S2.answers") == "PASS"


def _settled(workshop: Workshop, after: Aftermath, database: Database) -> tuple[Ended, dict[str, str]]:
    """`rig settle` finishes the pack; its exit and the verdict on each gate."""
    ended = rig("settle", str(after.pack), "--json", env=doors(database))
    pack: Path = only_pack(workshop.results)
    assert not pack.name.endswith(".partial"), ended.err
    return ended, {gate["id"]: gate["verdict"] for gate in ended.document()["gates"]}


@pytest.mark.full
def test_a_connection_lost_while_truth_is_read(workshop: Workshop, database: Database) -> None:
    """A lock holds the reader until it is thrown out."""
    with _busy(database) as connection:
        struck = Struck(workshop, *_RUN, env=doors(database))
        struck.until_stage(_READING)
        connection.execute("LOCK TABLE attribution_events IN ACCESS EXCLUSIVE MODE")
        connection.execute("SET LOCAL application_name = 'rig-sampler'")  # one whom quiet does not wait for

        with psycopg.connect(database.admin_dsn, autocommit=True, application_name="rig-sampler") as watcher:
            struck.until(lambda: bool(watcher.execute(_THROW_OUT).fetchall()))
        connection.rollback()  # its other connection may wait here too
        after = struck.aftermath()
    _waits_for_settling(after)
    ended, gates = _settled(workshop, after, database)
    assert ended.code == ExitCode.PASS, ended.err
    assert gates["S2.rows"] == "PASS"


@pytest.mark.full
def test_a_database_that_is_gone_when_truth_is_to_be_read(
    workshop: Workshop, server: Server, users_database: Database
) -> None:
    workshop.quiet_within(2)
    with _busy(users_database):
        struck = Struck(workshop, *_RUN, env=doors(users_database))
        struck.until_stage(_READING)
        server.kill()
        try:
            after = struck.aftermath()
        finally:
            server.start()
    _waits_for_settling(after)
    ended, gates = _settled(workshop, after, users_database)
    # Nobody could look whether the target's connections were gone, and nobody can now.
    assert ended.code == ExitCode.INVALID, ended.err
    assert gates["hygiene"] == "INVALID"
    assert gates["S2.rows"] == "PASS"
