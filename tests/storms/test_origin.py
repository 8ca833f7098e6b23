"""The JWKS origin and its recording proxy: what they serve, and that their counts agree however a fetch ends."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rig.errors import RigError
from rig.storms.unknown_kid.origin import RecordedOrigin, open_origin, read_ledger
from tests.waiting import wait_until

DOCUMENT = {"keys": [{"kid": "one"}]}
DEADLINE_S = 10.0


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[RecordedOrigin]:
    with open_origin(tmp_path / "ledger", "case") as standing:
        standing.change(document=DOCUMENT)
        yield standing


def get(origin: RecordedOrigin, timeout_s: float = DEADLINE_S) -> bytes:
    with urllib.request.urlopen(origin.url, timeout=timeout_s) as response:
        return bytes(response.read())


def outcomes(origin: RecordedOrigin, count: int) -> tuple[list[str], list[str]]:
    """Of the origin and of the recording proxy, once both have seen the end of ``count`` fetches."""
    ledgers = (origin.origin_ledger, origin.proxy_ledger)
    for path in ledgers:
        wait_until(lambda path=path: [one.fetch.end_ns is not None for one in read_ledger(path)] == [True] * count)
    ours, proxied = ([counted.fetch.outcome for counted in read_ledger(path)] for path in ledgers)
    return ours, proxied


def test_it_serves_what_it_was_given_and_rotates(origin: RecordedOrigin) -> None:
    assert json.loads(get(origin)) == DOCUMENT
    origin.change(document={"keys": []})
    assert json.loads(get(origin)) == {"keys": []}
    assert outcomes(origin, 2) == (["200", "200"], ["200", "200"])


def test_who_has_the_key_set_already_is_told_so_and_that_is_a_fetch(origin: RecordedOrigin) -> None:
    origin.change(cache_control="public, max-age=60")
    with urllib.request.urlopen(origin.url, timeout=DEADLINE_S) as response:
        etag, cache_control = response.headers["ETag"], response.headers["Cache-Control"]
    again = urllib.request.Request(origin.url, headers={"If-None-Match": etag})
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(again, timeout=DEADLINE_S)
    origin.change(document={"keys": []})
    with urllib.request.urlopen(again, timeout=DEADLINE_S) as response:
        assert json.loads(response.read()) == {"keys": []}
    assert cache_control == "public, max-age=60"
    assert outcomes(origin, 3) == (["200", "304", "200"], ["200", "304", "200"])
    assert all(counted.fetch.is_good for counted in read_ledger(origin.origin_ledger))


def test_each_mode_is_what_it_says_and_is_counted_twice(origin: RecordedOrigin) -> None:
    origin.change(mode="fail", status=500)
    with pytest.raises(urllib.error.HTTPError, match="500"):
        get(origin)
    origin.change(mode="malformed")
    assert json.loads(get(origin)) == {"keys": "none"}
    origin.change(mode="truncated")
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(get(origin))
    origin.change(mode="hang")
    with pytest.raises(TimeoutError):
        get(origin, 0.2)
    ours, proxied = outcomes(origin, 4)
    assert ours == ["500", "malformed", "truncated", "aborted"]
    assert proxied == ["500", "200", "200", "aborted"]


def test_a_change_comes_when_it_is_due(origin: RecordedOrigin) -> None:
    due_ns = time.monotonic_ns() + 300_000_000
    origin.change(mode="fail", at_ns=due_ns)
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        asked_ns = time.monotonic_ns()
        try:
            get(origin)
        except urllib.error.HTTPError:
            assert time.monotonic_ns() >= due_ns
            return
        assert asked_ns < due_ns + 200_000_000
    pytest.fail("it never came")


def test_fetches_at_once_are_seen_as_such(origin: RecordedOrigin) -> None:
    origin.change(delay_s=0.3)
    threads = [threading.Thread(target=get, args=(origin,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes(origin, 5) == (["200"] * 5, ["200"] * 5)
    starts = [json.loads(line) for line in origin.origin_ledger.read_text().splitlines()]
    assert max(line.get("concurrent", 0) for line in starts) == 5
    fetches = [counted.fetch for counted in read_ledger(origin.origin_ledger)]
    assert max(fetch.start_ns for fetch in fetches) < min(fetch.end_ns or 0 for fetch in fetches)


def test_requests_of_one_connection_are_counted_each(origin: RecordedOrigin) -> None:
    parts = urlsplit(origin.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=DEADLINE_S)
    for _ in range(3):
        connection.request("GET", parts.path)
        connection.getresponse().read()
    connection.close()
    assert outcomes(origin, 3) == (["200"] * 3, ["200"] * 3)


def test_an_offer_to_speak_another_protocol_is_a_request_like_any(origin: RecordedOrigin) -> None:
    """Java's client makes it with every first request of a connection."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    parts = urlsplit(origin.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=DEADLINE_S)
    for headers in (offer, {}, offer):
        connection.request("GET", parts.path, headers=headers)
        assert json.loads(connection.getresponse().read()) == DOCUMENT
    connection.close()
    assert outcomes(origin, 3) == (["200"] * 3, ["200"] * 3)


def test_what_the_tee_cannot_read_reaches_the_origin_all_the_same(origin: RecordedOrigin) -> None:
    parts = urlsplit(origin.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_S) as client:
        client.sendall(b"NONSENSE\r\n\r\n")
        assert b" 400 Bad Request" in client.recv(4096)
    assert json.loads(get(origin)) == DOCUMENT


def test_who_goes_away_is_counted_by_both(origin: RecordedOrigin) -> None:
    origin.change(delay_s=DEADLINE_S)
    parts = urlsplit(origin.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        wait_until(lambda: read_ledger(origin.origin_ledger))
    assert outcomes(origin, 1) == (["aborted"], ["aborted"])


@pytest.mark.parametrize("change", [{"mode": "dreamy"}, {"colour": "blue"}])
def test_a_change_that_makes_no_sense_is_refused_and_changes_nothing(
    origin: RecordedOrigin, change: dict[str, str]
) -> None:
    with pytest.raises(RigError, match="refused a change"):
        origin.change(**change)
    assert json.loads(get(origin)) == DOCUMENT


def test_discovery_says_where_the_keys_are_and_is_no_fetch_in_either_count(origin: RecordedOrigin) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=DEADLINE_S)
    for path in ("/.well-known/openid-configuration", "/realms/x/.well-known/openid-configuration?v=1"):
        connection.request("GET", path)
        document = json.loads(connection.getresponse().read())
        assert document["issuer"] == f"http://127.0.0.1:{origin.port}"
        assert document["jwks_uri"] == origin.url
    connection.request("GET", urlsplit(document["jwks_uri"]).path)
    assert json.loads(connection.getresponse().read()) == DOCUMENT
    assert outcomes(origin, 1) == (["200"], ["200"])


def test_discovery_names_the_issuer_of_the_tokens_and_is_away_with_the_origin(origin: RecordedOrigin) -> None:
    origin.change(issuer="https://issuer.example")
    with urllib.request.urlopen(origin.discovery_url, timeout=DEADLINE_S) as response:
        assert json.loads(response.read())["issuer"] == "https://issuer.example"
    origin.change(mode="fail")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(origin.discovery_url, timeout=DEADLINE_S)
    assert outcomes(origin, 0) == ([], [])
