"""A canary is found in every spelling, in every column type, and nothing innocent is taken for one."""

from __future__ import annotations

import base64
import gzip
import html
import ipaddress
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from rig.model import RequestClass, Share
from rig.requests.canary import Canary
from rig.truth.logs import tokens_by_line
from rig.truth.spellings import suspicious, tokens_in
from tests.truth.world import TENANTS, World, scenario

Spell = Callable[[str], str]
REQUEST = "S4-1-orders-1 request 1 of tenant A"


def _fully_quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _hexed(text: str) -> str:
    return text.encode().hex()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELLINGS: dict[str, Spell] = {
    "as sent": lambda text: text,
    "upper case": str.upper,
    "title case": str.title,
    "reversed": lambda text: text[::-1],
    "URL-encoded": lambda text: quote(text, safe=""),
    "URL-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "URL-encoded, every letter": _fully_quoted,
    "HTML-escaped": lambda text: html.escape(text).replace(":", "&#58;").replace("@", "&#64;"),
    "HTML-escaped by name": lambda text: text.replace(":", "&colon;").replace("@", "&commat;"),
    "HTML-escaped, every letter": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "HTML-escaped, every letter in hexadecimal": lambda text: "".join(f"&#x{ord(letter):x};" for letter in text),
    "JSON-escaped": lambda text: text.replace("@", "\\u0040").replace(":", "\\u003a"),
    "JSON-escaped, every letter": lambda text: "".join(f"\\u{ord(letter):04X}" for letter in text),
    "escaped bytes": lambda text: "".join(f"\\x{ord(letter):02x}" for letter in text),
    "hexadecimal": _hexed,
    "hexadecimal in capitals": lambda text: _hexed(text).upper(),
    "hexadecimal with colons": lambda text: text.encode().hex(":"),
    "hexadecimal of capitals": lambda text: _hexed(text.upper()),
    "base64, shifted by 0": _base64,
    "base64, shifted by 1": lambda text: _base64("x" + text + "yz"),
    "base64, shifted by 2": lambda text: _base64("xx" + text + "z"),
    "base64 without padding": lambda text: _base64(text).rstrip("="),
    "base64 of the URL alphabet": lambda text: base64.urlsafe_b64encode(b"\xff\xfe\xfb" + text.encode()).decode(),
    "base64 of JSON": lambda text: _base64(json.dumps({"buyer": {"value": text}})),
    "URL-encoded base64": lambda text: quote(_base64(text), safe=""),
    "between other letters": lambda text: f"xx{text}.",
}
VALUES = ("canary-email", "canary-name", "canary-address", "canary-phone", "canary-ssn", "canary-ip")
PUNCTUATED: dict[str, tuple[str, Spell]] = {
    "a phone number in groups": ("canary-phone", lambda text: f"{text[:3]} ({text[3:6]}) {text[6:9]}-{text[9:]}"),
    "digits by threes": ("canary-ssn", lambda text: " ".join(text[at : at + 3] for at in range(0, len(text), 3))),
    "a card number": ("canary-ssn", lambda text: "-".join(text[at : at + 4] for at in range(0, len(text), 4))),
    "a number with dots, reversed": ("canary-ssn", lambda text: ".".join(text)[::-1]),
    "an address in full": ("canary-ip", lambda text: ipaddress.ip_address(text).exploded),
    "an address in full, in capitals": ("canary-ip", lambda text: ipaddress.ip_address(text).exploded.upper()),
    "an address with zeros": ("canary-ip", lambda text: text.replace("::", ":0:0:")),
    "an address without colons": ("canary-ip", lambda text: ipaddress.ip_address(text).exploded.replace(":", "")),
    "an address in the name system": ("canary-ip", lambda text: ipaddress.ip_address(text).reverse_pointer),
    "an address as a number": ("canary-ip", lambda text: str(int(ipaddress.ip_address(text)))),
    "an address in brackets": ("canary-ip", lambda text: f"[{text}]:443"),
}
FORMS = [(f"{name}: {value}", value, spell) for name, spell in SPELLINGS.items() for value in VALUES]
FORMS += [(name, value, spell) for name, (value, spell) in PUNCTUATED.items()]


@pytest.fixture
def personal(world: World) -> World:
    world.run_scenario(scenario("S4", Share(RequestClass.PERSONAL, 3)))
    world.baseline = world.reader.preflight(
        world.targeter, [run.scenario for run in world.scenario_runs], TENANTS, None
    )
    world.settle()
    return world


def canary(world: World) -> Canary:
    return world.targeter.bind(world.scenario_runs[0].scenario).canary(1)


def reading(text: str) -> Callable[[int], bytes]:
    """A file with the text in its second line."""
    pieces = iter([f"one\n{text}\nthree\n".encode()])
    return lambda _: next(pieces, b"")


