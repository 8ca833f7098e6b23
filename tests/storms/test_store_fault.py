"""The faults of a fleet's store."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from rig.storms.unknown_kid.store_fault import _read_only
from rig.target.postgres import Database

_CAN_WRITE = "SELECT current_setting('transaction_read_only') = 'off'"


class Hasty(psycopg.Connection[Any]):
    """After each of its statements a verifier tries to connect."""

    dsn = ""
    verifiers: list[psycopg.Connection[Any]]

    def execute(self, *args: Any, **options: Any) -> psycopg.Cursor[Any]:
        done = super().execute(*args, **options)
        try:
            self.verifiers.append(psycopg.connect(self.dsn, autocommit=True))
        except psycopg.OperationalError as error:
            assert "not permitted to log in" in str(error)
        return done


def can_write(session: psycopg.Connection[Any]) -> bool:
    row = session.execute(_CAN_WRITE).fetchone()
    return row == (True,)


def test_a_store_that_takes_writes_again_ends_no_session_that_can_write(database: Database) -> None:
    with Hasty.connect(database.admin_dsn, autocommit=True) as admin:
        admin.dsn, admin.verifiers = database.runtime_dsn, []
        strike, heal = _read_only(admin, database.runtime_role)
        strike()
        struck = admin.verifiers[:]
        assert not any(can_write(session) for session in struck)
        heal()
        healed = admin.verifiers[len(struck) :]
    assert struck
    for session in struck:
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert healed
    for session in healed:
        assert can_write(session)
        session.close()
