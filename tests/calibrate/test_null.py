"""The null benchmark for real, but short: its books, not its speed; and the stub that it measures against."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from rig.calibrate import null
from rig.calibrate.client import CalibratedClient
from rig.calibrate.null import null_benchmark
from rig.calibrate.stub import Stub, null_stub
from rig.engine.pool import Pool
from rig.evidence.certificate import Certificate
from rig.limits import LEAST_REQUESTS
from rig.machine.processes import words
from rig.model import RunKey
from rig.profile import Profile, bundled_profile, load_profile
from stub_server.null import CLOSE, KEEP, REFUSE
from tests.checks.cases import null_trial
from tests.senders.shapes import P256, RSA, pem

RUN = RunKey(seed=1, run_id="null-test", started_unix=1_800_000_000)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Path, list[str]]:
    folder = tmp_path_factory.mktemp("null") / "calibration"
    told: list[str] = []
    with Pool(2) as pool:
        # A floor that no machine reaches, so that a reason must be given.
        client = CalibratedClient(pool, load_profile(bundled_profile()), RUN, folder, progress=told.append)
        certificate = null_benchmark(client, floor_rps=1e9, trials=3, seconds=0.2)
    return certificate, folder, told


def test_a_certificates_books_balance(benchmark: tuple[Certificate, Path, list[str]]) -> None:
    certificate, _, _ = benchmark
    assert (certificate.workers, certificate.floor_rps, len(certificate.trials)) == (2, 1e9, 3)
    for trial in certificate.trials:
        assert trial.requests >= LEAST_REQUESTS
        # Each worker sends its own half again until its time is over, so one may have gone round once more.
        assert trial.requests % (LEAST_REQUESTS // certificate.workers) == 0
        assert trial.elapsed_s >= 0.2
        assert trial.failures == 0
        assert trial.rps == pytest.approx(trial.requests / trial.elapsed_s)
        assert 0 < trial.client_cpu_us_per_request < trial.client_all_in_us_per_request
        assert trial.worker_utilisation > 0
        assert trial.stub_utilisation > 0
        assert 0 <= trial.stalled <= 1
        assert len(trial.cores_busy) == psutil.cpu_count()
    assert sorted(trial.rps for trial in certificate.trials)[1] == certificate.rps
    assert certificate.headroom == certificate.rps / 1e9
    assert certificate.churn_rps
    assert certificate.churn_rps > 0


def test_below_the_floor_there_is_a_reason(benchmark: tuple[Certificate, Path, list[str]]) -> None:
    certificate, _, _ = benchmark
    assert certificate.reason in {"client-bound", "stub-bound", "hardware-bound"}
    assert "%" in certificate.explanation


def test_the_benchmark_leaves_nothing_behind(benchmark: tuple[Certificate, Path, list[str]]) -> None:
    _, folder, told = benchmark
    assert not folder.exists()
    assert [what.partition(":")[0] for what in told] == ["null benchmark"] * 5
    assert not [child for child in psutil.Process().children() if "stub_server.null" in " ".join(words(child))]


def test_failures_make_a_certificate_weak_however_fast_it_was() -> None:
    """``limit_of`` names them where nothing else is at its limit."""
    trial = null_trial(failures=17, cores_busy=(0.3,))
    assert "17 failures" in null.limit_of(trial)[1]
    assert null.limit_of(replace(trial, stub_utilisation=0.99))[0] == "stub-bound"


# --- the sender of the profile -----------------------------------------------------------------------------------


def signed_by(monkeypatch: pytest.MonkeyPatch, *routes: Mapping[str, Any]) -> Profile:
    """The bundled profile with other routes and without channels, which these cannot name; keys in the environment."""
    monkeypatch.setenv("RSA_KEY", pem(RSA))
    monkeypatch.setenv("EC_KEY", pem(P256))
    document = load_profile(bundled_profile()).model_dump(exclude_unset=True)
    document["routes"] = [{"name": f"route{number}", "path": "/in"} | dict(each) for number, each in enumerate(routes)]
    document.pop("channels", None)
    return Profile.model_validate(document)


HMAC = {"sender": "github"}
PAYPAL = {"sender": "paypal", "secret_env": "RSA_KEY", "secret": "rsa"}
PLAID = {"sender": "plaid", "secret_env": "EC_KEY", "secret": "ec"}


def benchmarked(profile: Profile, folder: Path, **options: Any) -> Certificate:
    with Pool(1) as pool:
        client = CalibratedClient(pool, profile, RUN, folder / "null")
        return null_benchmark(client, floor_rps=1e9, trials=1, seconds=0.1, **options)


@pytest.mark.parametrize("sender", [PAYPAL, PLAID])
def test_a_costly_sender_is_signed_ahead_where_its_signatures_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sender: Mapping[str, Any]
) -> None:
    certificate = benchmarked(signed_by(monkeypatch, sender), tmp_path)
    (trial,) = certificate.trials
    assert trial.signed_ahead
    assert trial.failures == 0
    assert trial.signing_us_per_request > 20
    assert "signing" not in certificate.explanation


@pytest.mark.parametrize("sender", [PAYPAL, PLAID])
def test_a_sender_that_limits_the_client_is_named_and_no_bigger_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sender: Mapping[str, Any]
) -> None:
    certificate = benchmarked(signed_by(monkeypatch, {**sender, "tolerance_s": 5}), tmp_path)
    (trial,) = certificate.trials
    assert not trial.signed_ahead
    assert trial.failures == 0
    assert trial.signing.startswith("signing takes ")
    # Whether the worker had a core to itself depends on who else is at work on this machine.
    reason, explanation = null.limit_of(replace(trial, worker_utilisation=1.0))
    assert reason == "client-bound"
    assert explanation.startswith("signing takes ")


@pytest.mark.parametrize(
    ("routes", "route"), [((), "route1"), (("route0",), "route0"), (("route0", "route2"), "route0")]
)
def test_the_costliest_route_of_the_run_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, routes: tuple[str, ...], route: str
) -> None:
    profile = signed_by(monkeypatch, HMAC, PAYPAL, HMAC)
    assert null.NullBench(CalibratedClient(Pool(1), profile, RUN, tmp_path), routes).route == route


# --- the stub ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with null_stub() as running:
        yield running


def said(stub: Stub, *pieces: bytes) -> bytes:
    """All that the stub says to some bytes until it closes, or falls silent once we have no more to say."""
    with socket.create_connection((stub.endpoint.host, stub.endpoint.port), timeout=10) as sock:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        heard = b""
        while data := sock.recv(65536):
            heard += data
        return heard


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([POST], KEEP),
        ([POST * 3], KEEP * 3),
        ([POST[:30], POST[30:-2], POST[-2:] + POST[:5], POST[5:]], KEEP * 2),
        ([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], KEEP),
        ([b"POST / HTTP/1.1\r\ncontent-LENGTH:  4 \r\n\r\nbody"], KEEP),
        # Half a request is not answered.
        ([POST[:-1]], b""),
        ([POST[:20]], b""),
        # What is not framed by a plain Content-Length is refused, and the connection ends.
        ([b"POST / HTTP/1.1\r\nContent-Length: -50\r\n\r\n"], REFUSE),
        ([b"POST / HTTP/1.1\r\nContent-Length: four\r\n\r\nbody"], REFUSE),
        ([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], REFUSE),
        ([b"x" * 70_000], REFUSE),
    ],
)  # fmt: skip
def test_the_stub_answers_whole_requests_and_no_others(stub: Stub, pieces: list[bytes], answer: bytes) -> None:
    assert said(stub, *pieces) == answer


def test_the_stub_closes_every_connection_when_told() -> None:
    with null_stub(close_connections=True) as closing:
        assert said(closing, POST) == CLOSE
        process = closing.process
    assert not process.is_running()
