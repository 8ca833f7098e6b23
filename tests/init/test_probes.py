"""`rig init --probe` on services that the rig knows nothing of: the mapping is found, the database is as before."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from rig.errors import ConfigError, ExitCode, Unavailable
from rig.init.columns import MappedColumn, SentEvent, guess_columns, map_columns
from rig.init.found import Found
from rig.init.mapping import Observation, ProbedEvent, find
from rig.init.new_rows import NewRow, WatchedTable, watch
from rig.init.probes import lags_of, plan, probe
from rig.machine.child import free_port
from rig.model import RequestClass, Tenant
from rig.profile import Profile, bundled_profile, load_profile
from rig.target.http_probe import HttpProbe, ProbeResponse
from rig.target.postgres import Database
from rig.truth.tables import Column, Table
from stub_server.service.config import load_config
from stub_server.service.schema import migrate
from tests.cli.commands import rig
from tests.foreign.running import PROFILE, standing_service
from tests.service.running import ServiceDatabase, running_service

ORDER = '{"order_no": "PX-1", "total": "12.50", "placed_at": "2027-01-01T00:00:00Z", "lines": [{"sku": "A-17"}]}'
TENANTS = (
    "INSERT INTO intake.customers (label, token_hash, signing_keys) VALUES (%(name)s, %(api_key_sha256)s,"
    " jsonb_build_object('orders', %(secrets)s::jsonb -> 'main')) RETURNING customer_no AS tenant_id"
)
_SEND = HttpProbe.send
MARK = "7f0c52ce-0000-4000-8000-0123456789ab"


def rows(dsn: str) -> dict[str, list[str]]:
    """Every row of every table."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute(
            "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"
        ).fetchall()
        return {
            name: [text for (text,) in connection.execute(
                sql.SQL("SELECT each::text FROM {} AS each ORDER BY 1").format(sql.Identifier(schema, name)))]
            for schema, name in names
        }  # fmt: skip


def at(profile: Profile, url: str) -> Profile:
    """A profile of a service that runs there."""
    document = profile.model_dump(mode="json", exclude_unset=True, exclude={"launch"})
    return Profile.model_validate(document | {"target": {"base_url": url}})


def columns(found: Found) -> dict[str, str]:
    return {column: part.path or "" for column, part in found.fields.items()}


@pytest.mark.full
@pytest.mark.parametrize("name", ["reference", "renamed"])
def test_the_mapping_is_that_of_the_bundled_profile(name: str, database: Database, tmp_path: Path) -> None:
    file = bundled_profile(name).with_name(f"{name}.service.toml")
    config = load_config(file)
    migrate(config, database.admin_dsn, database.runtime_dsn)
    before = rows(database.admin_dsn)
    left: list[str] = []
    with running_service(
        ServiceDatabase(database.admin_dsn, database.runtime_dsn, config), tmp_path / "log",
        options=["--config", str(file)],
    ) as service:  # fmt: skip
        profile = at(load_profile(bundled_profile(name)), f"http://127.0.0.1:{service.client.port}")
        found = probe(profile, database.admin_dsn, {}, left.append)
    truth = profile.truth
    assert truth.dead is not None
    expected = {
        "schemas": ",".join(truth.schemas),
        "canonical-table": truth.canonical.table, "canonical-key": truth.canonical.key,
        "canonical-tenant": truth.canonical.tenant, "canonical-correlation": truth.canonical.correlation,
        "dead-table": truth.dead.table, "dead-tenant": truth.dead.tenant, "dead-match": "key",
        "dead-column": config.tables.dead.idempotency_key, "stored-status": "200",
        "duplicate-status": "200", "malformed-status": "200",
    }  # fmt: skip
    assert found.answers.items() >= expected.items(), found.table()
    fields = {name: part.path for name, part in profile.routes[0].fields.items() if part.path}
    assert columns(found).items() >= fields.items(), found.table()
    assert (found.malformed_row, found.invalid_json_row, found.lag_s) == ("dead", "dead", None)
    assert len(found.malformed or ()) == len(profile.routes[0].malformed)
    assert left == []
    assert rows(database.admin_dsn) == before


