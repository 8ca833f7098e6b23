"""Names of a profile reach SQL as quoted identifiers and values as literals: against a PostgreSQL, with the worst.

Schema, tables, columns, JSON path, tenant, key: each is whatever somebody wrote. A table that the names try to drop is
still there afterwards, and truth is read as if the names were plain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from rig.model import Outcome, Pace, RequestClass, RunKey, Scenario, Share, Tenant
from rig.profile import Profile
from rig.profile.whole import PERSONAL_KEYS
from rig.requests.targeter import Targeter
from rig.target.postgres import Cluster, Database
from rig.truth.expected import RunOutcomes, SentRequests
from rig.truth.reader import TruthReader
from tests.fuzz.effort import few
from tests.fuzz.hostile import TEXTS
from tests.profiles import handmade

PRECIOUS = "tenants"
WORST = 'x"; drop table tenants; --'
LONGEST_BYTES = 63


def fits(name: str) -> bool:
    """Whether PostgreSQL takes it for a name without cutting it, and a row under it is no personal data by its key."""
    if name in PERSONAL_KEYS:
        return False
    return 0 < len(name.encode(errors="replace")) <= LONGEST_BYTES and "\x00" not in name and name.isprintable()


NAMES = (
    WORST,
    "'; DROP TABLE tenants; --",
    "%s",
    "%(x)s",
    "{}",
    "a.b",
    "\\",
    '"',
    "select",
    "Ünï 😀",
    "a\nb",
    "$1",
    "?",
)
names = st.sampled_from([*NAMES, *filter(fits, TEXTS)]) | st.text(min_size=1, max_size=15).filter(fits)


@pytest.fixture(scope="module")
def hostile_database(cluster: Cluster) -> Iterator[Database]:
    created = cluster.create_database("hostile")
    yield created
    cluster.drop_database(created)


def described(schema: str, table: str, column: str, match: str) -> Profile:
    dead: dict[str, Any] = {"table": f"{table}~", "tenant": "t", "match": match, "column": column}
    if match == "payload-key":
        dead |= {"column": "doc", "path": f"{column.replace('.', ' ')}.key"}
    canonical = {"table": table, "tenant": "t", "key": column, "channel": "c"}
    return handmade({"schemas": [schema], "quiesce_timeout_s": 5, "canonical": canonical, "dead": dead})


def truth_of(database: Database, schema: str, table: str, column: str, tenant: str, match: str) -> list[Any]:
    """Make the tables under these names, store what a perfect target would, read the truth; what is not clean in it."""
    profile = described(schema, table, column, match)
    targeter = Targeter(profile, RunKey(7, "run-1", 1_700_000_000))
    shares = (Share(RequestClass.VALID, 3), Share(RequestClass.MALFORMED, 2))
    scenario = Scenario("S6", "t", 5, "orders", ("A",), shares, Pace(1))
    tenants = (Tenant("A", tenant),)
    reader = TruthReader(profile, database.admin_dsn)
    targets = targeter.bind(scenario)
    place = {"schema": sql.Identifier(schema), "table": sql.Identifier(table), "dead": sql.Identifier(f"{table}~")}
    place["column"] = sql.Identifier(column)
    path = column.replace(".", " ")
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS public.{PRECIOUS} (id int)")
        for statement in (
            "DROP SCHEMA IF EXISTS {schema} CASCADE",
            "CREATE SCHEMA {schema}",
            "CREATE TABLE {schema}.{table} (t text, c text, {column} text)",
            "CREATE TABLE {schema}.{dead} (t text, {column} text, doc jsonb)",
        ):
            connection.execute(sql.SQL(statement).format(**place))
        baseline = reader.preflight(targeter, [scenario], tenants, None)
        for seq in range(scenario.count):
            expected = targets.expect(seq)
            key = sql.Literal(expected.key)
            if seq < 3:
                statement = "INSERT INTO {schema}.{table} (t, c, {column}) VALUES ({tenant}, 'direct', {key})"
            else:
                statement = "INSERT INTO {schema}.{dead} (t, {column}, doc) VALUES ({tenant}, {key}, {doc})"
            doc = sql.Literal(json.dumps({path: {"key": expected.key}}))
            connection.execute(sql.SQL(statement).format(**place, tenant=sql.Literal(tenant), key=key, doc=doc))
        codes = np.full(scenario.count, Outcome.ACKNOWLEDGED.code, dtype=np.uint8)
        report = reader.read(SentRequests(targeter, [RunOutcomes(scenario, codes)], tenants), baseline)
        connection.execute(sql.SQL("DROP SCHEMA {schema} CASCADE").format(**place))
        assert connection.execute("SELECT to_regclass(%s)::text", [f"public.{PRECIOUS}"]).fetchone() == (PRECIOUS,)
    assert report.keys_reconciled == scenario.count
    assert [total.observed for total in report.totals if total.observed] == [3, 2]
    return [*report.discrepancies, *report.canary_hits]


@pytest.mark.parametrize("match", ["key", "payload-key"])
def test_a_table_that_would_drop_another(hostile_database: Database, match: str) -> None:
    assert not truth_of(hostile_database, WORST, WORST, WORST, WORST, match)


@few(10)
@given(schema=names, table=names.filter(lambda name: len(name.encode()) < LONGEST_BYTES), column=names, tenant=names)
def test_names_are_only_names(hostile_database: Database, schema: str, table: str, column: str, tenant: str) -> None:
    taken = column in ("t", "c", "doc") or schema.startswith("pg_") or schema in ("public", "information_schema")
    if not taken:
        assert not truth_of(hostile_database, schema, table, column, tenant, "key")


@few(5)
@given(column=names)
def test_a_path_is_only_a_path(hostile_database: Database, column: str) -> None:
    if column not in ("t", "c", "doc"):
        assert not truth_of(hostile_database, "vault", "sales", column, "a", "payload-key")
