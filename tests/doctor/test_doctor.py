"""The doctor on a service that runs already: healthy, and ill in every way that a profile or a service can be."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from rig.doctor import surroundings
from rig.doctor.examination import STEPS, examine
from rig.doctor.findings import DoctorStepResult, Examination, State, Symptom
from rig.errors import ExitCode, Unavailable
from rig.machine.child import free_port
from rig.profile import bundled_profile
from rig.settings import Settings
from rig.target.postgres import Cluster
from rig.target.secrets import BLANK
from rig.target.store import Store
from tests.cli.commands import rig
from tests.foreign.running import PROFILE, Standing, standing_service

SETTINGS = Settings()
_LAUNCH = re.compile(r"\[launch\].*?(?=\[headers\])", re.DOTALL)


@pytest.fixture(scope="module")
def service(cluster: Cluster) -> Iterator[Standing]:
    database = cluster.create_database("doctor")
    with standing_service(database) as standing:
        yield standing
    cluster.drop_database(database)


@pytest.fixture
def write(tmp_path: Path, service: Standing) -> Callable[..., Path]:
    """Writes the profile of the service that runs already, with some texts changed."""

    def written(*changes: tuple[str, str], url: str = service.url) -> Path:
        target = f'[target]\nbase_url = "{url}"\nprocess_match = "uvicorn service:app"\n\n'
        text = _LAUNCH.sub(lambda _: target, PROFILE.read_text())
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "profile.toml"
        path.write_text(text)
        return path

    return written


def examined(profile: Path, environ: dict[str, str]) -> Examination:
    told: list[DoctorStepResult] = []
    found = examine(profile, SETTINGS, environ, told.append)
    assert tuple(told) == found.steps
    assert [step.name for step in found.steps] == [stage.name for stage in STEPS]
    return found


def step(found: Examination, name: str) -> DoctorStepResult:
    return next(step for step in found.steps if step.name == name)


def failed(found: Examination) -> list[str]:
    return [step.name for step in found.steps if step.state is State.FAIL]


def test_a_healthy_service_that_runs_already(write: Callable[..., Path], service: Standing) -> None:
    found = examined(write(), service.environ)
    assert failed(found) == [], step(found, failed(found)[0]).said
    assert found.exit_code == ExitCode.PASS
    assert str(service.pid) in step(found, "processes").said
    assert [step.name for step in found.steps if step.state is State.SKIPPED] == []


def test_it_may_be_examined_again_and_leaves_nothing_but_rows(write: Callable[..., Path], service: Standing) -> None:
    profile = write()
    assert examined(profile, service.environ).exit_code == ExitCode.PASS
    with psycopg.connect(service.owner_dsn) as connection:
        before = connection.execute("SELECT count(*) FROM intake.deliveries").fetchone()
    assert examined(profile, service.environ).exit_code == ExitCode.PASS
    with psycopg.connect(service.owner_dsn) as connection:
        after = connection.execute("SELECT count(*) FROM intake.deliveries").fetchone()
    assert before and after and after[0] == before[0] + 8


ILL_PROFILES: list[tuple[str, str, str, str, ExitCode]] = [
    # what stands there, what is there instead, the step that fails first, what it says, how it ends
    ('name = "parcels"', 'name = "a b"', "profile", "name:", ExitCode.CONFIG),
    ('"sku":"A-17"', '"sku":"<colour>"', "profile", "unknown placeholder <colour>", ExitCode.CONFIG),
    ('"PARCELS_OWNER_DSN"', '"NOT_SET_DSN"', "environment", "$NOT_SET_DSN", ExitCode.CONFIG),
    ('runtime_dsn_env = "PARCELS_SERVICE_DSN"', 'runtime_dsn_env = "PARCELS_OWNER_DSN"', "target's role",
     "the same role", ExitCode.CONFIG),
    ('health = "/alive"', 'health = "/dead"', "probes", "probes.health /dead answers 404", ExitCode.FAIL),
    ('"deliveries"', '"delivery"', "truth tables", "no table 'delivery'", ExitCode.CONFIG),
    ('correlation = "trace"', 'correlation = "tracks"', "truth tables", "truth.canonical.correlation", ExitCode.CONFIG),
    ("RETURNING customer_no ", "RETURNING customer_number ", "tenants", "tenants.provision_sql", ExitCode.CONFIG),
    ('"Token "', '"Bearer "', "a valid event: answers", "401", ExitCode.FAIL),
    ('"sha256="', '"sha1="', "a valid event: answers", "signature_prefix", ExitCode.FAIL),
    ('"/hooks/orders"', '"/hooks/order"', "a valid event: answers", "check the route's path", ExitCode.FAIL),
    ('"order_no":', '"order":', "profile", "'order_no' does not lead anywhere", ExitCode.CONFIG),
    ('status = [202]', 'status = [200]', "a valid event: answers", "the profile must say so", ExitCode.FAIL),
    ("[202, 409]", "[202]", "a replayed event: answers", "the profile must say so", ExitCode.FAIL),
    ('to = "soon"', 'to = "2027-01-01T00:00:00Z"', "a malformed event: answers", "202", ExitCode.FAIL),
    ('path = "delivery-id"', 'path = "trace-id"', "a malformed event: rows", "[truth.arrival]", ExitCode.FAIL),
    ('status = [400]\nrow = "none"', 'status = [400]\nrow = "dead"', "truncated JSON: rows", "row = \"none\"",
     ExitCode.FAIL),
    ("tolerance_s = 120", "tolerance_s = 30", "an old signature: answers", "202", ExitCode.FAIL),
    ("uvicorn service:app", "gunicorn nobody", "processes", "target.process_match", ExitCode.CONFIG),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "name", "says", "code"), ILL_PROFILES, ids=lambda value: str(value)[:24])
def test_what_is_wrong_is_found_and_named(
    write: Callable[..., Path], service: Standing, old: str, new: str, name: str, says: str, code: ExitCode
) -> None:
    found = examined(write((old, new)), service.environ)
    assert failed(found)[:1] == [name], failed(found)
    assert says in step(found, name).said
    assert found.exit_code == code


CORRECTED = [
    # what stands there, what is there instead, the step that fails, what it says to write
    ('health = "/alive"', 'health = "/dead"', "probes", "below [probes], take out health"),
    ('ready = "/ready"', 'ready = "/rdy"', "target ready", "below [probes], take out ready"),
    ('schemas = ["intake"]', 'schemas = ["intakes"]', "truth tables", 'schemas = ["intake"]'),
    ('"deliveries"', '"delivery"', "truth tables", 'table = "deliveries"'),
    ('correlation = "trace"', 'correlation = "trac"', "truth tables", 'correlation = "trace"'),
    ('correlation = "trace"', 'correlation = "sender"', "a valid event: rows", 'correlation = "trace"'),
    ('key = "delivery_id"', 'key = "reference"', "a valid event: rows", 'key = "delivery_id"'),
    ('reference = { path = "order_no" }', 'reference = { path = "total" }', "a valid event: rows",
     "below [routes.fields], take out reference"),
    ('[answers.valid]\nstatus = [202]', "[answers.valid]", "a valid event: answers", "status = [202]"),
    ('[answers.valid]\nstatus = [202]\nrow = "canonical"', "", "a valid event: answers", "[answers.valid]"),
    ("[202, 409]", "[202]", "a replayed event: answers", "status = [202]\nagain = [409]"),
    ("status = [422]", "status = [400]", "a malformed event: answers", "status = [422]"),
    ('to = "soon"', 'to = "2027-01-01T00:00:00Z"', "a malformed event: answers",
     "below [[routes]], in place of malformed"),
    ('to = "soon" }]', 'to = "2027-01-01T00:00:00Z" }, { set = "total", to = "9" }]', "a malformed event: answers",
     'malformed = [{ remove = "order_no" }, { set = "total", to = "much" }]'),
    ('path = "delivery-id"', 'path = "trace-id"', "a malformed event: rows", 'path = "delivery-id"'),
    ('match = "payload-key"\ncolumn = "headers"\npath = "delivery-id"', 'match = "key"\ncolumn = "reason"',
     "a malformed event: rows", 'match = "payload-key"'),
    ('status = [400]\nrow = "none"', "status = [200]", "truncated JSON: answers", "status = [400]"),
    ('status = [400]\nrow = "none"', 'status = [400]\nrow = "dead"', "truncated JSON: rows", 'row = "none"'),
    ('status = [422]\nrow = "dead"', 'status = [422]\nrow = "none"', "a malformed event: rows", 'row = "dead"'),
    ("uvicorn service:app", "gunicorn nobody", "processes", "below [target], take out process_match"),
]  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize(("old", "new", "name", "says"), CORRECTED, ids=lambda value: str(value)[:24])
def test_what_it_says_to_write_ends_the_finding(
    write: Callable[..., Path], service: Standing, old: str, new: str, name: str, says: str
) -> None:
    path = write((old, new))
    found = examined(path, service.environ)
    assert name in failed(found)
    assert says in "\n".join(one.words for one in step(found, name).corrections).replace("\n  ", "\n")
    path.write_text(found.corrected)
    assert step(examined(path, service.environ), name).state is not State.FAIL


@pytest.mark.full
def test_a_profile_without_answers_is_completed_by_one_call(write: Callable[..., Path], service: Standing) -> None:
    path = write()
    path.write_text(re.sub(r"\[answers\.valid\].*(?=\[truth\]\n)", "", path.read_text(), flags=re.DOTALL))
    found = examined(path, service.environ)
    assert found.exit_code == ExitCode.FAIL
    path.write_text(found.corrected)
    assert failed(examined(path, service.environ)) == []
    assert "status = [202]\nagain = [409]" in found.corrected


def test_what_the_target_does_wrong_has_no_key(cluster: Cluster, write: Callable[..., Path]) -> None:
    database = cluster.create_database("open")
    with standing_service(database, PARCELS_IGNORES_SEALS="1") as trusting:
        path = write(url=trusting.url)
        found = examined(path, trusting.environ)
    cluster.drop_database(database)
    assert failed(found)
    assert found.corrected == path.read_text()


def test_what_rows_hold_is_printed_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "load_profile", _raise_with_escape)
    found = examined(bundled_profile(), {})
    assert step(found, "profile").said == "key \\x1b[2J"


def _raise_with_escape(_: object) -> None:
    raise Symptom("key \x1b[2J")


def test_what_depends_on_it_is_skipped_and_the_rest_is_not(write: Callable[..., Path], service: Standing) -> None:
    found = examined(write(('"Token "', '"Bearer "')), service.environ)
    assert step(found, "a malformed event: answers").state is State.SKIPPED
    assert step(found, "truth").said == "needs 'a valid event: answers'"
    assert step(found, "samplers").state is State.OK


def test_nobody_listens(write: Callable[..., Path], service: Standing) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    found = examined(write(url=url), service.environ)
    assert failed(found) == ["target listens"]
    assert url in step(found, "target listens").said
    assert found.exit_code == ExitCode.UNAVAILABLE


def test_another_host_needs_to_be_named_twice(write: Callable[..., Path], service: Standing) -> None:
    found = examined(write(url="http://192.0.2.7:80"), service.environ)
    assert "is not loopback" in step(found, "target listens").said
    assert found.exit_code == ExitCode.CONFIG


def test_no_database(write: Callable[..., Path], service: Standing) -> None:
    dsn = f"postgresql://nobody:secret-word@127.0.0.1:{free_port()}/nowhere"
    found = examined(write(), service.environ | {"PARCELS_OWNER_DSN": dsn})
    assert failed(found) == ["truth database"]
    assert "secret-word" not in str(found.document())
    assert found.exit_code == ExitCode.UNAVAILABLE


def test_no_step_tells_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that ends with a traceback which quotes how it connects."""
    truth, runtime = (f"postgresql://{name}:{name}-pass@127.0.0.1:9/d" for name in ("truth", "runtime"))
    store = Store(truth, runtime, {"server_version": "17", "source": "here"})
    monkeypatch.setattr(surroundings, "open_store", lambda *_: nullcontext(store))

    def ended(*_: object) -> None:
        raise Unavailable(f"the target ended with exit code 1: cannot connect to {runtime}, nor {truth}")

    monkeypatch.setattr(surroundings, "open_target", ended)
    found = examined(bundled_profile(), {})
    assert step(found, "target ready").said.count(BLANK) == 2
    assert "-pass" not in str(found.document())


