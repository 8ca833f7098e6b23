"""The reference verifier over real PostgreSQL, its upstream a function of the test."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fleet_jwks import JwksSettings, KeysUnavailable, Protection, Refused, Verifier
from fleet_jwks.__main__ import main
from rig.storms.unknown_kid.keyring import AUDIENCE, ISSUER, Keyring, make_key, sign, unknown_token
from rig.target.postgres import Database
from tests.fleet_jwks.conftest import DEADLINE_S, KEYS, KNOWN, Make, Upstream
from tests.waiting import wait_until


def crafted(header: object) -> str:
    """A token of that header, signed by nobody."""
    return f"{base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}.e30.AAAA"


@pytest.mark.parametrize("token", KNOWN, ids=["RS256", "ES256", "EdDSA"])
def test_a_valid_token_gives_its_claims(make: Make, token: str) -> None:
    assert make()(token)["sub"] == "rig"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "no token",
        "a.b.c",
        unknown_token("EdDSA"),
        sign(make_key("EdDSA", str(KEYS.known[-1].kid))),
        KNOWN[0][:-4] + "AAAA",
        KEYS.rotated_token(),
        crafted(["alg"]),
        crafted("alg"),
        crafted({"alg": "EdDSA", "kid": KEYS.known[-1].kid, "crit": 1}),
        crafted({"alg": "EdDSA", "kid": KEYS.known[-1].kid, "crit": [[]]}),
    ],
    ids=[  # not their text: keys are made anew in every process
        *("nothing", "words", "dots", "unknown", "forged", "cut", "rotated"),
        *("header-list", "header-text", "crit-number", "crit-lists"),
    ],
)
def test_a_bad_token_is_refused(make: Make, token: str) -> None:
    with pytest.raises(Refused):
        make()(token)


def test_issuer_and_audience_are_held_to(make: Make) -> None:
    for wrong in ({"issuer": "https://other.invalid"}, {"audience": "other"}):
        with pytest.raises(Refused, match="Invalid"):
            make(**wrong)(KNOWN[0])


def test_a_fleet_fetches_once_a_cool_down_whoever_asks(make: Make, upstream: Upstream) -> None:
    fleet = [make() for _ in range(4)]
    for verifier in fleet:
        assert verifier(KNOWN[0])
        for _ in range(5):
            with pytest.raises(Refused):
                verifier(unknown_token("EdDSA"))
    assert upstream.fetches == 1
    assert sum(verifier.fetches for verifier in fleet) == 1


def test_a_new_key_is_found_when_the_cool_down_is_over(make: Make, upstream: Upstream) -> None:
    verifier, other = make(cool_down_s=0.3), make(cool_down_s=0.3)
    assert verifier(KNOWN[0])
    assert other(KNOWN[0])
    upstream.answer = lambda: KEYS.document(rotated=True)

    def found() -> bool:
        try:
            return bool(verifier(KEYS.rotated_token()))
        except Refused:
            return False

    assert not found()
    wait_until(found)
    assert upstream.fetches == 2


def test_a_key_newer_than_what_another_fetched_a_while_ago_is_found_at_once(
    make: Make, database: Database, upstream: Upstream
) -> None:
    """The first token of the third set comes to a process that has not even heard of the second."""
    verifier, other = make(cool_down_s=0.3), make(cool_down_s=0.3)
    assert verifier(KNOWN[0])
    assert other(KNOWN[0])
    between = Keyring.make()
    upstream.answer = lambda: {"keys": KEYS.document()["keys"] + between.document()["keys"]}
    cool_down_is_over(database)
    assert other(between.known_tokens()[0])
    upstream.answer = lambda: KEYS.document(rotated=True)
    cool_down_is_over(database)
    assert verifier(KEYS.rotated_token())
    assert upstream.fetches == 3


def cool_down_is_over(database: Database) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        query = "SELECT next_allowed_at < clock_timestamp() FROM jwks_cache"
        wait_until(lambda: connection.execute(query).fetchone() == (True,))


def test_what_was_fetched_since_the_token_came_is_as_new_as_can_be(make: Make, upstream: Upstream) -> None:
    verifier = make(cool_down_s=0.0)
    for count in (1, 2):
        with pytest.raises(Refused):
            verifier(unknown_token("EdDSA"))
        assert upstream.fetches == count


def test_one_process_fetches_while_the_others_wait_for_it(make: Make, upstream: Upstream) -> None:
    leader, follower = make(wait_timeout_s=DEADLINE_S), make(wait_timeout_s=DEADLINE_S)
    fetching, go_on = threading.Event(), threading.Event()

    def slow() -> Mapping[str, Any]:
        fetching.set()
        assert go_on.wait(DEADLINE_S)
        return KEYS.document()

    upstream.answer = slow
    results: list[object] = []
    threads = [threading.Thread(target=lambda one=one: results.append(one(KNOWN[0]))) for one in (leader, follower)]
    threads[0].start()
    assert fetching.wait(DEADLINE_S)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(results) == 2
    assert upstream.fetches == 1


def test_a_follower_waits_no_longer_than_its_wait_timeout(make: Make, database: Database, upstream: Upstream) -> None:
    follower = make(wait_timeout_s=0.05)
    go_on = threading.Event()
    fetching = threading.Event()

    def hang() -> Mapping[str, Any]:
        fetching.set()
        go_on.wait(DEADLINE_S)
        return KEYS.document()

    upstream.answer = hang
    leader = threading.Thread(target=lambda: make()(KNOWN[0]))
    leader.start()
    assert fetching.wait(DEADLINE_S)
    with pytest.raises(KeysUnavailable):
        follower(KNOWN[0])
    assert leader.is_alive()
    go_on.set()
    leader.join(DEADLINE_S)
    assert follower(KNOWN[0])
    assert upstream.fetches == 1


def test_a_leader_that_stands_still_is_overtaken_and_writes_nothing(
    make: Make, database: Database, upstream: Upstream
) -> None:
    """The session of the one ends with its timeout; what it brings later must not undo what the other wrote."""
    still, other = make(fetch_timeout_s=0.1, leader_timeout_s=0.3, cool_down_s=0.0), make(wait_timeout_s=DEADLINE_S)
    fetching, go_on = threading.Event(), threading.Event()

    def stand_still() -> Mapping[str, Any]:
        upstream.answer = lambda: KEYS.document(rotated=True)
        fetching.set()
        assert go_on.wait(DEADLINE_S)
        return KEYS.document()

    upstream.answer = stand_still

    def ask() -> None:
        with pytest.raises(KeysUnavailable):
            still(KNOWN[0])

    thread = threading.Thread(target=ask)
    thread.start()
    assert fetching.wait(DEADLINE_S)
    assert other(KEYS.rotated_token())
    go_on.set()
    thread.join(DEADLINE_S)
    with psycopg.connect(database.admin_dsn) as connection:
        assert connection.execute("SELECT version, failures FROM jwks_cache").fetchone() == (1, 0)
    assert still(KEYS.rotated_token())


def test_failures_back_off_for_the_whole_fleet_also_without_a_cached_set(make: Make, upstream: Upstream) -> None:
    upstream.fails()
    bounds = {"cool_down_s": 0.0, "backoff_base_s": 60.0}
    for verifier in (make(**bounds), make(**bounds)):
        for _ in range(3):
            with pytest.raises(KeysUnavailable):
                verifier(KNOWN[0])
    assert upstream.fetches == 1


def test_the_backoff_doubles_up_to_its_cap_and_is_stretched(make: Make, database: Database, upstream: Upstream) -> None:
    upstream.fails()
    verifier = make(cool_down_s=0.0, backoff_base_s=0.01, backoff_cap_s=0.04, jitter=0.5)

    def waits() -> list[float]:
        with pytest.raises(KeysUnavailable):
            verifier(KNOWN[0])
        with psycopg.connect(database.admin_dsn) as connection:
            rows = connection.execute("SELECT wait_s, failures FROM jwks_fetches ORDER BY failures").fetchall()
        assert [row[1] for row in rows] == list(range(1, len(rows) + 1))
        return [row[0] for row in rows]

    wait_until(lambda: len(waits()) >= 5)
    for wait_s, least_s in zip(waits(), (0.01, 0.02, 0.04, 0.04, 0.04), strict=False):
        assert least_s <= wait_s <= least_s * 1.5


def test_stale_keys_are_served_within_their_grace_and_not_after(make: Make, upstream: Upstream) -> None:
    stale = make(ttl_s=0.0, cool_down_s=0.0, grace_s=60.0, backoff_base_s=60.0)
    dead = make(ttl_s=0.0, cool_down_s=0.0, grace_s=0.0, backoff_base_s=60.0)
    assert stale(KNOWN[0])
    upstream.fails()
    assert stale(KNOWN[0])
    with pytest.raises(KeysUnavailable):
        dead(KNOWN[0])


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": "none"},
        {"keys": []},
        {"keys": [{"kty": "?"}]},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]},
    ],
)
def test_a_document_without_a_usable_key_is_a_failed_fetch(
    make: Make, upstream: Upstream, document: dict[str, Any]
) -> None:
    verifier = make(cool_down_s=0.0, backoff_base_s=60.0)
    assert verifier(KNOWN[0])
    upstream.answer = lambda: document
    with pytest.raises(Refused):
        verifier(unknown_token("EdDSA"))
    assert verifier(KNOWN[0])
    assert upstream.fetches == 2


def test_one_key_of_an_unknown_kind_does_not_take_the_others_with_it(make: Make, upstream: Upstream) -> None:
    upstream.answer = lambda: {"keys": [{"kty": "from the future"}, "no key", *KEYS.document()["keys"]]}
    assert make()(KNOWN[1])


def test_without_the_database_known_keys_are_served_and_nobody_fetches(
    make: Make, database: Database, upstream: Upstream
) -> None:
    verifier = make(cool_down_s=0.0)
    assert verifier(KNOWN[0])
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute("REVOKE ALL ON jwks_cache FROM PUBLIC")
        connection.execute(f"REVOKE ALL ON jwks_cache FROM {database.runtime_role}".encode())
        with pytest.raises(Refused):
            verifier(unknown_token("EdDSA"))
        assert verifier(KNOWN[0])
        assert upstream.fetches == 1


def test_a_broken_connection_is_opened_again(make: Make, database: Database, upstream: Upstream) -> None:
    verifier = make(cool_down_s=0.0)
    assert verifier(KNOWN[0])
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jwks-verifier'"
        )
    with pytest.raises(Refused):
        verifier(unknown_token("EdDSA"))  # meets the broken one
    upstream.answer = lambda: KEYS.document(rotated=True)
    assert verifier(KEYS.rotated_token())


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "exactly one of JWKS_URL and JWKS_FETCH"),
        ({"JWKS_URL": "http://a", "JWKS_FETCH": "a:b"}, "exactly one"),
        ({"JWKS_URL": "http://a", "JWKS_COOL_DOWN_S": "soon"}, "JWKS_COOL_DOWN_S is 'soon'"),
        ({"JWKS_URL": "http://a", "JWKS_COOL_DOWN_S": "-1"}, "JWKS_COOL_DOWN_S must not be negative"),
        ({"JWKS_URL": "http://a", "JWKS_WITHOUT": "luck"}, "JWKS_WITHOUT: 'luck'"),
        ({"JWKS_URL": "http://a", "JWKS_FETCH_TIMEOUT_S": "9"}, "JWKS_LEADER_TIMEOUT_S must be above"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JwksSettings.from_environ(environ)


def test_variables_are_read() -> None:
    settings = JwksSettings.from_environ(
        {
            "DATABASE_URL": "postgresql:///x",
            "JWKS_URL": "http://a",
            "JWKS_TTL_S": "7.5",
            "JWKS_WITHOUT": "cool-down, jitter",
        }
    )
    assert (settings.dsn, settings.ttl_s) == ("postgresql:///x", 7.5)
    assert settings.without == {Protection.COOL_DOWN, Protection.JITTER}


def test_variables_and_protections_of_the_last_release_are_read() -> None:
    old = {"JWKS_FLOOR_S": "7", "JWKS_PATIENCE_S": "0.5", "JWKS_WITHOUT": "floor,floor-from-end"}
    settings = JwksSettings.from_environ({"JWKS_URL": "http://a", **old})
    assert (settings.cool_down_s, settings.wait_timeout_s) == (7.0, 0.5)
    assert settings.without == {Protection.COOL_DOWN, Protection.COOL_DOWN_FROM_END}
    both = JwksSettings.from_environ({"JWKS_URL": "http://a", **old, "JWKS_COOL_DOWN_S": "8"})
    assert both.cool_down_s == 8.0, "the new name wins"


def test_a_verifiers_role_need_not_stand_in_its_address(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    address = conninfo_to_dict(database.runtime_dsn)
    monkeypatch.setenv("PGUSER", str(address.pop("user")))
    monkeypatch.setenv("PGPASSWORD", str(address.pop("password")))
    dsns = ["--owner", database.admin_dsn, "--runtime", make_conninfo("", **address)]
    assert CliRunner().invoke(main, dsns, catch_exceptions=False).exit_code == 0
    with psycopg.connect(database.runtime_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM jwks_cache").fetchone() == (0,)


OTHER_KEYS = Keyring.make()


def fetch_of_another_issuer() -> Mapping[str, Any]:
    return OTHER_KEYS.document()


def test_two_issuers_in_one_database_never_trust_each_others_keys(make: Make, database: Database) -> None:
    ours = make()
    settings = JwksSettings(
        dsn=database.runtime_dsn, fetch=f"{__name__}:fetch_of_another_issuer", issuer=ISSUER, audience=AUDIENCE
    )
    theirs = Verifier(settings)
    try:
        for verifier, good, bad in ((ours, KEYS, OTHER_KEYS), (theirs, OTHER_KEYS, KEYS)):
            assert verifier(good.known_tokens()[0])
            for token in bad.known_tokens():
                with pytest.raises(Refused):
                    verifier(token)
    finally:
        theirs.close()


def test_a_database_that_stands_still_holds_no_known_key_and_nobody_without_bound(
    make: Make, database: Database
) -> None:
    verifier = make(cool_down_s=0.05, ttl_s=0.1, jitter=0.0, wait_timeout_s=0.2, fetch_timeout_s=0.3)
    assert verifier(KNOWN[0])
    with psycopg.connect(database.admin_dsn) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'jwks-verifier'"
        (pid,) = connection.execute(query).fetchone() or (0,)
    os.kill(pid, signal.SIGSTOP)
    try:
        longest_s, until = 0.0, time.monotonic() + 0.4
        while (began := time.monotonic()) < until:
            assert verifier(KNOWN[0])
            longest_s = max(longest_s, time.monotonic() - began)
        assert longest_s < verifier._settings.wait_timeout_s + 0.05
        began = time.monotonic()
        with pytest.raises(Refused):
            verifier(unknown_token("EdDSA"))
        assert time.monotonic() - began < 5.0  # a wait and a fetch; not for as long as the server is stopped
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: verifier.fetches > 1 and bool(verifier(KNOWN[0])))


def test_leeway_is_given_to_clocks_that_differ(make: Make) -> None:
    expired = sign(KEYS.known[0], changed={"exp": time.time() - 30})
    with pytest.raises(Refused):
        make()(expired)
    assert make(leeway_s=60.0)(expired)