def test_every_spelling_is_found_in_text_and_in_a_log(personal: World) -> None:
    """One row for each: the fast search in SQL and the thorough one agree."""
    values, tokens = canary(personal).values(), canary(personal).tokens
    missing = []
    for name, kind, spell in FORMS:
        spelt = spell(values[kind])
        for text in (spelt, f'{{"note": "before {spelt} after"}}', f"{'x' * 50}{spelt}"):
            hay = sql.SQL('({} COLLATE "C")').format(sql.Literal(text))
            lowered = sql.SQL("lower(replace({}, '\\', ''))").format(hay)
            by_sql = sql.SQL("SELECT {}").format(suspicious(hay, lowered))
            [(is_suspicious,)] = personal.connection.execute(by_sql).fetchall()
            in_log = [token for number, token, _ in tokens_by_line(reading(text)) if number == 2]
            if not (is_suspicious and set(tokens_in(text.encode())) & set(tokens) and set(in_log) & set(tokens)):
                missing.append((name, is_suspicious, in_log, text))
    assert missing == []


@pytest.mark.parametrize("name", ["upper case", "reversed", "hexadecimal", "base64, shifted by 1", "URL-encoded"])
@pytest.mark.parametrize(
    "kind",
    [
        "text", "varchar(2000)", "char(900)", "citext", "name", "json", "jsonb", "xml", "hstore", "bytea", "text[]",
        "text[][]", "jsonb[]", "bytea[]", "vault.label", "vault.labels", "vault.inner_label", "vault.pair",
        "vault.pair[]", "vault.words",
    ],
)  # fmt: skip
def test_every_type_of_column_is_searched(personal: World, kind: str, name: str) -> None:
    spelt = SPELLINGS[name](canary(personal).values()["canary-email"])
    personal.execute(
        "CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS hstore;"
        "CREATE DOMAIN vault.label AS text; CREATE DOMAIN vault.inner_label AS vault.label;"
        "CREATE DOMAIN vault.labels AS text[]; CREATE TYPE vault.pair AS (number int, word text);"
        "CREATE TYPE vault.words AS RANGE (subtype = text)"
    )
    personal.execute("SET search_path = public")
    personal.execute(f"CREATE TABLE vault.kept (id bigint, kept {kind})")
    made = {
        "json": "to_json({}::text)", "jsonb": "to_jsonb({}::text)", "xml": "xmlelement(name buyer, {}::text)",
        "hstore": "hstore('mail', {})", "bytea": "convert_to({}, 'UTF8')", "text[]": "ARRAY['x', {}]",
        "text[][]": "ARRAY[['x', {}]]", "jsonb[]": "ARRAY[to_jsonb({}::text)]",
        "bytea[]": "ARRAY[convert_to({}, 'UTF8')]", "vault.labels": "ARRAY[{}]", "vault.pair": "ROW(1, {})",
        "vault.pair[]": "ARRAY[ROW(1, {})::vault.pair]", "vault.words": "vault.words({0}, NULL)",
    }.get(kind, "{}")  # fmt: skip
    spelt = spelt[:60] if kind == "name" else spelt
    try:
        personal.execute(f"INSERT INTO vault.kept VALUES (1, {made})", spelt)
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL was built without XML")
    places = {(hit.place, hit.request) for hit in personal.read().canary_hits}
    assert places == {("vault.kept.kept", REQUEST)}


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("tsvector", "to_tsvector('simple', {email})"),
        ("inet", "{ip}::inet"),
        ("cidr", "{ip}::cidr"),
        ("inet[]", "ARRAY[{ip}::inet]"),
        ("numeric", "{ssn}::numeric"),
        ("vault.inner_number", "{ssn}::numeric"),
        ("vault.inner_number[]", "ARRAY[{ssn}::numeric]"),
        ("numeric(40)", "{number}::numeric"),
        ("numrange", "numrange({ssn}::numeric, NULL)"),
        ("nummultirange", "nummultirange(numrange({ssn}::numeric, NULL))"),
        ("bytea", "{packed}::bytea"),
        ("bytea", "{gzip}::bytea"),
        ("bytea", "{zlib}::bytea"),
        ("bytea", "{wide}::bytea"),
        ("text", "{gzip_base64}"),
    ],
)
def test_types_that_hold_one_kind_of_value(personal: World, kind: str, made: str) -> None:
    values = canary(personal).values()
    address = ipaddress.ip_address(values["canary-ip"])
    document = json.dumps({"buyer": values, "note": "n" * 500}).encode()
    literals = {
        "email": values["canary-email"], "ip": values["canary-ip"], "ssn": values["canary-ssn"],
        "number": str(int(address)), "packed": address.packed, "gzip": gzip.compress(document),
        "zlib": zlib.compress(document), "wide": values["canary-name"].encode("utf-16-le"),
        "gzip_base64": base64.b64encode(gzip.compress(document)).decode(),
    }  # fmt: skip
    personal.execute("CREATE DOMAIN vault.number AS numeric; CREATE DOMAIN vault.inner_number AS vault.number")
    personal.execute(f"CREATE TABLE vault.kept (id bigint, kept {kind})")
    value = sql.SQL(made).format(**{name: sql.Literal(each) for name, each in literals.items()})
    personal.connection.execute(sql.SQL("INSERT INTO vault.kept VALUES (1, {})").format(value))
    hits = personal.read().canary_hits
    assert {(hit.place, hit.request) for hit in hits} == {("vault.kept.kept", REQUEST)}


