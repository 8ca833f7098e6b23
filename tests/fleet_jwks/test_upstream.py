"""The fetch from a URL, against the origin of the storms: what it brings, and that its time is bounded as a whole."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psycopg
import pytest

from fleet_jwks import JwksSettings, KeysUnavailable, Verifier
from fleet_jwks.errors import FetchFailed
from fleet_jwks.store import create_schema
from fleet_jwks.upstream import fetch_url
from rig.storms.unknown_kid.keyring import Keyring
from rig.storms.unknown_kid.origin import RecordedOrigin, open_origin, read_ledger
from rig.target.postgres import Database
from tests.serving import say, serving
from tests.waiting import wait_until

KEYS = Keyring.make()
DEADLINE_S = 10.0


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[RecordedOrigin]:
    with open_origin(tmp_path, "fetch") as standing:
        standing.change(document=KEYS.document())
        yield standing


def test_a_key_set_is_fetched(origin: RecordedOrigin) -> None:
    assert fetch_url(origin.url, DEADLINE_S) == KEYS.document()


def _stand_before_issuer(handler: BaseHTTPRequestHandler) -> None:
    """Redirect, send chunks, or compress though nobody asked for it, as the path says."""
    body = json.dumps(KEYS.document()).encode()
    match handler.path:
        case "/redirect":
            say(handler, 302, Location="keys")
        case "/moved":
            say(handler, 308, Location="keys")
        case "/gzip":
            say(handler, 200, gzip.compress(body), Content_Encoding="gzip")
        case "/chunks":
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        case _:
            say(handler, 200, body)


def test_a_key_set_comes_through_whatever_stands_before_its_issuer() -> None:
    with serving(_stand_before_issuer) as port:
        for path in ("keys", "redirect", "moved", "gzip", "chunks"):
            assert fetch_url(f"http://127.0.0.1:{port}/{path}", DEADLINE_S) == KEYS.document(), path


@pytest.mark.parametrize(
    ("mode", "timeout_s", "reason"),
    [
        ("fail", DEADLINE_S, "status 503"),
        ("truncated", DEADLINE_S, "JSONDecodeError"),
        ("hang", 0.2, "no whole answer within 0.2 s|timed out"),
        ("drip", 0.2, "no whole answer within 0.2 s"),
    ],
)
def test_a_fetch_that_fails_says_why(origin: RecordedOrigin, mode: str, timeout_s: float, reason: str) -> None:
    origin.change(mode=mode)
    with pytest.raises(FetchFailed, match=reason):
        fetch_url(origin.url, timeout_s)


def test_what_cannot_be_reached_is_a_failed_fetch() -> None:
    for url in ("http://127.0.0.1:9/", "nowhere"):
        with pytest.raises(FetchFailed):
            fetch_url(url, DEADLINE_S)


def test_an_origin_that_drips_is_a_failure_that_the_fleet_backs_off_from(
    origin: RecordedOrigin, database: Database
) -> None:
    """Its head alone takes longer than a leader may stand still: who waited for it would leave no trace of the try."""
    create_schema(database.admin_dsn, database.runtime_role)
    origin.change(mode="drip")
    settings = JwksSettings(
        database.runtime_dsn, url=origin.url, fetch_timeout_s=0.5, leader_timeout_s=3.0, backoff_base_s=60.0
    )
    fleet = [Verifier(settings) for _ in range(2)]
    for verifier in fleet:
        with pytest.raises(KeysUnavailable):
            verifier(KEYS.rotated_token())
        verifier.close()
    with psycopg.connect(database.admin_dsn) as connection:
        rows = connection.execute("SELECT failures, error, wait_s >= 60 FROM jwks_fetches").fetchall()
    assert rows == [(1, "no whole answer within 0.5 s", True)]
    assert [verifier.fetches for verifier in fleet] == [1, 0]
    # The connection outlives the fetch.
    wait_until(lambda: [counted.fetch.outcome for counted in read_ledger(origin.origin_ledger)] == ["aborted"])