@pytest.mark.full
def test_a_foreign_service_needs_no_answer_about_its_tables(tmp_path: Path, database: Database) -> None:
    (tmp_path / "order.json").write_text(ORDER)
    with standing_service(database) as service:
        before = rows(service.owner_dsn)
        env = {"RIG_TRUTH_DSN": service.owner_dsn, "RIG_RUNTIME_DSN": service.service_dsn}
        ended = rig(
            "init", "--yes", "--probe", "--name", "parcels", "--base-url", service.url, "--route", "/hooks/orders",
            "--health", "/alive", "--ready", "/ready", "--event", "order.json", "--event-id", "order_no",
            "--event-amount", "total", "--event-time", "placed_at", "--signature-header", "X-Seal-256",
            "--signature-prefix", "sha256=", "--tenant-header", "Authorization", "--tenant-prefix", "Token ",
            "--idempotency-header", "Delivery-Id", "--correlation-header", "Trace-Id", "--provision-sql", TENANTS,
            env=env, folder=tmp_path,
        )  # fmt: skip
        assert ended.code == ExitCode.PASS, ended.err
        said = ended.err
        assert said.index("sends to http://") < said.index("what the service made of the probes")
        assert "content            total = total (decimal)" in said
        assert rows(service.owner_dsn) == before
        doctor = rig("doctor", env=env, folder=tmp_path)
        assert doctor.code == ExitCode.PASS, doctor.out + doctor.err