def test_large_objects_also_across_their_pages(personal: World) -> None:
    word = canary(personal).tokens[0].encode()
    for before in (0, 2040, 2048 * 3 + 2030):
        personal.execute("SELECT lo_from_bytea(0, {})", b"x" * before + word + b"y" * 3000)
    hits = personal.read().canary_hits
    assert len(hits) == 3
    assert all(hit.place.startswith("a large object (") and hit.request == REQUEST for hit in hits)


def test_large_objects_that_this_role_may_not_read_are_told(personal: World) -> None:
    role = sql.Identifier(personal.database.runtime_role)
    personal.execute("GRANT USAGE ON SCHEMA vault TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA vault TO {0}", role)
    personal.execute("SELECT lo_from_bytea(0, 'x')")
    reader = type(personal.reader)(personal.profile, personal.database.runtime_dsn)
    report = reader.read(personal.sent, personal.baseline)
    assert any("GRANT SELECT ON pg_largeobject" in note for note in report.notes)


def test_comments(personal: World) -> None:
    personal.execute("COMMENT ON TABLE vault.audit IS {}", f"for {canary(personal).values()['canary-email'].upper()}")
    [hit] = personal.read().canary_hits
    assert (hit.place, hit.request) == ("pg_catalog.pg_description.description", REQUEST)


def test_the_spelling_is_said_and_the_place_in_a_document(personal: World) -> None:
    values = canary(personal).values()
    document = {"a": [{"b": values["canary-email"].upper()}], "c": _base64(values["canary-ssn"])}
    personal.execute("INSERT INTO vault.audit VALUES (1, {}, NULL)", json.dumps(document))
    word, digits, _ = canary(personal).tokens
    assert {(hit.what, hit.json_path) for hit in personal.read().canary_hits} == {
        (f"value {word} (another spelling)", "$.a[0].b"),
        (f"value {digits} (base64)", "$.c"),
    }


def test_old_rows_are_not_searched_and_stop_nothing(personal: World) -> None:
    """Old dead letters with NUL, with text that is no JSON, and of megabytes, each with something suspicious in it."""
    letter = personal.expect()[0]
    older = letter._replace(key="older")
    personal.execute("ALTER TABLE {letters} ADD sent json")
    secret = "secret-context " + "CNRY 9997 12 2001:db8 Y25ye "
    for raw in ('{"note":"a\\u0000b"}', "{" + secret, secret * 40_000, "[" * 100_000 + secret):
        personal.bury(older, raw=raw, sent='{"note": "a\\u0000b ' + 'cnry \\ud800"}')
    for baseline in (personal.baseline, personal.reader.preflight(personal.targeter, (), TENANTS, None)):
        personal.baseline = baseline
        report = personal.read()
        assert report.canary_hits == ()
        assert "secret" not in repr(report)


def test_random_values_are_no_canaries() -> None:
    """Text of every kind in which canaries begin everywhere: none is one of the run's."""
    random_bytes = random.Random(7)
    own = {token for number in range(1000) for token in Canary.of(f"run#{number}").tokens}
    found = set()
    for _ in range(300):
        noise = random_bytes.randbytes(60)
        texts = [
            f"cnry{noise[:8].hex()}",
            f"9997{int.from_bytes(noise[:8], 'big'):020d}",
            f"+9997 {int.from_bytes(noise[8:16], 'big'):020d}",
            f"2001:db8::{noise[:8].hex(':', 2)}",
            _base64("cnry" + noise.hex()),
            noise.hex(),
            _base64(noise.hex()),
        ]
        found |= set(tokens_in(" ".join(texts).encode()))
    assert found
    assert not found & own


# --- logs ---


def test_a_log_of_one_endless_line_and_a_spelling_across_its_pieces(tmp_path: Path) -> None:
    spelt = _fully_quoted(Canary(7).values()["canary-email"]).encode()
    data = b"x" * ((1 << 20) - 40) + spelt + b"y" * 100
    chunks = [data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)]
    waiting = iter(chunks)
    found = list(tokens_by_line(lambda _: next(waiting, b"")))
    assert [(number, token) for number, token, _ in found] == [(1, Canary(7).tokens[0])]
