"""``rig clean``: the rows of a run go, all others stay byte by byte, and where the database refuses nothing goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from rig.cli.main import cli
from rig.errors import ConfigError, UsageError
from rig.evidence.pack import Pack
from rig.model import RequestClass, RunKey, Share, Tenant
from rig.profile import Profile
from rig.requests.targeter import Targeter
from rig.run.job import Job
from rig.run.record import Record
from rig.settings import Settings
from rig.target.postgres import Cluster, Database
from rig.target.store import existing_store
from rig.target.tenants import derive_id
from rig.truth.reconcile import Baseline
from rig.verbs.clean import Cleaning, clean
from tests.truth.world import SALES, SCHEMA, TENANTS, World, profile, scenario

MIXED = (Share(RequestClass.VALID, 6), Share(RequestClass.MALFORMED, 4))


def doors(database: Database) -> dict[str, str]:
    return {"RIG_TRUTH_DSN": database.admin_dsn, "RIG_RUNTIME_DSN": database.runtime_dsn}


def pack_of(world: World, folder: Path, tenants: tuple[Tenant, ...] = TENANTS, **facts: Any) -> Record:
    """The open pack of the world's run."""
    job = Job("ladder", (), Settings(out=folder), world.profile, folder)
    record = Record.begin(
        job,
        world.targeter.run,
        0,
        {"database": facts or dict(existing_store(world.profile, doors(world.database)).facts)},
    )
    record.amend(tenants=tenants)
    record.keep_baseline(world.baseline)
    for outcomes in world.scenario_runs:
        record.announce(outcomes.scenario, 1)
    record.pack.let_go()
    return record


def dump(world: World) -> dict[str, list[str]]:
    """Every row of every table, as text, with its place on disk."""
    tables = world.connection.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p')", [SCHEMA]
    ).fetchall()
    return {
        name: sorted(
            str(row)
            for row in world.connection.execute(
                sql.SQL("SELECT ctid, xmin, t::text FROM {} t").format(sql.Identifier(SCHEMA, name))
            )
        )
        for (name,) in tables
    }


def counts(cleaning: Cleaning) -> dict[tuple[str, str], int]:
    return {(each.table, each.tenant): each.rows for each in cleaning.leftovers.removable}


def strangers(world: World) -> None:
    """Rows of others in all tables, with keys that look like the run's."""
    for expected in world.expect():
        near = expected.key[:-1] + ("0" if expected.key[-1] != "0" else "1")
        for key in (near, expected.key.upper(), expected.key + "x", " " + expected.key, expected.key[:20]):
            world.keep(expected, **{"dedup%key": key, "trace": key})
            world.bury(expected, key=key, trace=expected.correlation[:-1])
        world.keep(expected, **{"shop id": "somebody", "dedup%key": near, "trace": None})
    world.bury(expected, key=None, trace=None)
    world.execute("INSERT INTO vault.audit VALUES (1, {}, ARRAY[{}])", expected.key, expected.key)
    another = Targeter(world.profile, RunKey(7, "run-2", 1_700_000_000)).bind(scenario("S2"))
    for seq in range(5):
        world.keep(another.expect(seq))


@pytest.fixture
def settled(world: World) -> World:
    """A run with rows, and no strangers."""
    world.run_scenario(scenario("S6", *MIXED, tenants=("A", "B")))
    return world


def test_the_rows_of_a_stranger_with_similar_keys_stay_byte_by_byte(settled: World, tmp_path: Path) -> None:
    strangers(settled)
    before = dump(settled)
    settled.settle()
    record, environ = pack_of(settled, tmp_path), doors(settled.database)
    after_run = dump(settled)
    shown = clean(record.path, environ)
    assert dump(settled) == after_run, "showing changes nothing"
    assert not shown.removed
    assert sum(counts(shown).values()) == 10
    removed = clean(record.path, environ, remove=True)
    assert removed.removed
    assert counts(removed) == counts(shown)
    assert dump(settled) == before
    again = clean(record.path, environ, remove=True)
    assert not again.removed
    assert again.leftovers.rows == ()


