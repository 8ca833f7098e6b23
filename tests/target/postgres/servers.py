"""What the tests of servers share."""

from __future__ import annotations

import os

import psycopg
import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
PATH_ONLY = {"PATH": os.environ.get("PATH", os.defpath)}


def scalar(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]