@pytest.fixture
def all_seeing(cluster: Cluster, service: Standing) -> Iterator[str]:
    """A DSN for the service whose role bypasses row-level security."""
    parts = psycopg.conninfo.conninfo_to_dict(service.owner_dsn)
    with psycopg.connect(service.owner_dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE doctor_sees_all LOGIN BYPASSRLS PASSWORD 'x'")
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO doctor_sees_all").format(database))
        yield psycopg.conninfo.make_conninfo(**{**parts, "user": "doctor_sees_all", "password": "x"})
        connection.execute("DROP OWNED BY doctor_sees_all")
        connection.execute("DROP ROLE doctor_sees_all")


def test_a_role_that_bypasses_row_security(write: Callable[..., Path], service: Standing, all_seeing: str) -> None:
    found = examined(write(), service.environ | {"PARCELS_SERVICE_DSN": all_seeing})
    assert failed(found) == ["target's role"]
    assert "BYPASSRLS" in step(found, "target's role").said
    assert found.exit_code == ExitCode.CONFIG


def test_a_role_that_may_not_store(write: Callable[..., Path], service: Standing) -> None:
    role = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(service.service_dsn)["user"]))
    grant, revoke = sql.SQL("GRANT INSERT ON intake.deliveries TO {}"), sql.SQL(
        "REVOKE INSERT ON intake.deliveries FROM {}")  # fmt: skip
    with psycopg.connect(service.owner_dsn, autocommit=True) as connection:
        connection.execute(revoke.format(role))
        try:
            found = examined(write(), service.environ)
        finally:
            connection.execute(grant.format(role))
    assert step(found, "a valid event: answers").state is State.FAIL
    assert "its role lacks rights: GRANT INSERT ON intake.deliveries TO " in step(found, "a valid event: answers").said