def test_a_row_of_the_run_goes_wherever_the_target_put_it(settled: World, tmp_path: Path) -> None:
    """Under another tenant, twice, and as a dead letter that should have been an event."""
    before = dump(settled)
    expected = settled.expect()[0]
    settled.keep(expected, **{"shop id": "somebody"})
    settled.keep(expected)
    settled.keep(expected)
    settled.bury(expected)
    record = pack_of(settled, tmp_path)
    cleaning = clean(record.path, doors(settled.database), remove=True)
    assert counts(cleaning)[f"{SCHEMA}.{SALES}", "somebody"] == 1
    assert sum(counts(cleaning).values()) == 4
    assert dump(settled) == before


def test_an_older_row_that_the_run_changed_stays_and_is_named(settled: World, tmp_path: Path) -> None:
    expected = settled.expect()[0]
    settled.keep(expected, **{"dedup%key": "theirs"})
    before = dump(settled)
    cleaning = clean(pack_of(settled, tmp_path).path, doors(settled.database), remove=True)
    assert dump(settled) == before
    (left,) = cleaning.leftovers.by_hand
    assert left.first_keys == ("theirs",)
    assert "may be older rows that the run changed" in left.by_hand
    assert "'theirs'" in cleaning.list_keys()


@pytest.mark.parametrize("path", ["inner.dedup", "inner.trace"])
def test_dead_letters_are_found_by_what_their_payload_says(
    make_world: Callable[[Profile], World], tmp_path: Path, path: str
) -> None:
    world = make_world(profile("payload-key" if "dedup" in path else "payload-correlation", path=path))
    world.run_scenario(scenario("S3", Share(RequestClass.MALFORMED, 4)))
    world.bury(world.expect()[0], raw="no JSON at all")
    before = dump(world)
    world.settle()
    cleaning = clean(pack_of(world, tmp_path).path, doors(world.database), remove=True)
    assert sum(counts(cleaning).values()) == 4
    assert dump(world) == before
    (left,) = cleaning.leftovers.by_hand
    assert left.rows == 1
    assert "they name no request" in left.by_hand


def made_by_run(world: World) -> tuple[Tenant, ...]:
    """The tenants of the world under the ids that the rig gives."""
    return tuple(Tenant(tenant.name, derive_id(world.targeter.run, tenant.name)) for tenant in TENANTS)


def test_letters_without_a_name_go_with_a_tenant_that_the_run_made_and_else_stay(
    make_world: Callable[[Profile], World], tmp_path: Path
) -> None:
    world = make_world(profile("count"))
    world.run_scenario(scenario("S3", Share(RequestClass.MALFORMED, 4)))
    expected = world.expect()[0]
    world.bury(expected)
    world.baseline = Baseline({}, {"ten'ant-a": 1})
    before = dump(world)
    a, b = made_by_run(world)
    world.bury(expected, shop=a.id)
    world.bury(expected, shop=a.id)
    cleaning = clean(pack_of(world, tmp_path / "made", (a, b)).path, doors(world.database), remove=True)
    assert counts(cleaning) == {(f"{SCHEMA}.un.delivered", a.id): 2}
    assert dump(world) == before
    world.bury(expected)
    with_stranger = dump(world)
    cleaning = clean(pack_of(world, tmp_path / "fixed").path, doors(world.database), remove=True)
    assert dump(world) == with_stranger
    assert [each.rows for each in cleaning.leftovers.by_hand] == [1]


def with_accounts(world: World, **more: Any) -> World:
    """A table of tenants, which the profile names."""
    world.execute("CREATE TABLE vault.accounts (id text PRIMARY KEY, title text)")
    world.execute("INSERT INTO vault.accounts VALUES ('theirs', 'A')")
    document = world.profile.model_dump(mode="json", exclude_unset=True)
    document["tenants"] = {"provision_sql": "SELECT 1", "rows": ["accounts.id"]}
    world.profile = Profile.model_validate(document | more)
    return world


