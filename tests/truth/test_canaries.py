"""Personal data seeded into tables and logs is found where it lies, and nothing else is."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.evidence.truth import CanaryHit, TruthReport
from rig.model import RequestClass, RunKey, Share
from rig.profile import Profile
from rig.truth.canaries import HITS_MAX
from rig.truth.log_marks import mark_logs
from rig.truth.reconcile import Baseline
from tests.truth.world import LETTERS, SALES, SCHEMA, TENANTS, World, profile, scenario

REQUEST = "S4-1-orders-1 request 1 of tenant A"


@pytest.fixture
def personal(world: World) -> World:
    world.run_scenario(scenario("S4", Share(RequestClass.PERSONAL, 3)))
    world.settle()
    return world


def tokens(world: World, seq: int = 1) -> tuple[str, str, str]:
    return world.targeter.bind(world.scenario_runs[0].scenario).canary(seq).tokens


def test_nothing_to_find(personal: World, tmp_path: Path) -> None:
    log = tmp_path / "target.log"
    log.write_text("order accepted\n")
    report = personal.read(log_files=[log])
    assert report.canary_hits == ()
    assert report.columns_scanned == 5 + 6 + 2, "text of every kind in three tables"
    assert report.log_files_scanned == (str(log),)


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_every_shape_in_json_is_located(personal: World, shape: int) -> None:
    token = tokens(personal)[shape]
    document = json.dumps({"a": [{"b": f"<{token}>"}], "n": 9997})
    personal.execute("INSERT INTO vault.audit VALUES (1, {}, NULL)", document)
    place = f"{SCHEMA}.audit.note"
    assert personal.read().canary_hits == (CanaryHit(place, False, f"value {token}", REQUEST, "$.a[0].b"),)


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("INSERT INTO vault.audit VALUES (1, NULL, ARRAY['x', {}])", f"{SCHEMA}.audit.tags"),
        ("UPDATE {letters} SET blob = convert_to({}, 'UTF8') WHERE id = 1", f"{SCHEMA}.{LETTERS}.blob"),
        ("UPDATE {letters} SET raw = 'mail to ' || {} WHERE id = 1", f"{SCHEMA}.{LETTERS}.raw"),
        ("UPDATE {letters} SET trace = {} WHERE id = 1", f"{SCHEMA}.{LETTERS}.trace"),
    ],
)
def test_columns_that_are_no_json(personal: World, statement: str, place: str) -> None:
    token = tokens(personal)[0]
    personal.execute(statement, token)
    assert personal.read().canary_hits == (CanaryHit(place, False, f"value {token}", REQUEST),)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("inet", "{2}"),
        ("cidr", "{2}"),
        ("inet[]", "{{{2}}}"),
        ("vault.address", "{2}"),
        ("numeric", "{1}"),
        ("numeric", "{1}.50"),
        ("numeric(24)", "{1}"),
        ("numeric(30, 2)[]", "{{1,{1}}}"),
        ("vault.long_number", "{1}"),
    ],
)
def test_columns_of_addresses_and_of_long_numbers(personal: World, kind: str, shape: str) -> None:
    personal.execute("CREATE DOMAIN vault.address AS inet; CREATE DOMAIN vault.long_number AS numeric(24)")
    personal.execute(f"CREATE TABLE vault.visits (id bigint, kept {kind})")
    personal.execute(f"INSERT INTO vault.visits VALUES (1, {{}}::text::{kind})", shape.format(*tokens(personal)))
    [hit] = personal.read().canary_hits
    assert (hit.place, hit.request) == (f"{SCHEMA}.visits.kept", REQUEST)
    assert hit.what.removeprefix("value ") in tokens(personal)[1:]


def test_an_address_in_a_canonical_row(personal: World) -> None:
    personal.execute("ALTER TABLE {sales} ADD client_ip inet")
    personal.keep(personal.expect()[1], client_ip=tokens(personal)[2])
    place = f"{SCHEMA}.{SALES}.client_ip"
    assert personal.read().canary_hits == (CanaryHit(place, False, f"value {tokens(personal)[2]}", REQUEST),)


def test_ordinary_numbers_and_addresses_are_no_find(personal: World) -> None:
    """Those too short for a canary are not even looked at; of the others, one must be a canary of this run."""
    columns = "id bigint, cents int, price numeric(12, 2), rate numeric, big numeric(30), weight float8, seen inet"
    personal.execute(f"CREATE TABLE vault.orders ({columns}, paid money)")
    personal.execute(
        "INSERT INTO vault.orders SELECT 1700000000 + i, 9997, 9997.50, 99970000000000000000000 + i,"
        " 999700000000000000000000 + i, 9.997e23 + i, '2001:db8::1'::inet + i, 9997 FROM generate_series(1, 1000) i"
    )
    report = personal.read()
    assert report.canary_hits == ()
    assert report.columns_scanned == 5 + 6 + 2 + 3


def test_another_runs_canary_is_ignored(personal: World) -> None:
    other = type(personal.targeter)(personal.profile, RunKey(7, "run-0", 0)).bind(personal.scenario_runs[0].scenario)
    personal.execute("INSERT INTO vault.audit VALUES (1, {}, NULL)", other.canary(1).tokens[0])
    assert personal.read().canary_hits == ()


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"buyer": {"email": None}}, "$.buyer.email"),
        ({"list": [1, {"email": 2}]}, "$.list[1].email"),
        ({"quoted": json.dumps({"email": 3})}, "$.quoted"),
        ("body was {'x': 1, \"email\" : 4", ""),
    ],
)
def test_personal_keys_at_any_depth(personal: World, raw: object, path: str) -> None:
    key = personal.expect()[1].key
    text = raw if isinstance(raw, str) else json.dumps(raw)
    personal.execute("UPDATE {letters} SET raw = {} WHERE key = {}", text, key)
    place = f"{SCHEMA}.{LETTERS}.raw"
    assert personal.read().canary_hits == (CanaryHit(place, False, "key 'email'", REQUEST, path),)


def test_personal_keys_in_a_canonical_row(personal: World) -> None:
    personal.keep(personal.expect()[1], doc='{"ip": "", "zip": 1, "customer_email": 2}')
    hits = personal.read().canary_hits
    place = f"{SCHEMA}.{SALES}.doc"
    assert {(hit.place, hit.what, hit.json_path, hit.request) for hit in hits} == {
        (place, "key 'ip'", "$.ip", REQUEST),
        (place, "key 'customer_email'", "$.customer_email", REQUEST),
    }


def test_what_only_looks_like_a_personal_key(personal: World) -> None:
    document = {
        "tip": 1,
        "newsletter_email": 2,
        "field": "email",
        "removed": ["email", "phone"],
        "d": "no address: gone",
    }
    personal.execute("UPDATE {letters} SET raw = {} WHERE id = 1", json.dumps(document))
    personal.execute("INSERT INTO vault.audit VALUES (1, {}, NULL)", '{"email": "kept by somebody else"}')
    assert personal.read().canary_hits == ()


def test_rows_of_another_tenant_or_of_before(personal: World) -> None:
    leak = {"raw": '{"email": 1}', "key": "older", "trace": None}
    personal.bury(personal.expect()[1], **leak, shop="a tenant of somebody else")
    assert personal.read().canary_hits == ()
    personal.bury(personal.expect()[1], **leak)
    [hit] = personal.read().canary_hits
    assert hit.request == "a request of tenant A, unknown which"
    personal.baseline = Baseline({}, {TENANTS[0].id: 1}, personal={TENANTS[0].id: {f"{SCHEMA}.{LETTERS}.raw": 1}})
    assert personal.read().canary_hits == (), "a row from before the run is not the run's doing"


KEPT = {"raw": '{"email": 1, "phone": 2}', "trace": None}


@pytest.mark.parametrize(
    ("match", "path", "column"), [("count", None, "raw"), ("payload-key", "inner.dedup", "raw"), ("key", None, "raw")]
)
def test_personal_keys_that_are_kept_again_in_rows_that_name_no_request(
    make_world: Callable[[Profile], World], match: str, path: str | None, column: str
) -> None:
    """The second run of a service that keeps them, for tenants that exist already."""
    world = make_world(profile(match, path=path, column=column))
    world.run_scenario(scenario("S4", Share(RequestClass.PERSONAL, 3)))
    letter = world.expect()[0]
    for _ in range(3):
        world.bury(letter, key=None, **KEPT)
    world.begin()
    place = f"{SCHEMA}.{LETTERS}.raw"
    assert world.baseline.personal == {TENANTS[0].id: {place: 3}}
    assert world.read().canary_hits == ()
    for _ in range(2):
        world.bury(letter, key=None, **KEPT)
    what = "a personal key in 2 rows more than before the run,"
    assert world.read().canary_hits == (CanaryHit(place, False, what, "a request of tenant A, unknown which"),)
    assert world.read().keys_unattributed == 0


def test_rows_that_nobody_counted_before_the_run_are_told(personal: World) -> None:
    personal.bury(personal.expect()[0], key=None, **KEPT)
    personal.baseline = Baseline({}, {TENANTS[0].id: 1})
    report = personal.read()
    assert (report.canary_hits, report.keys_unattributed) == ((), 1)


def test_of_tenants_without_rows_nothing_is_counted(personal: World) -> None:
    personal.execute("TRUNCATE {letters}")
    personal.bury(personal.expect()[0], key="of somebody", shop="a tenant of somebody else", **KEPT)
    baseline = personal.reader.preflight(personal.targeter, [personal.scenario_runs[0].scenario], TENANTS, None)
    assert baseline.personal == {}


def test_logs(personal: World, tmp_path: Path) -> None:
    word, digits, address = tokens(personal)
    plain = tmp_path / "plain.log"
    endless = address.encode() + b"x" * ((1 << 20) - 50) + word.encode() + b" cut: "
    plain.write_bytes(b"started\n\xff\xfe odd " + word.encode() + b"\n" + endless + digits.encode() + b"y\nend\n")
    wide = tmp_path / "wide.log"
    wide.write_text(f"one\ntwo\nfailing row ({address})\n", encoding="utf-16")
    missing, pipe = tmp_path / "missing.log", tmp_path / "pipe.log"
    os.mkfifo(pipe)
    report = personal.read(log_files=[plain, wide, missing, pipe, Path("/dev/zero")])
    assert report.canary_hits == (
        CanaryHit(f"{plain}:2", True, f"value {word}", REQUEST),
        *(CanaryHit(f"{plain}:3", True, f"value {token}", REQUEST) for token in (address, word, digits)),
        CanaryHit(f"{wide}:3", True, f"value {address}", REQUEST),
    )
    assert report.log_files_scanned == (str(plain), str(wide))
    for name, why in (("missing.log", "No such file"), ("pipe.log", "it is a pipe"), ("/dev/zero", "it is a device")):
        assert any(f"{name} could not be searched" in note and why in note for note in report.notes)


def test_no_row_reaches_the_report(personal: World) -> None:
    personal.execute("INSERT INTO vault.audit VALUES (1, {}, NULL)", f"secret-context {tokens(personal)[0]}")
    assert "secret-context" not in repr(personal.read())


def test_finds_are_bounded(personal: World) -> None:
    personal.execute("INSERT INTO vault.audit SELECT i, {}, NULL FROM generate_series(1, 10010) i", tokens(personal)[0])
    report = personal.read()
    assert len(report.canary_hits) == HITS_MAX
    assert any(f"the first {HITS_MAX} of 10010" in note for note in report.notes)


def test_finds_in_rows_leave_room_for_those_in_logs(personal: World, tmp_path: Path) -> None:
    word = tokens(personal)[0]
    personal.execute("INSERT INTO vault.audit SELECT i, {}, NULL FROM generate_series(1, 10010) i", word)
    log = tmp_path / "target.log"
    log.write_text(f"{word}\n")
    report = personal.read(log_files=[log])
    assert [hit.place for hit in report.canary_hits if hit.in_log] == [f"{log}:1"]
    assert sum(not hit.in_log for hit in report.canary_hits) == HITS_MAX


def test_what_is_logged_once_the_rows_were_read_is_found(personal: World, tmp_path: Path) -> None:
    log = tmp_path / "target.log"
    rows = personal.reader.read_rows(personal.sent, personal.baseline).truth
    assert rows.log_files_scanned == ()
    log.write_text(f"goodbye {tokens(personal)[0]}\n")
    scenarios = [outcome.scenario for outcome in personal.scenario_runs]
    report = personal.reader.search_logs(rows, personal.targeter, scenarios, [log])
    assert [hit.place for hit in report.canary_hits] == [f"{log}:1"]
    assert report.log_files_scanned == (str(log),)
    assert (report.groups, report.totals, report.columns_scanned) == (rows.groups, rows.totals, rows.columns_scanned)


def searched(
    personal: World, log: Path, rotate: Callable[[Path, str], object], *, was_there: bool = True
) -> TruthReport:
    """What is found in a log that says a personal value during the run and is then rotated."""
    if was_there:
        log.write_text("before the run\n")
    marks = mark_logs([log])
    with log.open("a") as file:
        file.write(f"hello {tokens(personal)[0]}\n")
    rotate(log, f"goodbye {tokens(personal)[1]}\n")
    rows = personal.reader.read_rows(personal.sent, personal.baseline).truth
    scenarios = [outcome.scenario for outcome in personal.scenario_runs]
    return personal.reader.search_logs(rows, personal.targeter, scenarios, [log], marks)


def renamed(log: Path, word: str) -> None:
    log.rename(log.with_name("target.log.1"))
    log.write_text(word)


def renamed_twice(log: Path, word: str) -> None:
    log.rename(log.with_name("target-1.log"))
    log.write_text(word)
    log.rename(log.with_name("target-2.log"))
    log.write_text("after\n")


def copied(log: Path, word: str) -> None:
    shutil.copyfile(log, log.with_name("target.log.1"))
    log.write_text(word)


@pytest.mark.parametrize("rotate", [renamed, renamed_twice, copied])
def test_a_log_that_is_rotated_during_the_run_is_searched_in_all_its_parts(
    personal: World, tmp_path: Path, rotate: Callable[[Path, str], object]
) -> None:
    report = searched(personal, tmp_path / "target.log", rotate)
    assert len({hit.what for hit in report.canary_hits if hit.in_log}) == 2


def test_a_log_that_began_during_the_run_is_searched_in_all_its_parts(personal: World, tmp_path: Path) -> None:
    report = searched(personal, tmp_path / "target.log", renamed, was_there=False)
    assert report.log_files_unread == ()
    assert len({hit.what for hit in report.canary_hits if hit.in_log}) == 2


def test_a_log_under_a_link_to_the_file_of_the_day(personal: World, tmp_path: Path) -> None:
    (tmp_path / "day-1.log").touch()
    (tmp_path / "target.log").symlink_to("day-1.log")

    def next_day(log: Path, word: str) -> None:
        (tmp_path / "day-2.log").write_text(word)
        log.unlink()
        log.symlink_to("day-2.log")

    report = searched(personal, tmp_path / "target.log", next_day)
    assert report.log_files_unread == ()
    assert len({hit.what for hit in report.canary_hits if hit.in_log}) == 2


def test_a_file_beside_a_log_that_was_not_rotated_is_none_of_its_parts(personal: World, tmp_path: Path) -> None:
    def compress_another(log: Path, word: str) -> None:
        log.with_name("target.log.1.gz").write_bytes(gzip.compress(b"of last week"))
        log.with_name("target.log.lock").mkdir()

    assert searched(personal, tmp_path / "target.log", compress_another).log_files_unread == ()


def removed(log: Path, word: str) -> None:
    kept = log.with_name("elsewhere")
    log.rename(kept)  # else the new file may get the number of the old one
    log.write_text(word)


def compressed(log: Path, word: str) -> None:
    log.with_name("target.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    removed(log, word)


@pytest.mark.parametrize(
    ("rotate", "why"),
    [
        (removed, "it was replaced during the run, and what it was does not lie beside it"),
        (lambda log, _: log.write_text("anew\n"), "it was cut off or written anew during the run"),
        (lambda log, word: log.write_text("another text\n" * 9), "it was cut off or written anew during the run"),
        (compressed, "target.log.1.gz is compressed"),
        (lambda log, _: log.unlink(), "No such file"),
    ],
    ids=["replaced", "cut", "anew", "compressed", "removed"],
)
def test_a_log_of_which_something_is_gone_is_not_called_clean(
    personal: World, tmp_path: Path, rotate: Callable[[Path, str], object], why: str
) -> None:
    report = searched(personal, tmp_path / "target.log", rotate)
    assert report.log_files_unread == (str(tmp_path / "target.log"),)
    assert any(why in note for note in report.notes), report.notes


def test_a_log_in_one_endless_line_of_bytes(personal: World, tmp_path: Path) -> None:
    log = tmp_path / "target.log"
    log.write_bytes(b"\x00\xff" * (1 << 20) + tokens(personal)[0].encode() + b"\xfe" * (1 << 21))
    assert [hit.place for hit in personal.read(log_files=[log]).canary_hits if hit.in_log] == [f"{log}:1"]
