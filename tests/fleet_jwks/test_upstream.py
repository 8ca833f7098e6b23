"""The fetch from a URL, against the origin of the storms: what it brings, and that its time is bounded as a whole."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class _Proxies(BaseHTTPRequestHandler):
    """What stands before an issuer: it redirects, sends chunks, or compresses though nobody asked for it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(KEYS.document()).encode()
        self.send_response({"/redirect": 302, "/moved": 308}.get(self.path, 200))
        if self.path in ("/redirect", "/moved"):
            body = b""
            self.send_header("Location", "keys")
        if self.path == "/gzip":
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_key_set_comes_through_whatever_stands_before_its_issuer() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for path in ("keys", "redirect", "moved", "gzip", "chunks"):
            assert fetch_url(f"http://127.0.0.1:{server.server_port}/{path}", DEADLINE_S) == KEYS.document(), path
        server.shutdown()


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