def test_tenants_that_the_run_made_go_and_others_of_the_same_name_stay(settled: World, tmp_path: Path) -> None:
    world = with_accounts(settled)
    before = dump(world)
    tenants = made_by_run(world)
    for tenant in tenants:
        world.execute("INSERT INTO vault.accounts VALUES ({}, {})", tenant.id, tenant.name)
    cleaning = clean(pack_of(world, tmp_path, tenants).path, doors(world.database), remove=True)
    assert counts(cleaning) == {(f"{SCHEMA}.accounts", tenant.id): 1 for tenant in tenants}
    assert cleaning.notes == ()
    assert dump(world) == before


def test_a_tenant_whose_id_the_service_gave_stays_and_is_named(settled: World, tmp_path: Path) -> None:
    """It may have been there before: a statement that returns an id need not have made it."""
    world = with_accounts(settled)
    before = dump(world)
    theirs = (Tenant("A", "theirs"), TENANTS[1])
    cleaning = clean(pack_of(world, tmp_path, theirs).path, doors(world.database), remove=True)
    assert dump(world) == before
    assert cleaning.notes == ("tenants that the run had made stay: A (theirs), B (tenant-b); remove them by hand",)


def shared() -> Profile:
    """Tables that no tenant column divides."""
    document = profile("count").model_dump(mode="json", exclude_unset=True)
    del document["tenants"], document["headers"]["tenant_key"]
    for table in ("canonical", "dead"):
        del document["truth"][table]["tenant"]
    document["routes"][0]["secret_env"] = "SECRET"
    return Profile.model_validate(document)


def test_in_a_table_that_others_write_to_only_keys_of_the_run_go(
    make_world: Callable[[Profile], World], tmp_path: Path
) -> None:
    world = make_world(shared())
    world.run_scenario(scenario("S6", *MIXED))
    strangers(world)
    before = dump(world)
    for expected in world.expect():
        world.keep(expected)
    nobody = (Tenant("A", ""),)
    cleaning = clean(pack_of(world, tmp_path, nobody).path, doors(world.database), remove=True)
    assert counts(cleaning) == {(f"{SCHEMA}.{SALES}", ""): 10}
    assert dump(world) == before
    (left,) = cleaning.leftovers.by_hand
    assert "they name no request" in left.by_hand


@pytest.mark.parametrize("kind", ["statement", "view"])
def test_what_cannot_be_deleted_from_is_named_with_its_keys(
    make_world: Callable[[Profile], World], tmp_path: Path, kind: str
) -> None:
    described = profile().model_dump(mode="json", exclude_unset=True)
    if kind == "statement":
        del described["truth"]["canonical"]["table"]
        described["truth"]["canonical"]["sql"] = 'SELECT * FROM "sales ""2024"" 100%s"'
    else:
        described["truth"]["canonical"]["table"] = "seen"
    world = make_world(profile())
    world.profile = Profile.model_validate(described)
    world.execute("CREATE VIEW vault.seen AS SELECT * FROM {sales}")
    world.run_scenario(scenario("S6", *MIXED))
    world.settle()
    before = dump(world)
    cleaning = clean(pack_of(world, tmp_path).path, doors(world.database), remove=True)
    assert dump(world)[SALES] == before[SALES]
    assert dump(world)["un.delivered"] == []
    (left,) = cleaning.leftovers.by_hand
    assert left.rows == 6
    listed = cleaning.list_keys()
    assert all(expected.key in listed for expected in world.expect()[:6])
    world.execute(listed.split("\n", 3)[3].replace("<table>", "{sales}").replace("<column>", "{dedup}"))
    assert clean(pack_of(world, tmp_path).path, doors(world.database)).leftovers.rows == ()


