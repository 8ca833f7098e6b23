"""Locust's own users: where they send, what and when, what ends their test. ``tests/locust/test_inside.py`` runs it."""

from __future__ import annotations

import ssl
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from locust.env import Environment

from rig.errors import ErrorKind, ExitCode, UsageError
from rig.locust_bridge import master, master_options
from rig.locust_bridge.master_coordinator import StageError
from rig.locust_bridge.master_options import options_of
from rig.locust_bridge.master_users import LocalLoad, StormUser
from rig.locust_bridge.plan import Plan
from scenarios.mix import PERF_GATE
from scenarios.s8 import perf_gate
from tests.engine.test_tls_and_ipv6 import Authority, authority
from tests.locust.plans import planned

__all__ = ("authority",)

ELSEWHERE = "http://192.0.2.7"
BODY = b'{"cut within: "\xc3'
REQUEST = b"POST /base/hook HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\nX-Api-Key: key\r\n\r\n" + BODY


class S2Unique(StormUser):
    """As in the locustfile."""

    host = ELSEWHERE


class Rows:
    """A block that has the same request for ever, and keeps the rows that are booked."""

    name = "S2 UniqueStorm"

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def take(self, _: int) -> tuple[int, bytes]:
        return 0, REQUEST

    def good(self, _: int) -> tuple[int, ...]:
        return (200,)

    def add(self, *row: Any) -> None:
        self.rows.append(row)


def a_user(url: str, rows: Rows | None = None, **changes: Any) -> tuple[S2Unique, Environment]:
    """A user of a test against ``url``, in an environment whose start form names another host."""
    environment = Environment(user_classes=[S2Unique], host=ELSEWHERE)
    environment.create_local_runner()
    source = SimpleNamespace(current=lambda: rows)
    local = SimpleNamespace(source=lambda _: source)
    test = SimpleNamespace(local=local, plan=replace(Plan.from_wire(planned(url)), **changes))
    environment.rig = SimpleNamespace(test=test)  # type: ignore[attr-defined]
    return S2Unique(environment), environment


@contextmanager
def a_server(tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Answers 200; its URL, with a base path, and the paths and bodies that it was sent."""
    sent: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/base", sent
        finally:
            server.shutdown()
            thread.join()


def test_a_host_that_was_typed_into_the_start_form_is_sent_nothing() -> None:
    user, _ = a_user("http://127.0.0.1:9/base")
    assert user.client.base_url == "http://127.0.0.1:9"


def test_a_body_arrives_byte_for_byte_at_the_routes_path() -> None:
    with a_server() as (url, sent):
        user, _ = a_user(url, rows := Rows())
        user.send()
    assert sent == [("/base/hook", BODY)]
    assert rows.rows[0][5:] == (200, ErrorKind.NONE)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(authority: Authority, trusted: bool) -> None:
    with a_server(authority.server) as (url, sent):
        plan = Plan.from_wire(planned(url))
        target = plan.profile.target.model_copy(update={"ca_file": str(authority.ca_file) if trusted else None})
        user, _ = a_user(url, rows := Rows(), profile=plan.profile.model_copy(update={"target": target}))
        user.send()
    assert len(sent) == trusted
    assert (rows.rows[0][5] == 200) is trusted


def test_with_a_rate_each_request_is_due_a_period_after_the_last() -> None:
    with a_server() as (url, sent):
        user, environment = a_user(url, rows := Rows(), rate_per_user_s=100.0)
        assert user.wait_time() == 0
        user._due_ns = 5  # long ago: the answers before came late
        user.send()
        user.send()
    assert len(sent) == 2
    assert [row[1] for row in rows.rows] == [5, 5 + 10**7]
    assert all(intended_ns < sent_ns < done_ns for _, intended_ns, sent_ns, done_ns, *_ in rows.rows)
    slowest_ms = max((row[2] - row[1]) / 1e6 for row in rows.rows)
    assert environment.stats.total.max_response_time > slowest_ms * 0.99  # locust's own figures count from there too


def test_in_the_closed_loop_nobody_waits() -> None:
    with a_server() as (url, _):
        user, _ = a_user(url, rows := Rows())
        user.send()
    assert user.wait_time() == 0
    assert rows.rows[0][1] == rows.rows[0][2]


@pytest.mark.parametrize("alone", [True, False])
def test_s8_ends_the_test_only_where_it_is_alone(tmp_path: Path, alone: bool) -> None:
    """Beside others it may be through before any of them has sent its first."""
    ended: list[bool] = []
    plan = replace(Plan.from_wire(planned("http://127.0.0.1:9")), fixed=perf_gate("stripe", "A", requests=1))
    load = LocalLoad(plan, tmp_path, lambda: ended.append(True), lambda: None, alone=alone)
    block = load.source(PERF_GATE).current()
    assert block is not None
    seq, _ = block.take(0)
    block.add(seq, 1, 1, 2, 0, 200, ErrorKind.NONE)
    load.exhausted()
    gevent.idle()
    assert ended == [True] * alone
    load.account()


def the_options(**changes: Any) -> Any:
    defaults: dict[str, Any] = {}

    class Parser:
        def set_defaults(self, **_: Any) -> None:
            pass

        def add_argument(self, name: str, *, default: Any, **_: Any) -> None:
            defaults[name.removeprefix("--").replace("-", "_")] = default

    master_options.add_options(Parser())
    return Environment(parsed_options=Namespace(**{"user_classes": [], **defaults, **changes}))


@pytest.mark.parametrize("rate", [-1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="--rig-rate-per-user"):
        options_of(the_options(rig_rate_per_user=rate))


def test_a_rate_is_taken_as_it_is() -> None:
    assert options_of(the_options(rig_rate_per_user=2.5)).test["rate_per_user_s"] == 2.5


def begun(monkeypatch: pytest.MonkeyPatch, environment: Environment) -> int:
    """Have the rig begin in a locust whose backstage refuses; the exit code."""

    def refuse(_: Environment) -> None:
        raise StageError("no", ExitCode.CONFIG)

    monkeypatch.setattr(master, "Bridge", refuse)
    begin: list[Any] = []
    master.install(SimpleNamespace(init=SimpleNamespace(add_listener=begin.append)))
    with pytest.raises(SystemExit) as end:
        begin[0](environment)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_wrong_option_ends_in_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begun(monkeypatch, the_options(rig_rate_per_user=-1.0)) == ExitCode.USAGE


def test_statistics_are_not_reset_in_mid_test(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = the_options()
    environment.reset_stats = True
    assert begun(monkeypatch, environment) == ExitCode.CONFIG
    assert not environment.reset_stats
