"""What stops a run before anything is sent, each with its exit code and a message that names the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from rig.errors import ConfigError, EvidenceError, Unavailable
from rig.model import RequestClass, Share, Tenant
from rig.profile import Profile
from rig.truth.reader import TruthReader
from rig.truth.reconcile import Baseline
from tests.truth.world import SALES, SCHEMA, TENANTS, World, profile, scenario

SENT = [scenario("S6", Share(RequestClass.VALID, 3), Share(RequestClass.MALFORMED, 2))]


def check(world: World, runtime_dsn: str | None = None, dsn: str | None = None) -> Baseline:
    reader = TruthReader(world.profile, dsn or world.database.admin_dsn)
    return reader.preflight(world.targeter, SENT, TENANTS, runtime_dsn)


def changed(**truth: object) -> Profile:
    document = profile().model_dump()
    for key, value in truth.items():
        section, _, name = key.partition("_")
        if name:
            document["truth"][section][name] = value
        else:
            document["truth"][key] = value
    return Profile.model_validate(document)


def test_all_well(world: World) -> None:
    baseline = check(world, world.database.runtime_dsn)
    assert baseline.canonical == baseline.dead == {tenant.id: 0 for tenant in TENANTS}
    assert len(baseline.notes) == 2
    assert all("row-level security is not enabled" in note for note in baseline.notes)


def test_rows_that_exist_are_counted(world: World) -> None:
    world.scenario_runs.clear()
    world.run_scenario(scenario("S2"))
    world.settle()
    baseline = check(world)
    assert baseline.canonical == {TENANTS[0].id: 10, TENANTS[1].id: 0}


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"canonical_table": "nowhere"}, r"truth\.canonical\.table: .*no table 'nowhere' in vault; correct"),
        ({"dead_table": "vault.nowhere"}, r"truth\.dead\.table: .*'vault\.nowhere'"),
        ({"canonical_channel": "chanel"}, r"truth\.canonical\.channel: .*no column 'chanel'; it has: id, shop id"),
        (
            {"dead_table": SALES, "dead_column": "trace", "dead_tenant": "shop id"},
            r"is the table of truth\.canonical, too",
        ),
        ({"dead_column": "kee"}, r"truth\.dead\.column: .*'kee'"),
        ({"schemas": ("vault", "valt")}, r"truth\.schemas: .*no schema 'valt'"),
        ({"dead_match": "payload-key", "dead_path": "a.b", "dead_column": "blob"}, r"blob is of type bytea"),
    ],
)
def test_names_that_do_not_exist(
    make_world: Callable[[Profile], World], truth: dict[str, object], message: str
) -> None:
    world = make_world(changed(**truth))
    with pytest.raises(ConfigError, match=message):
        check(world)


def test_a_schema_may_stand_before_the_table(make_world: Callable[[Profile], World]) -> None:
    check(make_world(changed(dead_table=f"{SCHEMA}.un.delivered")))


def test_no_database(world: World) -> None:
    dsn = "postgresql://somebody:hush@127.0.0.1:1/nowhere"
    with pytest.raises(Unavailable, match="RIG_TRUTH_DSN cannot be reached") as caught:
        check(world, dsn=dsn)
    assert "hush" not in str(caught.value)
    with pytest.raises(Unavailable, match="RIG_RUNTIME_DSN cannot be reached"):
        check(world, runtime_dsn=dsn)


@pytest.mark.parametrize("garbage", ["not a dsn", "postgresql://["])
def test_a_dsn_that_is_none(world: World, garbage: str) -> None:
    with pytest.raises(ConfigError, match="RIG_TRUTH_DSN"):
        check(world, dsn=garbage)
    with pytest.raises(ConfigError, match="RIG_RUNTIME_DSN"):
        check(world, runtime_dsn=garbage)


def test_the_same_role_twice(world: World) -> None:
    world.execute("ALTER TABLE {letters} ENABLE ROW LEVEL SECURITY")
    with pytest.raises(ConfigError, match="RIG_RUNTIME_DSN and \\$RIG_TRUTH_DSN are the same role"):
        check(world, runtime_dsn=world.database.admin_dsn)


def test_a_target_that_may_see_everything(world: World) -> None:
    world.execute("ALTER TABLE {sales} ENABLE ROW LEVEL SECURITY")
    with altered(world, "BYPASSRLS", "NOBYPASSRLS"), pytest.raises(ConfigError, match="superuser or has BYPASSRLS"):
        check(world, runtime_dsn=world.database.runtime_dsn)


def test_one_role_is_enough_where_there_is_nothing_to_bypass(world: World) -> None:
    baseline = check(world, runtime_dsn=world.database.admin_dsn)
    assert "both DSNs are of the role" in baseline.notes[-1]
    assert "nothing to bypass" in baseline.notes[-1]


def test_a_view_is_as_secured_as_the_table_behind_it(make_world: Callable[[Profile], World]) -> None:
    world = make_world(changed(canonical_table="sold"))
    world.execute("CREATE VIEW vault.sold AS SELECT * FROM {sales}")
    world.execute("ALTER TABLE {sales} ENABLE ROW LEVEL SECURITY")
    with pytest.raises(ConfigError, match="are the same role"):
        check(world, runtime_dsn=world.database.admin_dsn)


def test_a_target_that_owns_its_tables(world: World) -> None:
    world.execute("ALTER TABLE {sales} ENABLE ROW LEVEL SECURITY")
    world.execute("GRANT ALL ON SCHEMA vault TO {}", sql.Identifier(world.database.runtime_role))
    world.execute("ALTER TABLE {sales} OWNER TO {}", sql.Identifier(world.database.runtime_role))
    with pytest.raises(ConfigError, match="FORCE ROW LEVEL SECURITY"):
        check(world, runtime_dsn=world.database.runtime_dsn)
    world.execute("ALTER TABLE {sales} FORCE ROW LEVEL SECURITY")
    check(world, runtime_dsn=world.database.runtime_dsn)


def test_truth_that_row_level_security_hides(world: World) -> None:
    role = sql.Identifier(world.database.runtime_role)
    with pytest.raises(ConfigError, match=r"may not read vault\..*grant it SELECT"):
        check(world, dsn=world.database.runtime_dsn)
    world.execute("GRANT USAGE ON SCHEMA vault TO {}", role)
    world.execute("GRANT SELECT ON ALL TABLES IN SCHEMA vault TO {}", role)
    check(world, dsn=world.database.runtime_dsn)
    world.execute("ALTER TABLE {letters} ENABLE ROW LEVEL SECURITY")
    with pytest.raises(ConfigError, match=r"hides rows of vault\.un\.delivered"):
        check(world, dsn=world.database.runtime_dsn)


@pytest.mark.parametrize("kind", [RequestClass.VALID, RequestClass.MALFORMED])
def test_a_key_that_exists_already(world: World, kind: RequestClass) -> None:
    world.run_scenario(SENT[0])
    victim = next(expected for expected in world.expect() if expected.request_class is kind)
    (world.keep if kind is RequestClass.VALID else world.bury)(victim)
    with pytest.raises(EvidenceError, match=rf"already holds {victim.key}.*'run-1' was used before"):
        check(world)


@pytest.mark.parametrize(
    ("kind", "own", "spelt", "says"),
    [
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
         "of type uuid, spells 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'; give it as that column prints it"),
        ("bigint", "7", "007", "of type bigint, spells '7'"),
        ("bigint", "7", "seven", "of type bigint: invalid input syntax for type bigint"),
        ("bigint", "7", "9" * 30, "out of range"),
        ("varchar(3)", "abc", "abcd", "of type character varying(3), spells 'abc'"),
        ('vault."a; %s"', "7", "-7", 'of type vault."a; %s": value for domain'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", ["sales", "letters"])
def test_a_tenant_whose_id_is_spelt_otherwise(
    world: World, table: str, kind: str, own: str, spelt: str, says: str
) -> None:
    """No row would be found under it: each would be another tenant's."""
    world.execute('CREATE DOMAIN vault."a; %s" AS bigint CHECK (value > 0)')
    name, column = {"sales": ("{sales}", '"shop id"'), "letters": ("{letters}", "shop")}[table]
    world.execute(f"ALTER TABLE {name} ALTER {column} TYPE {kind} USING NULL::{kind}")
    with pytest.raises(ConfigError) as refused:
        world.reader.preflight(world.targeter, SENT, [Tenant("B", spelt)], None)
    assert f"tenant B has the id {spelt!r}" in str(refused.value)
    assert says in str(refused.value)
    world.reader.preflight(world.targeter, SENT, [Tenant("B", own)], None)


