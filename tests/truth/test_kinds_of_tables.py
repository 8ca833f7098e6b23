"""Event tables of every kind that PostgreSQL has: read rightly, or refused with the remedy; nothing is called lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from rig.errors import ConfigError
from rig.evidence.truth import DiscrepancyKind
from rig.profile import Profile
from tests.truth.world import SALES, SCHEMA, World, profile, scenario

MakeWorld = Callable[[Profile], World]
COLUMNS = '"shop id" text NOT NULL, "dedup%key" {key} NOT NULL, trace text, medium text, doc jsonb'
REAL = "ALTER TABLE {sales} RENAME TO real; "
KINDS = {
    "view": REAL + 'CREATE VIEW {sales} AS SELECT "shop id", {dedup}, trace, medium, doc FROM vault.real',
    "view of views": REAL
    + "CREATE VIEW vault.inner AS SELECT * FROM vault.real WHERE true; "
    + 'CREATE VIEW {sales} AS SELECT "shop id", {dedup}, trace, medium, doc FROM vault.inner',
    "a view with a function that trusts the search path": REAL + "CREATE FUNCTION vault.has_rows() RETURNS boolean"
    " LANGUAGE plpgsql STABLE AS 'BEGIN RETURN EXISTS (SELECT FROM real); END'; CREATE VIEW {sales} AS"
    ' SELECT "shop id", {dedup}, trace, medium, doc, vault.has_rows() FROM vault.real',
    "partitioned by key": "DROP TABLE {sales}; CREATE TABLE {sales} (" + COLUMNS.format(key="text") + ") "
    "PARTITION BY HASH ({dedup}); CREATE TABLE vault.p0 PARTITION OF {sales} FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
    "CREATE TABLE vault.p1 PARTITION OF {sales} FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "partitions of partitions": "DROP TABLE {sales}; CREATE TABLE {sales} (" + COLUMNS.format(key="text") + ") "
    'PARTITION BY LIST ("shop id"); CREATE TABLE vault.p PARTITION OF {sales} DEFAULT PARTITION BY HASH ({dedup});'
    "CREATE TABLE vault.p0 PARTITION OF vault.p FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    "heirs": "CREATE TABLE vault.heir () INHERITS ({sales});"
    " CREATE FUNCTION vault.move() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN INSERT INTO vault.heir VALUES (NEW.*); RETURN NULL; END'; CREATE TRIGGER move BEFORE INSERT ON {sales}"
    " FOR EACH ROW EXECUTE FUNCTION vault.move()",
    "generated column": "ALTER TABLE {sales} ADD made text GENERATED ALWAYS AS ({dedup} || '') STORED",
    "domain": "CREATE DOMAIN vault.short AS text CHECK (length(VALUE) < 80);"
    " CREATE DOMAIN vault.key AS vault.short NOT NULL;"
    " ALTER TABLE {sales} ALTER {dedup} TYPE vault.key",
    "uuid": "ALTER TABLE {sales} ALTER {dedup} TYPE uuid USING NULL",
    "citext": "CREATE EXTENSION citext SCHEMA vault; ALTER TABLE {sales} ALTER {dedup} TYPE vault.citext",
    "char": "ALTER TABLE {sales} ALTER {dedup} TYPE char(90)",
    "bytea": "ALTER TABLE {sales} ALTER {dedup} TYPE bytea USING NULL",
    "a collation that ignores case": "CREATE COLLATION vault.ci (provider = icu, locale = 'und-u-ks-level2', "
    "deterministic = false); ALTER TABLE {sales} ALTER {dedup} TYPE text COLLATE vault.ci",
}


def described(key: str = "dedup%key", **truth: Any) -> Profile:
    document = profile().model_dump(exclude_unset=True)
    document["truth"]["canonical"]["key"] = key
    document["truth"] |= truth
    return Profile.model_validate(document)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_read_rightly_and_a_wrong_one_is_found(make_world: MakeWorld, kind: str) -> None:
    world = make_world(described("made" if kind == "generated column" else "dedup%key"))
    try:
        world.execute(KINDS[kind])
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        pytest.skip(f"this PostgreSQL has none: {error.diag.message_primary}")
    world.run_scenario(scenario("S2"))
    world.begin(runtime_dsn=world.database.runtime_dsn)
    world.settle()
    assert world.read().discrepancies == ()
    first, second = world.expect()[:2]
    world.execute("DELETE FROM {sales} WHERE {dedup}::text IN ({}, {})", first.key, f"\\x{first.key.encode().hex()}")
    world.keep(second)
    assert {key.kind for key in world.read().discrepancies} == {DiscrepancyKind.LOST, DiscrepancyKind.DUPLICATED}


# --- whose rows lie elsewhere ---

LOOPBACK = """
CREATE EXTENSION postgres_fdw SCHEMA vault;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host {host}, port {port}, dbname {name});
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere OPTIONS (user {user}, password {password});
CREATE FOREIGN TABLE {sales} ({columns}) SERVER elsewhere OPTIONS (schema_name 'vault', table_name 'real');
"""


@pytest.fixture
def abroad(make_world: MakeWorld) -> Iterator[Callable[..., World]]:
    """A world whose canonical table is a foreign one."""
    worlds = []

    def make(**truth: Any) -> World:
        worlds.append(world := make_world(described(**truth)))
        info = world.connection.info
        world.execute("ALTER TABLE {sales} RENAME TO real")
        named = {"host": info.host, "port": str(info.port), "name": info.dbname, "user": info.user}
        values = {name: sql.Literal(value) for name, value in {**named, "password": info.password}.items()}
        columns = sql.SQL(COLUMNS.format(key="text"))
        try:
            world.connection.execute(
                sql.SQL(LOOPBACK).format(sales=sql.Identifier(SCHEMA, SALES), columns=columns, **values)
            )
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this PostgreSQL has no postgres_fdw")
        return world

    yield make
    for world in worlds:
        world.execute("DROP EXTENSION IF EXISTS postgres_fdw CASCADE")


def require_tables(world: World) -> None:
    world.reader.require_tables(world.database.runtime_dsn)


def test_a_foreign_table_is_refused_unless_the_rows_are_waited_for(abroad: Callable[..., World]) -> None:
    world = abroad()
    with pytest.raises(
        ConfigError, match=r"is a foreign table: the database of \$RIG_TRUTH_DSN does not see who writes"
    ):
        require_tables(world)
    world.execute("ALTER FOREIGN TABLE {sales} RENAME TO far; CREATE VIEW {sales} AS SELECT * FROM vault.far")
    with pytest.raises(ConfigError, match=r"reads vault\.far, which is a foreign table.*truth\.arrival\.within_s"):
        require_tables(world)


def test_a_foreign_table_whose_rows_are_waited_for_is_read(abroad: Callable[..., World]) -> None:
    world = abroad(arrival={"within_s": 5})
    world.run_scenario(scenario("S2"))
    world.begin(runtime_dsn=world.database.runtime_dsn)
    world.settle()
    world.reader.require_arrival(world.sent)
    assert world.read().discrepancies == ()
    world.execute("DELETE FROM {sales} WHERE {dedup} = {}", world.expect()[0].key)
    assert [key.kind for key in world.read().discrepancies] == [DiscrepancyKind.LOST]


def test_a_file_and_a_materialised_view_are_refused(make_world: MakeWorld) -> None:
    world = make_world(described())
    world.execute(REAL + "CREATE MATERIALIZED VIEW {sales} AS SELECT * FROM vault.real")
    with pytest.raises(ConfigError, match=r"is a materialised view: rows are in it only after a REFRESH"):
        require_tables(world)
    world = make_world(described())
    try:
        world.execute("CREATE EXTENSION file_fdw SCHEMA vault; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL has no file_fdw")
    columns = COLUMNS.format(key="text")
    world.execute(
        "DROP TABLE {sales}; CREATE FOREIGN TABLE {sales} (" + columns + ") SERVER files OPTIONS (program 'true')"
    )
    with pytest.raises(ConfigError, match="is a foreign table"):
        require_tables(world)
