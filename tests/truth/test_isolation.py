"""Isolation: the catalog and trials as the target's role, on a real server. Each weakness alone is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from rig.checks.isolation import check_isolation
from rig.evidence.case import Case
from rig.evidence.gate import Gate, Verdict
from rig.evidence.isolation import Durability, IsolationReport
from rig.model import Tenant
from rig.profile import Profile
from rig.target.postgres import Cluster, Database
from rig.truth.catalog import event_tables
from rig.truth.isolation import read_durability, read_isolation
from rig.truth.session import connect
from tests.checks.cases import case, driven, plan, truth
from tests.profiles import handmade

A, B = Tenant("A", "11111111-1111-4111-8111-111111111111"), Tenant("B", "22222222-2222-4222-8222-222222222222")
SETTING = "app.tenant"
OWN = f"tenant = NULLIF(current_setting('{SETTING}', true), '')::uuid"
TABLES = f"""
CREATE TABLE event (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant uuid NOT NULL, key text NOT NULL,
                    UNIQUE (tenant, key));
CREATE TABLE letter (id int GENERATED ALWAYS AS IDENTITY, tenant uuid NOT NULL, key text, CHECK (key <> ''));
ALTER TABLE event ENABLE ROW LEVEL SECURITY; ALTER TABLE event FORCE ROW LEVEL SECURITY;
ALTER TABLE letter ENABLE ROW LEVEL SECURITY; ALTER TABLE letter FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON event USING ({OWN}) WITH CHECK ({OWN});
CREATE POLICY own ON letter USING ({OWN}) WITH CHECK ({OWN});
"""
ROWS = f"""
INSERT INTO event (tenant, key) SELECT tenant, key::text FROM unnest('{{{A.id},{B.id}}}'::uuid[]) tenant,
    generate_series(1, 5) key;
INSERT INTO letter (tenant, key) VALUES ('{B.id}', 'k'), ('{A.id}', 'k');
"""


@dataclass
class Home:
    """A database with two event tables, whose role may do everything that row-level security allows."""

    database: Database
    owner: Connection[Any]

    def weaken(self, statements: str) -> None:
        """Change the schema; ``{role}`` is the target's role."""
        self.owner.execute(statements.replace("{role}", self.database.runtime_role).encode())

    def read(self, described: Profile, tenants: tuple[Tenant, ...] = (A, B)) -> IsolationReport:
        with connect(self.database.admin_dsn) as connection, connection.transaction():
            tables = event_tables(connection, described.truth)
            return read_isolation(connection, tables, self.database.runtime_dsn, SETTING, tenants)

    def judge(self, described: Profile | None = None, tenants: tuple[Tenant, ...] = (A, B)) -> Gate:
        return judged(self.read(described or profile(), tenants))


def profile(table: str = "event", dead: bool = True, **canonical: object) -> Profile:
    truth = {
        "canonical": {**({} if canonical else {"table": table}), "tenant": "tenant", "key": "key", **canonical},
        "dead": {"table": "letter", "tenant": "tenant", "match": "key", "column": "key"} if dead else None,
        "isolation": {"setting": SETTING},
    }
    return handmade(truth)


def judged(report: IsolationReport | None, *, promised: bool = True) -> Gate:
    own = case(driven(plan()), truth=truth(isolation=report, durability=Durability(1, (), {})))
    profile: dict[str, Any] = {"truth": {"isolation": {"setting": SETTING} if promised else None}}
    return check_isolation(Case(truth=own.truth, profile=profile))[0]


