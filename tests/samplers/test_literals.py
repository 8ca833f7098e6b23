"""No literal of a query gets into the evidence, however it is written and wherever the server cut it off."""

from __future__ import annotations

import pytest

from rig.samplers.pg_queries import without_literals


@pytest.mark.parametrize(
    ("query", "bare"),
    [
        ("SELECT 1", "SELECT ?"),
        ("select * from t1 where a2 = $1 and b = 12.5e3", "select * from t1 where a2 = $1 and b = ?"),
        ("UPDATE t SET name = 'Kate O''Hara', x=2", "UPDATE t SET name = ?, x=?"),
        (r"SELECT E'it\'s kate', 'x'", "SELECT ?, ?"),
        ("SELECT $$kate$$, $q$ka$$te$q$ , a", "SELECT ?, ? , a"),
        ("SELECT a -- kate\nFROM t /* kate\n */ WHERE b", "SELECT a FROM t WHERE b"),
        # Cut off by track_activity_query_size.
        ("SELECT 'kate@exam", "SELECT ?"),
        ("SELECT $$kate@exam", "SELECT ?"),
        ("SELECT 1 /* kate", "SELECT ?"),
        ('SELECT "t 1"."c2"', 'SELECT "t ?"."c2"'),
        ("", ""),
    ],
)
def test_literals_and_comments_go(query: str, bare: str) -> None:
    assert without_literals(query) == bare


def test_a_long_query_is_cut() -> None:
    assert without_literals("SELECT " + "a, " * 200, most=20) == "SELECT a, a, a, a, …"
