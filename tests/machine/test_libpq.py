"""A DSN keeps its form, its secrets and its options when it is pointed at a relay."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from rig.machine.libpq import at, without

RELAY = ("127.0.0.1", 9)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:w%40rd@db.example:5433/shop?sslmode=require",
        "postgresql://app:w%40rd@/shop?host=db.example&port=5433&sslmode=require",
        "postgres://app:w%40rd@[::1]:5433/shop?sslmode=require",
        "host=db.example port=5433 user=app password=w@rd dbname=shop sslmode=require",
        "hostaddr=10.0.0.1 host=db.example user=app password=w@rd dbname=shop sslmode=require",
    ],
)
def test_a_dsn_at_another_address_is_otherwise_the_same(dsn: str) -> None:
    moved = at(dsn, RELAY)
    assert ("://" in moved) == ("://" in dsn)
    assert conninfo_to_dict(moved) == {
        "host": "127.0.0.1", "port": "9", "user": "app", "password": "w@rd", "dbname": "shop", "sslmode": "require"
    }  # fmt: skip


def test_a_program_of_the_rigs_own_server_hears_that_it_has_no_tls() -> None:
    mine = {"PGSSLMODE": "require", "PGHOST": "db.example", "LANG": "C"}
    assert without(mine) == {"LANG": "C"}
    assert without(mine, is_plain=True) == {"LANG": "C", "PGSSLMODE": "disable"}