def test_a_truth_role_that_sees_too_little(write: Callable[..., Path], service: Standing) -> None:
    """The two DSNs the wrong way round."""
    turned = {"PARCELS_OWNER_DSN": service.service_dsn, "PARCELS_SERVICE_DSN": service.owner_dsn}
    found = examined(write(), turned)
    assert step(found, "truth readable").state is State.FAIL
    assert "pg_monitor" in step(found, "samplers").said
    assert found.exit_code == ExitCode.CONFIG


def test_a_service_that_takes_every_signature(cluster: Cluster, write: Callable[..., Path]) -> None:
    database = cluster.create_database("trusting")
    with standing_service(database, PARCELS_IGNORES_SEALS="1") as trusting:
        found = examined(write(url=trusting.url), trusting.environ)
    cluster.drop_database(database)
    forged = [f"{kind}: {part}" for part in ("answers", "no row") for kind in ("a wrong signature", "an old signature")]
    assert failed(found) == forged
    assert "forged (" in step(found, "a wrong signature: no row").said
    assert found.exit_code == ExitCode.FAIL


FIXED_KEYS = {"ORDERS_KEY": "key-1", "REFUNDS_KEY": "key-2", "TOKEN": "token-1"}


def with_fixed_tenant(write: Callable[..., Path], service: Standing, spelling: str) -> Path:
    """A profile with one tenant that exists already, whose number is written so."""
    with psycopg.connect(service.owner_dsn) as connection:
        (number,) = connection.execute(
            "INSERT INTO intake.customers (label, token_hash, signing_keys)"
            " VALUES ('fixed', encode(sha256('token-1'), 'hex'), %s)"
            " ON CONFLICT (token_hash) DO UPDATE SET label = 'fixed' RETURNING customer_no",
            [Jsonb({"orders": "key-1", "refunds": "key-2"})],
        ).fetchall()[0]
    path = write(
        ('secret = "orders"', 'secret = "orders"\nsecret_env = "ORDERS_KEY"'),
        ('secret = "refunds"', 'secret = "refunds"\nsecret_env = "REFUNDS_KEY"'),
    )
    fixed = f'[[tenants.fixed]]\nid = "{spelling.format(number)}"\napi_key_env = "TOKEN"\n\n'
    path.write_text(re.sub(r"\[tenants\].*?(?=\[\[routes\]\])", fixed, path.read_text(), count=1, flags=re.DOTALL))
    return path


