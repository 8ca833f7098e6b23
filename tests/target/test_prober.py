"""Questions to the target beside the load: what is asked, of whom, and what is written down."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

import rig.target.prober
from rig.evidence.case import PROBE_COLUMNS
from rig.evidence.pool_metrics import ACQUIRE_WAIT_S, POOL_COLUMNS
from rig.machine.child import free_port
from rig.machine.supervisor import Supervisor
from rig.profile import PoolSeries, Probes
from rig.run.leak_check import look_after, look_before
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.target.prober import Prober, next_due
from tests.serving import say, serving
from tests.waiting import wait_until

PROBES = Probes(health="/up", ready="/ready", metrics="/metrics", timeout_s=0.2)


RAW = {
    "/broken": b"SMTP/1.0 hello\r\n\r\n",
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npool_waited_total 1.5\n",
    "/cut-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe",
    "/long": b"HTTP/1.1 200 OK\r\n\r\npool_waited_total 1.5\n" + b"#" * (1 << 20),
    "/lost": b"",
}


@contextmanager
def probed() -> Iterator[tuple[Endpoint, list[str]]]:
    """A small server and the paths that it was asked: /ready is 503, /moved 302, ``RAW`` as it is, others 200."""
    over = threading.Event()
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        if handler.path == "/slow":
            over.wait(30)
        elif handler.path in RAW:
            handler.wfile.write(RAW[handler.path])
        else:
            body = b"pool_waited_total 1.5\n" if handler.path == "/metrics" else b"said " + handler.path.encode()
            say(handler, {"/ready": 503, "/moved": 302}.get(handler.path, 200), body, Location="/up")

    with serving(answer, version="HTTP/1.0") as port:
        try:
            yield Endpoint("127.0.0.1", port), asked
        finally:
            over.set()


# --- one question ---


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("/up", 200, "said /up"), ("/ready", 503, "said /ready"), ("/moved", 302, "said /moved")],
)
def test_an_answer_is_told_as_it_is_and_no_redirect_followed(path: str, status: int, said: str) -> None:
    with probed() as (endpoint, asked):
        response = HttpProbe(endpoint, 5.0).get(path)
    assert (response.status, response.said, response.problem, asked) == (status, said, "", [path])


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/broken", "SMTP"),
        ("/lost", "closed"),
        ("/slow", "timed out"),
        ("/cut", "closed within the answer"),
        ("/cut-chunk", "closed within the answer"),
    ],
)
def test_what_is_no_answer_has_status_0_and_a_problem(path: str, problem: str) -> None:
    with probed() as (endpoint, _):
        response = HttpProbe(endpoint, 0.3).get(path)
    assert response.status == 0
    assert problem in response.problem


def test_of_a_long_answer_there_is_the_beginning_and_it_says_so() -> None:
    with probed() as (endpoint, _):
        response = HttpProbe(endpoint, 5.0).get("/long")
    assert (response.status, response.problem, len(response.body)) == (200, "the answer is longer than 1 MiB", 1 << 20)


def test_nobody_there() -> None:
    nobody = Endpoint("127.0.0.1", free_port())
    for response in (HttpProbe(nobody, 1.0).get("/up"), HttpProbe(nobody, 1.0).connect()):
        assert (response.status, "refused" in response.problem) == (0, True)


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with probed() as (endpoint, asked), probed() as (proxy, through_proxy):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert HttpProbe(endpoint, 5.0).get("/up").status == 200
        assert (asked, through_proxy) == (["/up"], [])


def test_the_base_path_comes_first() -> None:
    with probed() as (endpoint, asked):
        HttpProbe(Endpoint(endpoint.host, endpoint.port, base_path="/v2"), 5.0).get("/up")
    assert asked == ["/v2/up"]


# --- the prober ---


def test_every_named_path_is_asked_and_written_down() -> None:
    with probed() as (endpoint, _), Prober(PROBES, endpoint) as prober:
        wait_until(lambda: len(prober.frame()) >= 3)
        rows = prober.frame().head(3)
    assert tuple(rows.columns) == PROBE_COLUMNS
    assert rows["path"].tolist() == ["/up", "/ready", "/metrics"]
    assert rows["status"].tolist() == [200, 503, 200]
    assert rows["error"].tolist() == ["", "", ""]
    assert rows["at_ns"].is_monotonic_increasing
    assert (rows["elapsed_ns"] > 0).all()


def test_what_the_metrics_say_of_the_pool_is_kept() -> None:
    probes = Probes(metrics="/metrics", pool=PoolSeries(acquire_wait_seconds="pool_waited_total", timeouts="not_there"))
    with probed() as (endpoint, _), Prober(probes, endpoint) as prober:
        wait_until(lambda: len(prober.pool()) >= 1)
        row = prober.pool().iloc[0]
    assert (row["what"], row["value"]) == (ACQUIRE_WAIT_S, 1.5)
    with probed() as (endpoint, _), Prober(PROBES, endpoint) as prober:
        wait_until(lambda: len(prober.frame()) >= 3)
    assert prober.pool().empty
    assert tuple(prober.pool().columns) == POOL_COLUMNS


def test_metrics_that_are_too_long_tell_nothing_of_the_pool() -> None:
    probes = Probes(metrics="/long", pool=PoolSeries(acquire_wait_seconds="pool_waited_total"))
    with probed() as (endpoint, _), Prober(probes, endpoint) as prober:
        wait_until(lambda: len(prober.frame()) >= 1)
        row = prober.frame().iloc[0]
    assert (row["status"], row["error"]) == (200, "the answer is longer than 1 MiB")
    assert prober.pool().empty


@pytest.mark.parametrize("path", ["/slow", "/lost", "/broken", "/cut"])
def test_it_goes_on_after_a_question_without_an_answer(path: str) -> None:
    probes = Probes(health=path, ready="/up", timeout_s=0.2)
    with probed() as (endpoint, _), Prober(probes, endpoint) as prober:
        wait_until(lambda: len(prober.frame()) >= 2)
        rows = prober.frame().head(2)
    assert rows["status"].tolist() == [0, 200]
    assert rows["error"].iloc[0]


def test_it_asks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.target.prober, "EVERY_S", 0.01)
    probes = Probes(health="/up")
    with probed() as (endpoint, _), Prober(probes, endpoint) as prober:
        wait_until(lambda: len(prober.frame()) >= 5)
    assert not any(thread.name == "rig-prober" for thread in threading.enumerate())


@pytest.mark.parametrize(("now_s", "due_s"), [(10.2, 11.0), (11.0, 11.0), (11.4, 11.4), (70.0, 70.0)])
def test_rounds_that_were_missed_are_not_caught_up(now_s: float, due_s: float) -> None:
    assert next_due(10.0, now_s) == due_s


def test_an_answer_that_comes_too_late_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout of a socket holds for each read of it; the probe's holds for all of it."""
    clock = iter(range(0, 1_000_000_000_000, 5_000_000_000))
    with probed() as (endpoint, _):
        prober = Prober(Probes(health="/up", timeout_s=2.0), endpoint)
        monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
        _, path, status, elapsed_ns, error = prober._probe_once("/up")
    assert (path, status, elapsed_ns) == ("/up", 0, 5_000_000_000)
    assert error == "answered 200, but later than 2 s"