@pytest.mark.full
def test_what_was_sent_is_taken_back_also_after_an_interrupt(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[int] = []

    def send(self: HttpProbe, request: bytes) -> ProbeResponse:
        if len(answered) == 4:
            raise KeyboardInterrupt
        response = _SEND(self, request)
        answered.append(response.status)
        return response

    with standing_service(database) as service:
        before = rows(service.owner_dsn)
        profile = at(load_profile(PROFILE), service.url)
        monkeypatch.setattr(HttpProbe, "send", send)
        with pytest.raises(KeyboardInterrupt):
            probe(profile, service.owner_dsn, {}, print)
        assert answered == [202] * 4
        assert rows(service.owner_dsn) == before


def test_a_row_that_comes_soon_after_a_202_comes_from_a_queue() -> None:
    come_s, answered_s = {("inbox", "a"): None, ("event", "a"): 7.03}, {"a": 7.0}
    assert lags_of(come_s, answered_s, {202, 422}) == {"event": pytest.approx(0.03)}
    assert lags_of(come_s, answered_s, {200, 422}) == {}
    assert lags_of({("event", "a"): 7.2}, answered_s, {200}) == {"event": pytest.approx(0.2)}


def test_the_plan_names_everything_that_would_be_sent() -> None:
    said = plan(at(load_profile(bundled_profile()), "http://127.0.0.1:1"))
    assert "makes 2 tenants; sends to http://127.0.0.1:1/api/webhooks/stripe/payment_intent/succeeded" in said
    assert "valid events 6, one event again 3, wrong events 3, truncated JSON 1, forged requests 1" in said


def test_nothing_is_made_where_nothing_can_be_sent(database: Database) -> None:
    profile = load_profile(bundled_profile())
    with pytest.raises(Unavailable, match="nobody listens"):
        probe(at(profile, f"http://127.0.0.1:{free_port()}"), database.admin_dsn, {}, print)
    with pytest.raises(ConfigError, match="loopback"):
        probe(at(profile, "http://192.0.2.1"), database.admin_dsn, {}, print)


def test_only_rows_that_came_since_are_removed_and_the_rest_is_named(database: Database) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as owner:
        owner.execute("""
            CREATE TABLE event (id text PRIMARY KEY, last text);
            CREATE TABLE line (event text REFERENCES event, no int, PRIMARY KEY (event, no), note text);
            CREATE TABLE slot (no int PRIMARY KEY, event text);
            CREATE TABLE heap (event text);
            CREATE TABLE noted (id int PRIMARY KEY, event text);
            CREATE TABLE deletion (id int);
            CREATE TABLE parent (id text PRIMARY KEY);
            CREATE TABLE child (id int PRIMARY KEY, parent text REFERENCES parent ON DELETE CASCADE);
            CREATE TABLE part (no serial PRIMARY KEY, line int, note text);
            CREATE TABLE sub (no int PRIMARY KEY, part int REFERENCES part ON DELETE CASCADE);
            CREATE TABLE bit (no int, sub int REFERENCES sub ON DELETE CASCADE, PRIMARY KEY (sub, no));
            CREATE TABLE empty (id int PRIMARY KEY, event text REFERENCES event ON DELETE SET NULL);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$BEGIN INSERT INTO deletion VALUES (OLD.id); RETURN OLD; END$$;
            CREATE TRIGGER note BEFORE DELETE ON noted FOR EACH ROW EXECUTE FUNCTION note();
            INSERT INTO slot VALUES (1), (2);
            INSERT INTO child VALUES (1);
            INSERT INTO event VALUES ('older');
            INSERT INTO part VALUES (70, 1, 'older');
        """)
        before = rows(database.admin_dsn)
        with watch(database.admin_dsn, "the DSN") as seen:
            owner.execute(f"""
                INSERT INTO event VALUES ('{MARK}');
                INSERT INTO line VALUES ('{MARK}', 1, 'a part');
                INSERT INTO event VALUES ('of somebody else');
                UPDATE slot SET event = '{MARK}' WHERE no = 1;
                INSERT INTO heap VALUES ('{MARK}');
                INSERT INTO noted VALUES (7, '{MARK.upper()}');
                INSERT INTO parent VALUES ('{MARK}');
                UPDATE child SET parent = '{MARK}';
                INSERT INTO part VALUES (71, 1, '{MARK}');
                INSERT INTO sub VALUES (1, 71), (2, 70);
                INSERT INTO bit VALUES (1, 1), (2, 1), (1, 2);
            """)
            assert {str(row.table) for row in seen.find_referring(seen.find_marked([MARK]))} >= {
                "public.sub", "public.bit", "public.child",
            }  # fmt: skip
            stays = seen.remove([MARK])
    after = rows(database.admin_dsn)
    assert after["event"] == sorted([*before["event"], '("of somebody else",)'])
    assert after["line"] == after["deletion"] == []
    assert {name for name in after if after[name] != before[name]} == {
        "event",
        "slot",
        "heap",
        "noted",
        "parent",
        "child",
        "sub",
        "bit",
    }
    assert (after["sub"], after["bit"]) == (["(2,70)"], ["(1,2)"])  # what belongs to a probe is gone, and no more
    assert sorted((said.partition(": ")[0], number) for said, number in stays.items()) == [
        ("public.child", 1), ("public.heap", 1), ("public.noted", 1), ("public.parent", 1), ("public.slot", 1),
    ]  # fmt: skip
    reasons = "\n".join(stays)
    assert "slot: they were there before" in reasons
    assert "heap: without a primary key" in reasons
    assert "parent: the database would change other rows" in reasons


@pytest.mark.parametrize(("status", "says"), [(404, "none: the service answers 404"), (200, "not found")])
def test_a_service_that_refuses_a_valid_event_teaches_no_status(status: int, says: str) -> None:
    profile = load_profile(bundled_profile())
    sent = [
        ProbedEvent(kind, Tenant("A", "1"), key, key, SentEvent("{}", {}), 0, 0, answered, "no such shop")
        for kind, key, answered in ((RequestClass.VALID, "a", status), (RequestClass.MALFORMED, "b", 404))
    ]
    found = find(Observation(profile, tuple(sent), ()))
    assert dict(found.lines)["accepted events"].startswith(says)
    assert found.answers == ({} if status == 404 else {"stored-status": "200", "malformed-status": "404"})


def test_a_text_that_no_probe_changed_is_a_guess_where_the_names_differ() -> None:
    names = ("placedAt", "Repo name", "state")
    columns = {name: Column(name, "text", holds_text=True, searched=True) for name in names}
    table = WatchedTable(
        Table(1, "public", "e", columns, readable=True, filtered=False), frozenset(), (), frozenset(), {"state": "new"}
    )
    document = {"placed_at": "noon", "repository": {"full_name": "acme/shop"}, "action": "new"}
    values = {"placedAt": "noon", "Repo name": "acme/shop", "state": "new"}
    pairs = [(NewRow(table, values, (1, "", ""), ""), SentEvent("{}", document))] * 3
    assert map_columns(table, pairs, frozenset()) == {"placedAt": MappedColumn("placed_at")}
    guessed = guess_columns(table, pairs, frozenset({"placedAt"}))
    assert guessed == {"Repo name": MappedColumn("repository.full_name")}, "a default proves nothing"