def test_a_fixed_tenant_whose_id_is_spelt_otherwise(write: Callable[..., Path], service: Standing) -> None:
    found = examined(with_fixed_tenant(write, service, "00{}"), service.environ | FIXED_KEYS)
    assert failed(found) == ["tenants"]
    assert "intake.deliveries.customer_no, of type bigint, spells '70" in step(found, "tenants").said
    assert found.exit_code == ExitCode.CONFIG


def test_one_fixed_tenant_is_enough_for_all_but_the_collision(write: Callable[..., Path], service: Standing) -> None:
    found = examined(with_fixed_tenant(write, service, "{}"), service.environ | FIXED_KEYS)
    assert failed(found) == []
    skipped = [step.name for step in found.steps if step.state is State.SKIPPED]
    assert skipped == ["one key for two tenants: answers", "one key for two tenants: rows"]
    assert step(found, "environment").said == "set: ORDERS_KEY, REFUNDS_KEY, TOKEN, PARCELS_OWNER_DSN"
    assert not any(secret in str(found.document()) for secret in FIXED_KEYS.values())


def test_a_header_that_the_sender_always_sets(write: Callable[..., Path], service: Standing) -> None:
    """The healthy service wants one on its second route, so every run here sends it. Without it the doctor names it."""
    found = examined(write(('headers = { Message-Topic = "refunds/created" }\n', "")), service.environ)
    said = step(found, "a valid event: answers").said
    assert "route 'refunds' answers 400, saying '{\"error\":\"header Message-Topic is missing\"}'" in said
    assert 'the headers that its sender always sets: headers = { X-Topic = "…" }' in said