@pytest.mark.parametrize(
    ("column", "kind", "says"),
    [
        (
            "{sales} ALTER {dedup}",
            "varchar(10)",
            "truth.canonical.key: .*, of type character varying(10), cannot hold a key",
        ),
        ("{sales} ALTER {dedup}", "char(35)", "like ........-....-5...-....-............ (36 characters): "),
        ("{sales} ALTER {dedup}", "numeric(5)", "invalid input syntax for type numeric"),
        (
            "{sales} ALTER {dedup}",
            "vault.short",
            'value for domain vault.short violates check constraint "short_check"',
        ),
        ("{sales} ALTER {dedup}", "vault.mood", "invalid input value for enum vault.mood"),
        ("{sales} ALTER trace", "varchar(8)", "truth.canonical.correlation: .*cannot hold a correlation id of the run"),
        ("{letters} ALTER key", "jsonb", "truth.dead.column: vault.un.delivered.key, of type jsonb, cannot hold a key"),
    ],
)
def test_a_column_that_cannot_hold_what_is_sent(world: World, column: str, kind: str, says: str) -> None:
    """Each event would be called lost, and the target blamed."""
    world.execute("CREATE DOMAIN vault.short AS text CHECK (length(value) < 20); CREATE TYPE vault.mood AS ENUM ('a')")
    world.execute(f"ALTER TABLE {column} TYPE {kind} USING NULL::{kind}")
    pattern = ".*".join(re.escape(part).replace("\\.", ".") for part in says.split(".*"))
    with pytest.raises(ConfigError, match=f"profile key .*{pattern}.*widen the column"):
        check(world)
    world.reader.preflight(world.targeter, SENT, TENANTS, None, keys_must_fit=False)


def test_columns_of_tenants_that_are_not_there(world: World) -> None:
    """Else `rig clean` would find out, once the rows are there."""
    tenants = {"provision_sql": "SELECT 1", "rows": ["audit.tenant_id"]}
    own = Profile.model_validate({**world.profile.model_dump(mode="json"), "tenants": tenants})
    with pytest.raises(ConfigError, match=r"profile key tenants\.rows: .*audit has no column 'tenant_id'"):
        TruthReader(own, world.database.admin_dsn).preflight(world.targeter, SENT, TENANTS, None)


@contextmanager
def altered(world: World, attribute: str, back: str) -> Iterator[None]:
    """The target's role with another attribute, for a while."""
    statement = sql.SQL("ALTER ROLE {} {}")
    role = sql.Identifier(world.database.runtime_role)
    with psycopg.connect(world.database.admin_dsn, autocommit=True) as connection:
        connection.execute(statement.format(role, sql.SQL(attribute)))
        try:
            yield
        finally:
            connection.execute(statement.format(role, sql.SQL(back)))