def test_without_paths_nothing_is_asked() -> None:
    with probed() as (endpoint, asked), Prober(Probes(), endpoint) as prober:
        assert not any(thread.name == "rig-prober" for thread in threading.enumerate())
    assert prober.frame().empty
    assert tuple(prober.frame().columns) == PROBE_COLUMNS
    assert asked == []


def test_a_refused_connection_is_written_down() -> None:
    nobody = Endpoint("127.0.0.1", free_port())
    with Prober(Probes(ready="/ready"), nobody) as prober:
        wait_until(lambda: len(prober.frame()) >= 1)
    row = prober.frame().iloc[0]
    assert (row["path"], row["status"], "refused" in row["error"]) == ("/ready", 0, True)


# --- hygiene ---


def test_hygiene_finds_a_port_that_still_listens() -> None:
    with Supervisor() as supervisor, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        what, taken = "the target's port", listener.getsockname()[1]
        after = {finding.what: finding for finding in look_after(supervisor, [(what, taken)])}
        assert (after[what].clean, after[what].detail) == (False, str(taken))
        free = {finding.what: finding.clean for finding in look_after(supervisor, [(what, free_port())])}
        assert free["the target's port"] is True
        # A target that was running before is nobody's leftover.
        assert "the target's port" not in {finding.what for finding in look_after(supervisor)}


def test_hygiene_finds_what_this_run_left(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("left")
    with Supervisor() as supervisor:
        supervisor.remove_at_end(folder)
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], env=supervisor.environ())
        findings = {finding.what: finding for finding in look_after(supervisor)}
        assert not findings["processes of this run"].clean
        assert str(child.pid) in findings["processes of this run"].detail
        assert not findings["temporary directories"].clean
        child.kill()
        wait_until(lambda: {f.what: f for f in look_after(supervisor)}["zombies"].detail == str(child.pid))
        child.wait()
        assert {f.what: f for f in look_after(supervisor)}["zombies"].clean
    (before,) = look_before()
    assert (before.when, before.what) == ("before", "processes of an earlier run")