# --- a target that answers what no receiver should, or whose tables do not fit ---

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n"
FOUND = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n"
ANSWERS = {
    "a place that is no address": (FOUND + b"Location: http://[bad\r\n\r\n", "it leads to http://[bad, and no sender"),
    "a place of bytes": (FOUND + b"Location: /a b\xff\r\n\r\n", "answers 302"),
    "no status": (b"HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n", "its status is 000"),
    "half a head": (b"HTTP/1.1 202 Acc", "the connection was closed within the answer, after 16 bytes"),
    "nested for ever": (b"HTTP/1.1 500 Oh\r\n\r\n" + b"[" * 100_000, "answers 500, saying '[[[["),
    "a year beyond all": (OK + b"Date: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n\r\n", "is no date"),
}


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The URL of a server that says yes to a GET, and this to all else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        is_over = threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                connection, _ = server.accept()
                with connection:
                    asked = connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if asked.startswith(b"GET") else answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "http://{}:{}".format(*server.getsockname())
        is_over.set()
        socket.create_connection(server.getsockname()).close()
        thread.join()


@pytest.mark.parametrize(("answer", "says"), ANSWERS.values(), ids=ANSWERS)
def test_whatever_is_answered_each_step_ends_with_a_sentence(
    write: Callable[..., Path], service: Standing, answer: bytes, says: str
) -> None:
    with answering(answer) as url:
        found = examined(write(url=url), service.environ)
    assert any(says in each.said for each in found.steps), found.document()
    assert all(each.said.isprintable() for each in found.steps)


