"""The content of rows against what was sent: which alterations are found, and what is the same in another form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from rig.errors import ConfigError
from rig.evidence.truth import Content, DiscrepancyKind, TruthReport
from rig.model import Outcome, RequestClass, Share
from rig.profile import Profile
from rig.target.postgres import Cluster, Database
from rig.truth.alterations import Alteration
from tests.truth.intake import TABLE, TENANTS, TEXT, Intake, described
from tests.truth.world import scenario


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Database]:
    made = cluster.create_database("content")
    yield made
    cluster.drop_database(made)


@pytest.fixture
def intake_of(database: Database) -> Iterator[Callable[..., Intake]]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS events, letters; " + TABLE)
        has_is_json = connection.info.server_version >= 160000

        def make(profile: Profile | None = None) -> Intake:
            described_as = profile or described()
            return Intake(database, connection, described_as if has_is_json else without_json_in_text(described_as))

        yield make


def without_json_in_text(profile: Profile) -> Profile:
    """What PostgreSQL 15 can compare: it has no ``IS JSON``, so it cannot tell whether a text column holds JSON."""
    document = profile.model_dump(mode="json")
    fields = document["truth"]["canonical"]["fields"]
    if fields.get("payload_text", {}).get("type") == "json":
        del fields["payload_text"]
    return Profile.model_validate(document)


def skip_json_in_text(intake: Intake, change: str) -> None:
    """Skip a change of what PostgreSQL 15 does not compare."""
    if change.startswith("payload_text") and intake.connection.info.server_version < 160000:
        pytest.skip("JSON in a text column needs PostgreSQL 16")


@pytest.fixture
def intake(intake_of: Callable[..., Intake]) -> Intake:
    """Ten valid events of two tenants, stored as they were sent."""
    own = intake_of()
    own.send(scenario("S2", Share(RequestClass.VALID, 10), tenants=("A", "B")))
    own.store()
    return own


def content(report: TruthReport) -> Content:
    assert report.content is not None
    [found] = report.content
    return found


def test_rows_of_a_perfect_service_are_as_sent(intake: Intake) -> None:
    report = intake.read()
    assert report.discrepancies == ()
    assert report.content == (Content("S2", 10, 0),)


SAME = {
    "key order, white space and escapes": "payload_text = to_json(payload)::text",
    "pretty": "payload_text = jsonb_pretty(payload)",
    "ten is 10.0": "payload = jsonb_set(payload, '{data,ratio}', '10.0')",
    "scale": "total = total * 1.0000, units = units::numeric(12, 2)",
    "zeros in a text": "amount_text = amount_text || '.00'",
    "another zone": "at_text = to_char(at AT TIME ZONE 'Asia/Katmandu', 'YYYY-MM-DD HH24:MI:SS') || '+05:45'",
    "blank for T": "at_text = replace(at_text, 'T', ' ')",
    "seconds as milliseconds": "at_number = at_number * 1000 + 417",
    "a row's own microseconds": "at = at + interval '0.999999 s', at_naive = at_naive + interval '0.5 s'",
    "time as text": "at_text = at::text",
    "unix as text": "at_text = extract(epoch FROM at)::text",
    "more keys where the profile says contains": "part = part || '{\"added\": 1}'",
    "small letters and a comma in a time": "at_text = lower(replace(at_text, 'Z', ',417Z'))",
    "seconds as microseconds": "at_number = at_number * 1000000",
    "seconds as nanoseconds": "at_number = at_number * 1000000000 + 417",
    "other columns": "extra = 'whatever'",
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_the_same_in_another_form_is_no_alteration(intake: Intake, change: str) -> None:
    skip_json_in_text(intake, change)
    intake.execute(f"UPDATE events SET {change}")
    assert content(intake.read()) == Content("S2", 10, 0)


OTHER = (
    "(SELECT o.{0} FROM events o WHERE o.key > e.key OR o.key = (SELECT min(key) FROM events)"
    " ORDER BY o.key DESC LIMIT 1)"
)
ALTERED = {
    "amount 0": ("amount = 0", "amount: 0 in 10 of 10"),
    "amount + 1": ("amount = amount + 1", "amount: expected +1 in 10 of 10"),
    "amount NULL": ("amount = NULL", "amount: NULL in 10 of 10"),
    "sign": ("amount = -amount", "amount: the sign is flipped in 10 of 10"),
    "cents for units": ("total = total * 100", "total: ×100 in 10 of 10"),
    "units for cents": ("cents = round(cents / 100.0)", "cents: ÷100"),
    "cents in a column of units": ("units = units * 100", "units: ×100 in 10 of 10"),
    "rounded": ("total = round(total)", "total: rounded"),
    "rounded to tens of cents": ("units = round(units, 1)", "units: rounded"),
    "float": ("total = total + 0.0000001", "total: "),
    "no number": ("amount_text = 'EUR ' || amount_text", "amount_text: not a number in 10 of 10"),
    "currency": ("currency = 'eur'", "currency: always 'eur' in 10 of 10"),
    "case": ("currency = upper(currency)", "currency: case changed in 10 of 10"),
    "white space": ("reference = ' ' || reference", "reference: white space changed in 10 of 10"),
    "trimmed": (
        "payload = jsonb_set(payload, '{data,name}', to_jsonb(trim('ﬁ' FROM payload #>> '{data,name}')))",
        "payload: data.name",
    ),
    "cut": ("reference = left(reference, 20)", "reference: truncated in 10 of 10"),
    "empty": ("reference = ''", "reference: empty in 10 of 10"),
    "swapped": ("reference = currency, currency = left(reference, 3)", "currency: always 'evt' in 10 of 10"),
    "constant": ("vendor = 'adyen'", "vendor: always 'adyen' in 10 of 10"),
    "value for null": ("nothing = ''", "nothing: "),
    "null for empty": ("empty = NULL", "empty: NULL in 10 of 10"),
    "NFD": ("name = normalize(name, NFD)", "name: encoding changed (Unicode normalisation) in 10 of 10"),
    "latin-1": ("name = convert_from(convert_to(name, 'UTF8'), 'LATIN1')", "name: encoding changed"),
    "question marks": ("name = regexp_replace(name, '[^ -~]', '?', 'g')", "name: encoding changed"),
    "1970": ("at = to_timestamp(0)", "at: 1970 in 10 of 10"),
    "days": ("at = date_trunc('day', at)", "at: truncated to days in 10 of 10"),
    "hours": ("at = date_trunc('hour', at)", "at: truncated to hours in 10 of 10"),
    "zone": ("at = at + interval '2 h'", "at: time off by +2 h in 10 of 10"),
    "zone of a time without zone": (
        "at_naive = at_naive - interval '5 h 30 min'",
        "at_naive: time off by -5.5 h in 10 of 10",
    ),
    "zone as text": ("at_text = replace(at_text, 'Z', '-03:00')", "at_text: time off by +3 h in 10 of 10"),
    "a second": ("at = at + interval '1 s'", "at: time off by +1"),
    "seconds": ("at_ms = date_trunc('second', at_ms)", "at_ms: truncated to seconds in 10 of 10"),
    "milliseconds lost": ("at_ms = date_trunc('second', at_ms) - interval '1 ms'", "at_ms: off by less than a second"),
    "no time": ("at_text = 'yesterday'", "at_text: not a time in 10 of 10"),
    "February 30": ("at_text = '2023-02-30T00:00:00Z'", "at_text: not a time in 10 of 10"),
    "a time before all others": ("at_number = -99999999999999", "at_number: far in the past in 10 of 10"),
    "a time after all others": ("at = 'infinity'", "at: not a time in 10 of 10"),
    "NaN": ("total = 'NaN'", "total: always 'NaN' in 10 of 10"),
    "a number without end": ("total = 'Infinity'", "total: always 'Infinity' in 10 of 10"),
    "an endless exponent": ("amount_text = '1e999999999999'", "amount_text: always '1e999999999999' in 10 of 10"),
    "JSON that jsonb cannot hold": ("payload_text = '{\"a\": 1e999999}'", "payload_text: keys dropped"),
    "number of another time": ("at_number = 0", "at_number: 1970 in 10 of 10"),
    "emptied": ("payload = '{}'", "payload: emptied in 10 of 10"),
    "emptied text": ("payload_text = ''", "payload_text: empty in 10 of 10"),
    "list": ("payload = '[]'", "payload: emptied in 10 of 10"),
    "truncated": ("payload_text = left(payload_text, 100)", "payload_text: not JSON in 10 of 10"),
    "dropped": ("payload = payload - 'source' - 'at'", "payload: keys dropped: at, source in 10 of 10"),
    "added": ("payload = payload || '{\"seen\": true}'", "payload: keys added: seen in 10 of 10"),
    "text for number": (
        "payload = jsonb_set(payload, '{data,amount}', to_jsonb(payload #>> '{data,amount}'))",
        "payload: data.amount: a text instead of a number in 10 of 10",
    ),
    "float for number": ("payload = jsonb_set(payload, '{data,ratio}', '10.5')", "payload: data.ratio: "),
    "null in a list": ("payload = jsonb_set(payload, '{data,list,2}', '0')", "payload: data.list.2: "),
    "string of JSON": ("payload = to_jsonb(payload::text)", "payload: "),
    "part dropped": ("part = part - 'b'", "part: keys dropped: b in 10 of 10"),
    "NUL escape": ("payload_text = replace(payload_text, 'usd', '\\u0000')", "payload_text: "),
    "key of its own": ("own_key = gen_random_uuid()", "own_key: "),
    "text of another event": ("reference = {}", "reference: content of another event"),
    "payload of another event": ("payload = {}", "payload: content of another event"),
}


@pytest.mark.parametrize(("change", "reason"), ALTERED.values(), ids=ALTERED.keys())
def test_an_alteration_is_found_and_named(intake: Intake, change: str, reason: str) -> None:
    skip_json_in_text(intake, change)
    column = change.partition(" ")[0]
    intake.execute(f"UPDATE events e SET {change.replace('= {}', '= ' + OTHER.format(column))}")
    report = intake.read()
    found = content(report)
    assert found.compared == 10
    assert found.altered >= 7
    assert any(each.startswith(reason) for each in found.reasons), found.reasons
    altered = [each for each in report.discrepancies if each.kind is DiscrepancyKind.ALTERED]
    assert len(altered) == found.altered == len(report.discrepancies)
    assert column in altered[0].detail


OWN_SPELLINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "numeric(12, 4)": ("total", {"path": "data.total"}),
    "numeric(12, 2)": ("amount", {"path": "data.amount"}),
    "float8": ("0.30000000000000004", {"constant": 0.30000000000000004, "type": "decimal"}),
    "float4": ("total", {"path": "data.total", "type": "decimal"}),
    "money": ("total", {"path": "data.total"}),
    "inet": ("'10.1.2.3'", {"constant": "10.1.2.3"}),
    "macaddr": ("'08:00:2b:01:02:03'", {"constant": "08-00-2B-01-02-03"}),
    "interval": ("'300 s'", {"constant": "PT5M"}),
    "time": ("'09:05'", {"constant": "9:05"}),
    "bytea": ("convert_to(name, 'UTF8')", {"path": "data.name"}),
    "jsonb": ("'null'", {"path": "data.nothing"}),
    "timestamptz": ("'2024-06-01 12:00:00.123457Z'", {"path": "nanoseconds", "type": "iso"}),
    "timestamp": ("'1969-12-31 23:59:58.5'", {"path": "early", "type": "iso"}),
    "varchar(40)": ("'2024-06-01T12:00:00.123456789Z'", {"path": "nanoseconds", "type": "iso"}),
    "bigint": ("(extract(epoch FROM at_ms) * 1000)::bigint", {"path": "ms", "type": "unix"}),
}


def test_a_column_that_spells_a_value_in_its_own_way_holds_it(intake_of: Callable[..., Intake]) -> None:
    fields = {f"own_{at}": field for at, (_, field) in enumerate(OWN_SPELLINGS.values())}
    moments = '{"early": "1969-12-31T23:59:58.5Z", "nanoseconds": "2024-06-01T12:00:00.123456789Z", '
    own = intake_of(described(fields, body=moments + TEXT[1:]))
    if own.connection.info.server_version < 160000:
        pytest.skip("a column of addresses needs PostgreSQL 16")
    for at, kind in enumerate(OWN_SPELLINGS):
        own.execute(f"ALTER TABLE events ADD own_{at} {kind}")
    own.preflight()
    own.send(scenario("S2", Share(RequestClass.VALID, 10), tenants=("A", "B")))
    own.store()
    for at, (value, _) in enumerate(OWN_SPELLINGS.values()):
        own.execute(f"UPDATE events SET own_{at} = {value}")
    assert content(own.read()) == Content("S2", 10, 0)
    for at in range(len(fields)):
        own.execute(f"UPDATE events SET own_{at} = DEFAULT")
    reasons = content(own.read()).reasons
    assert {each.partition(":")[0] for each in reasons} == {*fields} - {"own_10"}


CONTAINED = {
    "more keys": ("jsonb_set(payload, '{seen}', 'true') || '{\"added\": [1]}'", False),
    "more keys in a list": ("jsonb_set(payload, '{data,list,4,seen}', 'true')", False),
    "a list reversed": ("jsonb_set(payload, '{data,list}', '[{\"a\": [1]}, true, null, \"two\", 1]')", True),
    "an item twice": ("jsonb_insert(payload, '{data,list,0}', '1')", True),
    "an item that is a list": ("jsonb_set(payload, '{data,list,0}', '[1]')", True),
    "a list within one": ("jsonb_set(payload, '{data,list,4,a}', '[1, 1]')", True),
    "no list": ("jsonb_set(payload, '{data,list}', '\"none\"')", True),
    "nothing": ("NULL", True),
}


@pytest.mark.parametrize(("change", "is_altered"), CONTAINED.values(), ids=CONTAINED.keys())
def test_a_row_may_hold_more_keys_and_no_more_items(
    intake_of: Callable[..., Intake], change: str, is_altered: bool
) -> None:
    text = TEXT.replace('[1, "two", null, true]', '[1, "two", null, true, {"a": [1]}]')
    own = intake_of(described({"payload": {"type": "json-contains"}}, body=text))
    own.send(scenario("S2", Share(RequestClass.VALID, 3)))
    own.store()
    assert content(own.read()) == Content("S2", 3, 0)
    own.execute(f"UPDATE events SET payload = {change}")
    assert content(own.read()).altered == (3 if is_altered else 0)


def test_one_altered_row_is_named_with_both_values(intake: Intake) -> None:
    key = intake.targeter.bind(intake.scenario_runs[0].scenario).key(3)
    intake.execute("UPDATE events SET amount = 7, currency = 'eur' WHERE key = %s", key)
    report = intake.read()
    assert content(report).altered == 1
    [discrepancy] = report.discrepancies
    assert (discrepancy.key, discrepancy.tenant) == (key, "B")
    assert "became '7'; currency: 'usd' became 'eur'" in discrepancy.detail


def test_found_values_are_cut_and_escaped(intake: Intake) -> None:
    intake.execute("UPDATE events SET reference = %s", "\x1b[31m" + "z" * 500)
    [discrepancy, *_] = intake.read().discrepancies
    assert "\x1b" not in discrepancy.detail
    assert len(discrepancy.detail) < 300


def test_a_duplicate_with_other_content_is_found(intake: Intake) -> None:
    intake.execute("INSERT INTO events SELECT * FROM events ORDER BY key LIMIT 1")
    assert content(intake.read()) == Content("S2", 11, 0)
    intake.execute("UPDATE events SET amount = 7 WHERE ctid = (SELECT max(ctid) FROM events)")
    assert content(intake.read()).altered == 1


def test_dead_letters_are_held_against_what_was_sent_but_for_personal_parts(intake_of: Callable[..., Intake]) -> None:
    intake = intake_of()
    intake.send(
        scenario(
            "S6", Share(RequestClass.MALFORMED, 4), Share(RequestClass.PERSONAL, 6), Share(RequestClass.INVALID_JSON, 3)
        )
    )
    intake.store()
    assert content(intake.read()) == Content("S6", 10, 0, dead=10)
    intake.execute("UPDATE letters SET payload = '{}'")
    found = content(intake.read())
    assert found.altered == 10
    assert found.reasons[0].startswith("dead letter's payload: emptied in 10 of 10")


@pytest.mark.parametrize("policy", ["keep", "scrub"])
def test_personal_parts_of_a_kept_event_are_not_compared(intake_of: Callable[..., Intake], policy: str) -> None:
    columns = {"columns": ["events.payload", "events.payload_text"]} if policy == "keep" else {}
    document = described().model_dump(mode="json") | {"personal_data": {"policy": policy, **columns}}
    intake = intake_of(Profile.model_validate(document))
    intake.send(scenario("S4", Share(RequestClass.PERSONAL, 6)))
    intake.store()
    if policy == "scrub":
        intake.execute("UPDATE events SET payload = payload #- '{data,email}' #- '{buyer,contact,phone}'")
        intake.execute("UPDATE events SET payload_text = payload")
    assert content(intake.read()) == Content("S4", 6, 0)
    intake.execute("UPDATE events SET payload = payload #- '{data,currency}'")
    assert content(intake.read()).reasons[0].startswith("payload: keys dropped: data.currency in 6 of 6")


def test_a_whole_event_that_is_kept_as_text_may_hold_the_personal_value(intake_of: Callable[..., Intake]) -> None:
    document = described({"payload_text": {"type": "text"}}).model_dump(mode="json")
    document |= {"personal_data": {"policy": "keep", "columns": ["events.payload", "events.payload_text"]}}
    intake = intake_of(Profile.model_validate(document))
    intake.send(scenario("S6", Share(RequestClass.PERSONAL, 6), Share(RequestClass.VALID, 4)))
    intake.store()
    found = content(intake.read())
    assert (found.compared, found.altered) == (4, 0)


def test_a_conflict_that_overwrites_is_found(intake_of: Callable[..., Intake]) -> None:
    document = described().model_dump(mode="json") | {"answers": {"conflict": {"status": [409]}}}
    intake = intake_of(Profile.model_validate(document))
    intake.send(scenario("S2", Share(RequestClass.VALID, 5)))
    intake.store()
    second = scenario("conflict", Share(RequestClass.CONFLICT, 5), keys_of="S2")
    intake.send(second)
    assert content(intake.read()) == Content("S2", 5, 0)
    targets = intake.targeter.bind(second, intake.credentials)
    for seq in range(5):
        event = json.loads(targets.body(seq, 0))
        intake.execute("UPDATE events SET amount = %s WHERE key = %s", event["data"]["amount"], targets.key(seq))
    assert content(intake.read()).reasons[0].startswith("amount: expected ")


def test_what_a_refused_request_left_is_compared_where_it_is(intake_of: Callable[..., Intake]) -> None:
    intake = intake_of()
    intake.send(scenario("S2", Share(RequestClass.VALID, 4)), Outcome.REFUSED)
    intake.store()
    intake.execute("DELETE FROM events WHERE key = (SELECT min(key) FROM events)")
    assert content(intake.read()) == Content("S2", 3, 0)


def test_the_same_key_of_two_tenants_and_sources_of_channels(intake_of: Callable[..., Intake]) -> None:
    intake = intake_of(
        described(
            body=TEXT.replace("usd", "<tenant>"),
        )
    )
    intake.execute("ALTER TABLE events ALTER currency TYPE text")
    intake.send(scenario("S5", Share(RequestClass.REPLAY, 6, one_key=True), tenants=("A", "B"), shared_key=True))
    intake.send(scenario("S9", Share(RequestClass.VALID, 1, source='f"b%'), Share(RequestClass.VALID, 1, source="fb")))
    intake.store()
    assert intake.read().content == (Content("S5", 2, 0), Content("S9", 2, 0))


def test_what_is_of_the_sending_is_not_compared(intake_of: Callable[..., Intake]) -> None:
    body = TEXT.replace('"usd"', '"<now_iso>"').replace('"Zoë', '"<correlation> <signature>').replace("aaaa", "", 1)
    fields = {"payload": {"type": "json"}, "payload_text": {"type": "json"}}
    intake = intake_of(described(fields, body=body.replace("<signature>", "x")))
    intake.execute("ALTER TABLE events ALTER currency TYPE text")
    intake.send(scenario("S1", Share(RequestClass.REPLAY, 3, one_key=True)))
    intake.store()
    assert content(intake.read()) == Content("S1", 1, 0)
    intake.execute("UPDATE events SET payload = payload #- '{data,currency}'")
    assert content(intake.read()).altered == 1


def test_a_constant_channel_is_that_of_the_default_source(intake_of: Callable[..., Intake]) -> None:
    document = described({"vendor": {"constant": "email"}}).model_dump(mode="json")
    document["truth"]["canonical"]["channel"] = "vendor"
    intake = intake_of(Profile.model_validate(document))
    intake.send(scenario("S2", Share(RequestClass.VALID, 2)))
    intake.send(scenario("S9", Share(RequestClass.VALID, 1, source="fb", channel="social")))
    intake.store()
    intake.execute("UPDATE events SET vendor = CASE WHEN source = 'fb' THEN 'social' ELSE 'tiktok' END")
    report = intake.read()
    assert report.content is not None
    assert [(each.scenario, each.altered) for each in report.content] == [("S2", 2)]


def test_events_of_a_batch_and_of_a_text(intake_of: Callable[..., Intake]) -> None:
    batch = intake_of(described({"payload": {"type": "json"}, "reference": {"path": "id"}}, events=3, malformed=[]))
    batch.send(scenario("S2", Share(RequestClass.VALID, 2)))
    targets = batch.targeter.bind(batch.scenario_runs[0].scenario, batch.credentials)
    for seq in range(2):
        for number, event in enumerate(json.loads(targets.body(seq, 0))):
            row = {"tenant": TENANTS[0].id, "key": targets.key(seq, number), "payload": json.dumps(event)}
            batch.insert("events", row | {"reference": event["id"]})
    assert content(batch.read()) == Content("S2", 6, 0)
    xml = '<sale id="<event>"><total><decimal></total><from><source></from></sale>'
    columns = {
        "payload_text": {"type": "text"},
        "total": {"path": "<decimal>", "type": "decimal"},
        "source": {"path": "<source>"},
    }
    piece = {"remove": "<total>"}
    text = intake_of(described(columns, format="text", body=xml, malformed=[piece], personal=[]))
    text.execute("TRUNCATE events")
    text.send(scenario("S2", Share(RequestClass.VALID, 2, source="a & b")))
    targets = text.targeter.bind(text.scenario_runs[0].scenario, text.credentials)
    for seq in range(2):
        body = targets.body(seq, 0).decode()
        assert "a &amp; b" in body
        total = body.partition("<total>")[2].partition("<")[0]
        row = {"tenant": TENANTS[0].id, "key": targets.key(seq), "payload_text": body, "total": total}
        text.insert("events", row | {"source": "a & b"})
    assert content(text.read()) == Content("S2", 2, 0)


def test_a_form_is_an_object_of_its_names(intake_of: Callable[..., Intake]) -> None:
    form = intake_of(
        described(
            {
                "payload": {"type": "json"},
                "reference": {"path": "data[id]"},
                "amount": {"path": "amount", "type": "integer"},
            },
            format="form",
            body='{"data[id]": "e <event>", "amount": <amount>, "tags": ["a", "b"]}',
            content_type="application/x-www-form-urlencoded",
            malformed=[],
            personal=[],
        )
    )
    form.send(scenario("S2", Share(RequestClass.VALID, 2)))
    targets = form.targeter.bind(form.scenario_runs[0].scenario)
    for seq in range(2):
        key = targets.key(seq)
        plain = key.replace("-", "")
        amount = 100 + int(plain[:12], 16) % 99_900
        payload = json.dumps({"data[id]": f"e {plain}", "amount": str(amount), "tags": ["a", "b"]})
        row = {"tenant": TENANTS[0].id, "key": key, "payload": payload, "reference": f"e {plain}", "amount": amount}
        form.insert("events", row)
    assert content(form.read()) == Content("S2", 2, 0)


@pytest.mark.parametrize(
    ("fields", "route", "message"),
    [
        (
            {"nope": {"path": "id"}},
            {},
            "profile key truth.canonical.fields: table public.events has no column 'nope'; it has: tenant, key",
        ),
        (
            {"amount": {"path": "data.amnt", "type": "integer"}},
            {},
            "fields.amount: the path 'data.amnt' leads nowhere in the event of the route; there it has: amount, total",
        ),
        ({"amount": {"path": "data.list.9"}}, {}, "leads nowhere"),
        ({"amount": {"path": "id", "type": "integer"}}, {}, "type 'integer' does not fit its value 'evt_<event>'"),
        ({"at": {"path": "at", "type": "unix"}}, {}, "type 'unix' does not fit its value '<iso>'"),
        (
            {"own_key": {"path": "data.amount", "type": "integer"}},
            {},
            "does not fit public.events.own_key, which is uuid",
        ),
        (
            {"at": {"path": "at"}},
            {},
            'does not fit public.events.at, which is timestamp with time zone; give type = "iso", or "unix" where',
        ),
        ({"amount": {"path": "data"}}, {}, 'leads to an object or a list; give type = "json"'),
        ({"name": {"path": "<event>-<key>"}}, {}, "stands nowhere in the request"),
        (
            {"name": {"path": "data.currency"}},
            {"body": TEXT.replace("usd", "<correlation>")},
            "its value has <correlation>",
        ),
        (
            {},
            {"fields": {"nope": {"path": "id"}}},
            "routes.fields (route 'orders'): table public.events has no column 'nope'",
        ),
    ],
)
def test_a_field_that_does_not_fit_is_refused(
    intake_of: Callable[..., Intake], fields: dict[str, Any], route: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        intake_of(described(fields, **route)).preflight()
    assert message in str(refused.value)


def test_without_fields_nothing_is_compared(intake_of: Callable[..., Intake]) -> None:
    document = described({}).model_dump(mode="json")
    document["truth"]["dead"]["fields"] = {}
    intake = intake_of(Profile.model_validate(document))
    intake.send(scenario("S2", Share(RequestClass.VALID, 2)))
    assert intake.read().content == ()


def test_a_list_that_lost_an_item_says_so() -> None:
    lost = Alteration("lines", "json", "k", '[{"sku": "A"}, {"sku": "A"}]', '[{"sku": "A"}]')
    assert lost.label == "lines: the whole: 1 items instead of 2"