@pytest.fixture
def make_home(cluster: Cluster) -> Iterator[Callable[..., Home]]:
    homes = []

    def make(tables: str = TABLES, rows: str = ROWS) -> Home:
        database = cluster.create_database("isolation")
        owner = psycopg.connect(database.admin_dsn, autocommit=True)
        owner.execute((tables + rows).encode())
        homes.append(home := Home(database, owner))
        home.weaken("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        return home

    yield make
    for home in homes:
        home.owner.close()
        cluster.drop_database(home.database)


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home()


def count_rows(home: Home) -> list[tuple[int, int]]:
    query = "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM letter)"
    return home.owner.execute(query).fetchall()


def test_tables_that_are_protected_pass_and_no_trial_leaves_a_trace(home: Home) -> None:
    report = home.read(profile())
    gate = judged(report)
    assert gate.verdict is Verdict.PASS, gate.reason
    assert report.faults == ()
    assert {trial.table for trial in report.trials} == {"public.event", "public.letter"}
    assert len(report.trials) == 14
    assert not any(trial.untried for trial in report.trials)
    assert count_rows(home) == [(10, 2)]


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        ("ALTER TABLE letter DISABLE ROW LEVEL SECURITY", "row-level security is off on public.letter"),
        ("ALTER TABLE letter NO FORCE ROW LEVEL SECURITY", "row-level security is not forced on public.letter"),
        ("CREATE POLICY all_rows ON event USING (true)", "policy all_rows for SELECT lets every row"),
        ("CREATE POLICY all_rows ON event USING (true)", "public.event: rows of another tenant are visible (5)"),
        ("CREATE POLICY p ON event FOR SELECT USING ((true))", "policy p for SELECT lets every row"),
        ("CREATE POLICY p ON event FOR INSERT WITH CHECK (true)", "a row can be inserted for another tenant (1)"),
        ("CREATE POLICY p ON event FOR DELETE USING (true)", "policy p for DELETE lets every row"),
        ("CREATE POLICY p ON event USING (1 = 1)", "rows of another tenant are visible (5)"),
        ("CREATE POLICY p ON event USING (id > 0)", "rows are visible without a setting (10)"),
        (
            f"CREATE POLICY p ON event USING (coalesce(current_setting('{SETTING}', true), '') = '')",
            "rows are visible without a setting (10)",
        ),
        (
            f"DROP POLICY own ON event; CREATE POLICY own ON event USING ({OWN}) WITH CHECK (tenant IS NOT NULL)",
            "a row can be inserted for another tenant (1)",
        ),
        ("ALTER TABLE letter OWNER TO {role}", "owns public.letter"),
        ("ALTER ROLE {role} BYPASSRLS", "has BYPASSRLS"),
        ("ALTER ROLE {role} SUPERUSER", "is a superuser"),
        (
            "CREATE ROLE {role}_o; GRANT {role}_o TO {role}; ALTER TABLE letter OWNER TO {role}_o",
            "or may become its owner",
        ),
        ("CREATE ROLE {role}_b BYPASSRLS; GRANT {role}_b TO {role}", "_b', which has BYPASSRLS"),
    ],
)
def test_each_weakness_alone_fails_and_is_named(home: Home, statements: str, named: str) -> None:
    home.weaken(statements)
    gate = home.judge()
    assert gate.verdict is Verdict.FAIL
    assert named in " ".join(gate.figures["faults"])
    assert count_rows(home) == [(10, 2)]
    home.weaken("REASSIGN OWNED BY {role} TO CURRENT_USER")
    for ending in ("_o", "_b"):
        home.weaken(
            f"DO $$ BEGIN REASSIGN OWNED BY {{role}}{ending} TO CURRENT_USER; DROP OWNED BY {{role}}{ending};"
            f" DROP ROLE {{role}}{ending}; EXCEPTION WHEN undefined_object THEN NULL; END $$"
        )


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param("CREATE POLICY p ON event TO pg_monitor USING (true)", id="a policy of another role"),
        pytest.param("CREATE POLICY p ON event AS RESTRICTIVE USING (true)", id="a restrictive policy"),
        pytest.param("REVOKE UPDATE, DELETE ON event, letter FROM {role}", id="a role that only inserts"),
        pytest.param("REVOKE ALL ON event, letter FROM {role}", id="a role that only calls functions"),
        pytest.param(
            "CREATE POLICY p ON event FOR DELETE USING (true); REVOKE DELETE ON event FROM {role}",
            id="a policy for what it may not do",
        ),
        pytest.param(
            f"DROP POLICY own ON event; CREATE POLICY own ON event USING (tenant = current_setting('{SETTING}')::uuid)",
            id="a policy that ends in an error without the setting",
        ),
    ],
)
def test_what_is_no_weakness_passes(home: Home, statements: str) -> None:
    home.weaken(statements)
    gate = home.judge()
    assert gate.verdict is Verdict.PASS, gate.reason


def test_partitions_that_the_role_reaches_only_through_their_parent_need_nothing(
    make_home: Callable[..., Home],
) -> None:
    tables = TABLES.replace("UNIQUE (tenant, key));", "UNIQUE (tenant, key, id)) PARTITION BY HASH (key);", 1).replace(
        "int GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "int DEFAULT 1", 1
    )
    tables += "CREATE TABLE event_0 PARTITION OF event FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
    home = make_home(tables)
    home.weaken("REVOKE ALL ON event_0 FROM {role}")
    assert home.judge().verdict is Verdict.PASS
    home.weaken("GRANT SELECT ON event_0 TO {role}")
    gate = home.judge()
    assert gate.verdict is Verdict.FAIL
    assert "row-level security is off on public.event_0" in gate.reason