@contextmanager
def altered(service: Standing, statement: str, back: str) -> Iterator[None]:
    """The service's tables changed for a while."""
    with psycopg.connect(service.owner_dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE intake.deliveries")
        connection.execute(statement.encode())
        try:
            yield
        finally:
            connection.execute("TRUNCATE intake.deliveries")
            connection.execute(back.encode())


def test_a_key_column_that_is_too_narrow(write: Callable[..., Path], service: Standing) -> None:
    table = "ALTER TABLE intake.deliveries ALTER delivery_id TYPE"
    with altered(service, f"{table} varchar(20)", f"{table} text"):
        found = examined(write(), service.environ)
    assert failed(found)[0] == "a valid event: answers"
    said = step(found, "a valid event: answers").said
    assert (
        "truth.canonical.key: intake.deliveries.delivery_id, of type character varying(20), cannot hold a key" in said
    )


REWRITTEN = {
    "in capitals": ("upper(NEW.delivery_id)", "lower("),
    "cut off": ("left(NEW.delivery_id, 20)", ""),
    "behind a prefix": ("'d-' || NEW.delivery_id", "substr("),
}


@pytest.mark.full
@pytest.mark.parametrize(("becomes", "write_"), REWRITTEN.values(), ids=REWRITTEN)
def test_a_trigger_that_rewrites_the_key(
    write: Callable[..., Path], service: Standing, becomes: str, write_: str
) -> None:
    """The row is there: to wait longer for it is no remedy."""
    made = f"""
        CREATE FUNCTION intake.rewrite() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.delivery_id := {becomes}; RETURN NEW; END $$;
        CREATE TRIGGER rewrite BEFORE INSERT ON intake.deliveries FOR EACH ROW EXECUTE FUNCTION intake.rewrite()"""
    path = write()
    with altered(service, made, "DROP FUNCTION intake.rewrite CASCADE"):
        found = examined(path, service.environ)
        rows = step(found, "a valid event: rows")
        assert "truth.canonical.key: the row of " in rows.said
        words = " ".join(one.words for one in rows.corrections)
        assert "within_s" not in words
        assert write_ in words
        if write_:
            path.write_text(found.corrected)
            assert step(examined(path, service.environ), "a valid event: rows").state is State.OK


# --- a target that the rig launches, as a user does it ---


def _document(*words: str) -> tuple[int, dict[str, Any]]:
    ended = rig("doctor", "--json", *words)
    return ended.code, {step["name"]: step for step in ended.document()["steps"]}


@pytest.mark.full
def test_the_reference_is_healthy() -> None:
    code, steps = _document()
    assert code == ExitCode.PASS, steps
    assert steps["target ready"]["said"].endswith("launched here")


def test_personal_data_in_the_targets_log() -> None:
    code, steps = _document("--defect", "personal-data-logged")
    assert [name for name, step in steps.items() if step["state"] == "FAIL"] == ["personal data"]
    assert "target.log" in steps["personal data"]["said"]
    assert code == ExitCode.FAIL


@pytest.mark.full
@pytest.mark.parametrize(
    ("defect", "ill"),
    [
        ("malformed-dropped", "a malformed event: rows"),
        ("stored-but-500", "a valid event: answers"),
        ("no-deduplication", "a replayed event: rows"),
        ("global-deduplication", "one key for two tenants: rows"),
        ("ack-without-storing", None),  # one in 500: the doctor sends too few, which is what a run is for
    ],
)
def test_a_seeded_defect(defect: str, ill: str | None) -> None:
    code, steps = _document("--defect", defect)
    assert next((name for name, step in steps.items() if step["state"] == "FAIL"), None) == ill
    is_log_shown = any("the target's log ends with" in step["said"] for step in steps.values())
    assert is_log_shown == (defect == "stored-but-500")
    assert code == (ExitCode.FAIL if ill else ExitCode.PASS)


def test_words_for_a_terminal() -> None:
    ended = rig("doctor", "--profile", str(PROFILE.with_name("missing.toml")))
    assert ended.code == ExitCode.CONFIG
    assert re.search(r"^FAIL +profile +profile .*missing.toml does not exist", ended.out, re.MULTILINE)
    assert "1 FAIL" in ended.out