def test_partitions_are_cleaned_through_their_table(make_world: Callable[[Profile], World], tmp_path: Path) -> None:
    world = make_world(profile())
    world.execute("ALTER TABLE {sales} RENAME TO old")
    world.execute("CREATE TABLE {sales} (LIKE vault.old) PARTITION BY HASH ({dedup})")
    for number in range(2):
        world.execute(
            "CREATE TABLE vault.part" + str(number) + " PARTITION OF {sales} FOR VALUES WITH (MODULUS 2, REMAINDER "
            + str(number) + ")"
        )  # fmt: skip
    world.execute("ALTER TABLE {sales} ALTER id DROP NOT NULL")
    world.run_scenario(scenario("S6", *MIXED))
    strangers(world)
    before = dump(world)
    world.settle()
    clean(pack_of(world, tmp_path).path, doors(world.database), remove=True)
    assert dump(world) == before


def refer(world: World, action: str) -> None:
    """A table of others whose row refers to an event of the run, and one that refers to that."""
    world.execute("ALTER TABLE {sales} ADD PRIMARY KEY (id)")
    world.execute(f"CREATE TABLE vault.parcels (id int PRIMARY KEY, event bigint REFERENCES {{sales}} {action})")
    world.execute("CREATE TABLE vault.stamps (parcel int REFERENCES vault.parcels ON DELETE CASCADE)")
    world.execute("INSERT INTO vault.parcels SELECT 1, min(id) FROM {sales}; INSERT INTO vault.stamps VALUES (1)")


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_foreign_key_that_refuses_is_named_and_nothing_goes(settled: World, tmp_path: Path, action: str) -> None:
    settled.settle()
    refer(settled, action)
    before = dump(settled)
    record, environ = pack_of(settled, tmp_path), doors(settled.database)
    (referring,) = clean(record.path, environ).leftovers.referring
    assert (referring.constraint, referring.rows, referring.refuses) == ("parcels_event_fkey", 1, True)
    for cascade in (False, True):
        with pytest.raises(ConfigError, match=r"nothing was removed: 1 rows of vault\.parcels \(event\) by parcels_"):
            clean(record.path, environ, remove=True, cascade=cascade)
    assert dump(settled) == before


@pytest.mark.parametrize(
    ("action", "left"), [("ON DELETE CASCADE", []), ("ON DELETE SET NULL", ["(1,)"])], ids=["cascade", "null"]
)
def test_a_foreign_key_that_cascades_is_followed_only_where_that_was_said(
    settled: World, tmp_path: Path, action: str, left: list[str]
) -> None:
    settled.settle()
    refer(settled, action)
    before = dump(settled)
    record, environ = pack_of(settled, tmp_path), doors(settled.database)
    shown = clean(record.path, environ).leftovers.referring
    cascades = action == "ON DELETE CASCADE"
    assert [each.table for each in shown] == ["vault.parcels", "vault.stamps"][: 1 + cascades]
    with pytest.raises(ConfigError, match="give --cascade"):
        clean(record.path, environ, remove=True)
    assert dump(settled) == before
    assert clean(record.path, environ, remove=True, cascade=True).removed
    assert [row.split(", ")[-1] for row in dump(settled)["parcels"]] == (["'(1,)')"] if left else [])


@pytest.mark.parametrize(
    "body", ["RAISE EXCEPTION 'events are forever';", "RETURN NULL;"], ids=["raises", "keeps silently"]
)
def test_a_trigger_that_forbids_deletion_lets_nothing_go(settled: World, tmp_path: Path, body: str) -> None:
    settled.settle()
    settled.execute(
        f"CREATE FUNCTION vault.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        "CREATE TRIGGER keep BEFORE DELETE ON {sales} FOR EACH ROW EXECUTE FUNCTION vault.keep()"
    )
    before = dump(settled)
    said = "events are forever" if "RAISE" in body else "6 of 6 rows were kept by a trigger or a rule"
    with pytest.raises(ConfigError, match=said):
        clean(pack_of(settled, tmp_path, made_by_run(settled)).path, doors(settled.database), remove=True)
    assert dump(settled) == before