def test_a_view_with_the_rights_of_one_who_sees_everything_fails_where_the_role_may_read_it(home: Home) -> None:
    home.weaken("CREATE VIEW seen AS SELECT * FROM event; REVOKE ALL ON seen FROM {role}")
    assert home.judge(profile("seen")).verdict is Verdict.PASS
    home.weaken("GRANT SELECT ON seen TO {role}")
    gate = home.judge(profile("seen"))
    assert gate.verdict is Verdict.FAIL
    assert "with whose rights the view public.seen reads" in gate.reason
    home.weaken("ALTER VIEW seen SET (security_invoker = true)")
    assert home.judge(profile("seen")).verdict is Verdict.PASS


def test_a_statement_is_tried_as_the_role_and_tables_that_it_looks_things_up_in_need_no_policy(home: Home) -> None:
    home.weaken("CREATE TABLE name (key text, said text); GRANT SELECT ON name TO {role}")
    statement = "SELECT event.*, said FROM event LEFT JOIN name USING (key)"
    assert home.judge(profile(sql=statement, dead=False)).verdict is Verdict.PASS
    home.weaken("CREATE POLICY p ON event FOR SELECT USING (id > 0)")
    assert home.judge(profile(sql=statement, dead=False)).verdict is Verdict.FAIL


def test_a_setting_that_shows_nothing_is_invalid(home: Home) -> None:
    home.weaken(
        "DROP POLICY own ON event; CREATE POLICY own ON event USING (tenant::text = current_setting('x.y', true))"
    )
    gate = home.judge()
    assert gate.verdict is Verdict.INVALID
    assert f"not even its own rows are visible ({SETTING})" in gate.reason


def test_without_a_row_of_another_tenant_nothing_was_tried(make_home: Callable[..., Home]) -> None:
    gate = make_home(rows="").judge()
    assert gate.verdict is Verdict.NOT_RUN
    assert "no tenant of the run has a row there" in gate.reason


def test_a_table_with_triggers_is_only_read(home: Home) -> None:
    home.weaken(
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER noted BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION noted()"
    )
    gate = home.judge()
    assert gate.verdict is Verdict.PASS
    assert any("triggers or rules" in words for words in gate.figures["not_tried"])


def test_a_locked_table_does_not_hold_up_the_reading(home: Home) -> None:
    with psycopg.connect(home.database.admin_dsn) as blocking, connect(home.database.admin_dsn) as connection:
        tables = event_tables(connection, profile(dead=False).truth)
        blocking.execute("LOCK TABLE event IN EXCLUSIVE MODE")
        report = read_isolation(connection, tables, home.database.runtime_dsn, SETTING, (A, B))
    assert {trial.untried for trial in report.trials if trial.untried} == {"canceling statement due to lock timeout"}


def test_a_role_that_cannot_connect_is_invalid(home: Home) -> None:
    home.weaken("ALTER ROLE {role} NOLOGIN")
    gate = home.judge()
    assert gate.verdict is Verdict.INVALID
    assert "could not be tried as the target's role" in gate.reason


def test_what_the_profile_does_not_promise_or_name_is_not_run() -> None:
    assert judged(None, promised=False).verdict is Verdict.NOT_RUN
    assert "does not promise" in judged(None, promised=False).reason
    assert "truth.runtime_dsn_env" in judged(None).reason


def test_a_pack_of_a_rig_that_did_not_look_has_neither_gate() -> None:
    assert check_isolation(case(driven(plan()))) == []


def test_an_unlogged_table_or_partition_is_named(home: Home) -> None:
    home.weaken("ALTER TABLE letter SET UNLOGGED; ALTER ROLE {role} SET synchronous_commit = off")
    with connect(home.database.admin_dsn) as connection:
        tables = event_tables(connection, profile().truth)
        durability = read_durability(connection, tables, home.database.runtime_dsn)
    assert durability.unlogged == ("public.letter",)
    assert durability.settings["synchronous_commit"] == "off"
    own = case(driven(plan()), truth=truth(durability=durability))
    gate = check_isolation(own)[1]
    assert (gate.id, gate.verdict) == ("durable_tables", Verdict.FAIL)
    assert "empties public.letter" in gate.reason
