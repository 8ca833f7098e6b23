"""A DSN keeps its form, its secrets and its options when it is pointed at a relay."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from rig.errors import ConfigError
from rig.machine.libpq import at, complete, without

RELAY = ("127.0.0.1", 9)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:w%40rd@db.example:5433/shop?sslmode=require",
        "postgresql://app:w%40rd@/shop?host=db.example&port=5433&sslmode=require",
        "postgres://app:w%40rd@[::1]:5433/shop?sslmode=require",
        "host=db.example port=5433 user=app password=w@rd dbname=shop sslmode=require",
        "postgresql://app@db.example:5433/shop?password=w@rd&sslmode=require",
        "hostaddr=10.0.0.1 host=db.example user=app password=w@rd dbname=shop sslmode=require",
    ],
)
def test_a_dsn_at_another_address_is_otherwise_the_same(dsn: str) -> None:
    moved = at(dsn, RELAY)
    assert ("://" in moved) == ("://" in dsn)
    assert conninfo_to_dict(moved) == {
        "host": "127.0.0.1", "port": "9", "user": "app", "password": "w@rd", "dbname": "shop", "sslmode": "require"
    }  # fmt: skip


def test_a_plus_in_a_dsn_is_no_space() -> None:
    assert conninfo_to_dict(at("postgresql://a@h/shop?password=a+b", RELAY))["password"] == "a+b"


def test_a_program_of_the_rigs_own_server_hears_that_it_has_no_tls() -> None:
    mine = {"PGSSLMODE": "require", "PGHOST": "db.example", "LANG": "C"}
    assert without(mine) == {"LANG": "C"}
    assert without(mine, is_plain=True) == {"LANG": "C", "PGSSLMODE": "disable"}


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:pass@hidden@127.0.0.1:1/shop",
        "postgresql://app:hidden/word@127.0.0.1/shop",
        "postgresql://app:hidden%zz@127.0.0.1/shop",
        "postgresql://app:hidden@127.0.0.1:0/shop",
        "postgresql://app:hidden@127.0.0.1,127.0.0.2:99999999/shop",
        "postgresql://app@127.0.0.1/shop?hidden=1",
        "host=a@hidden",
        "postgresql://app:hidden\udce9@127.0.0.1/shop",
        "mysql://app:hidden@127.0.0.1/shop",
        "hidden",
        "dbname=shop\nhidden",
    ],
)
def test_what_is_no_dsn_is_refused_and_none_of_it_repeated(dsn: str) -> None:
    """A resolver that is asked for ``hidden@127.0.0.1`` says so, and a part of the password with it."""
    with pytest.raises(ConfigError, match="SHOP_DSN holds no PostgreSQL DSN;") as refused:
        complete(dsn, "SHOP_DSN")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "dsn", ["", "host=a,b port=1,", "host=@abstract", "host=/run/postgresql port=5433", "postgresql://[::1]:5432,b/c"]
)
def test_wherever_servers_may_be(dsn: str) -> None:
    assert complete(dsn, "SHOP_DSN") == dsn