@pytest.fixture
def reader(settled: World) -> dict[str, str]:
    """The environment with a role that may read everything and delete nothing."""
    settled.settle()
    role = settled.database.runtime_dsn
    with psycopg.connect(role) as connection:
        ((name,),) = connection.execute("SELECT current_user").fetchall()
    settled.connection.execute(
        sql.SQL(
            "GRANT USAGE ON SCHEMA vault TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA vault TO {0}"
        ).format(sql.Identifier(name))
    )  # fmt: skip
    return {"RIG_TRUTH_DSN": role}


def test_a_role_without_delete_sees_what_is_left_and_removes_nothing(
    settled: World, reader: dict[str, str], tmp_path: Path
) -> None:
    record = pack_of(settled, tmp_path, source="RIG_TRUTH_DSN", name=settled.database.name)
    before = dump(settled)
    assert sum(counts(clean(record.path, reader)).values()) == 10
    with pytest.raises(ConfigError, match=r"nothing was removed: permission denied .* grant the role of \$RIG_TRUTH_D"):
        clean(record.path, reader, remove=True)
    assert dump(settled) == before


def test_row_level_security_that_hides_rows_is_an_error(settled: World, reader: dict[str, str], tmp_path: Path) -> None:
    settled.execute("ALTER TABLE {sales} ENABLE ROW LEVEL SECURITY")
    record = pack_of(settled, tmp_path, source="RIG_TRUTH_DSN", name=settled.database.name)
    with pytest.raises(ConfigError, match="row-level security hides rows of it"):
        clean(record.path, reader)


def test_a_pack_of_another_database_is_refused(settled: World, cluster: Cluster, tmp_path: Path) -> None:
    record = pack_of(settled, tmp_path)
    other = cluster.create_database("another_one")
    try:
        with pytest.raises(ConfigError, match="RIG_TRUTH_DSN names another database than the run's"):
            clean(record.path, doors(other), remove=True)
    finally:
        cluster.drop_database(other)
    with pytest.raises(ConfigError, match="RIG_TRUTH_DSN is not set"):
        clean(record.path, {})


def test_a_pack_of_a_database_that_the_rig_made_has_nothing_to_clean(settled: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the rig made this run's database \(embedded\), and it is gone"):
        clean(pack_of(settled, tmp_path, source="embedded").path, doors(settled.database), remove=True)


def test_a_pack_that_does_not_say_which_database_it_was_says_so(settled: World, tmp_path: Path) -> None:
    cleaning = clean(pack_of(settled, tmp_path, source="RIG_TRUTH_DSN").path, doors(settled.database))
    assert cleaning.notes[0].startswith("the pack does not say which database it was")


def test_a_run_that_still_goes_is_not_cleaned(settled: World, tmp_path: Path) -> None:
    record = pack_of(settled, tmp_path)
    record.pack.hold()
    with pytest.raises(UsageError, match="that run still goes"):
        clean(record.path, doors(settled.database), remove=True)


def test_a_finished_pack_is_cleaned_and_not_changed(
    settled: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled.settle()
    record = pack_of(settled, tmp_path)
    record.pack.hold()
    record.judge()
    pack = Pack.open(record.path)
    digest = pack.require_intact()
    for name, value in doors(settled.database).items():
        monkeypatch.setenv(name, value)
    said = []
    for words in ((), ("--json",), ("--yes",), ("--keys", str(tmp_path / "keys.sql"))):
        result = CliRunner().invoke(cli, ["clean", str(record.path), *words], standalone_mode=False)
        assert result.return_value == 0, result.exception
        assert result.stderr.startswith("target handmade, at http://127.0.0.1:9, profile of the pack ")
        said.append(result.stdout)
    assert f"to remove these 10 rows: rig clean {record.path} --yes" in said[0]
    assert sum(row["rows"] for row in json.loads(said[1])["rows"]) == 10
    assert said[2].endswith("10 rows were removed\n")
    assert said[3].endswith("nothing left\n")
    assert pack.require_intact() == digest
