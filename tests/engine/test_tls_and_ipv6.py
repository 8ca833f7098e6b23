"""https with a certificate authority of the test's own, and IPv6."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rig.errors import ErrorKind
from rig.evidence.key_storm import KeyStorm
from rig.profile import Profile
from rig.profile.storms import RateLimit, Storms, UnknownKid
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.race_test import RaceTest
from rig.storms.rate_limit import _Requests, _send, _start_replicas
from rig.storms.unknown_kid.storm import unknown_kid
from rig.storms.unknown_kid.subjects import Failed, http_fleet
from rig.target.endpoint import Endpoint, TlsFiles
from rig.target.http_probe import HttpProbe
from tests.engine.driving import Driven, eventually, on_uvloop, run_scenario
from tests.engine.peer import OK, SAID_CLOSE, Say, Then, peer
from tests.engine.scenes import scenario
from tests.serving import say, serving

pytestmark = pytest.mark.usefixtures("never_idle")
ANSWERED = (200, ErrorKind.NONE)


def _ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _ipv6_works(), reason="this machine has no IPv6 loopback")


@dataclass(frozen=True)
class Authority:
    """A certificate authority and a server certificate of it for 127.0.0.1 and ::1, but for no name."""

    ca_file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of a test")])
    now = datetime.now(UTC)

    def begun(subject: x509.Name, public_key: ec.EllipticCurvePublicKey, is_ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = begun(ca_name, ca_key.public_key(), True).add_extension(usage, critical=True).sign(ca_key, hashes.SHA256())
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        begun(x509.Name([]), key.public_key(), False)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return Authority(folder / "ca.pem", context)


def driven_over_tls(
    profile: Profile,
    rows: Path,
    authority: Authority,
    url: str,
    *,
    trusted: bool,
    script: list[Say] | None = None,
    client_cert: Path | None = None,
) -> Driven:
    """Three requests to a TLS server; ``url`` has the place of its port."""

    async def scene() -> Driven:
        host = "::1" if "[" in url else "127.0.0.1"
        async with peer(script or [], host=host, tls=authority.server) as server:
            endpoint = Endpoint.parse(
                url.format(port=server.port), TlsFiles(authority.ca_file, client_cert) if trusted else TlsFiles()
            )
            driven = await run_scenario(profile, scenario(3), endpoint, rows)
            await eventually(lambda: server.open_connections == 0)
            return driven

    return on_uvloop(scene())


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", pytest.param("https://[::1]:{port}", marks=needs_ipv6)])
def test_a_trusted_certificate_is_accepted(profile: Profile, tmp_path: Path, authority: Authority, url: str) -> None:
    driven = driven_over_tls(profile, tmp_path / "rows", authority, url, trusted=True)
    assert driven.ends == [ANSWERED] * 3
    assert driven.report.connects == 1


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        # Nobody vouches for it; and vouched for, but for another name than the one that was asked for.
        ("https://127.0.0.1:{port}", False),
        ("https://localhost:{port}", True),
    ],
)
def test_a_certificate_is_verified(
    profile: Profile, tmp_path: Path, authority: Authority, url: str, trusted: bool
) -> None:
    driven = driven_over_tls(profile, tmp_path / "rows", authority, url, trusted=trusted)
    assert driven.ends == [(0, ErrorKind.CONNECT)] * 3


def test_a_server_that_asks_for_a_certificate_gets_the_rigs(
    profile: Profile, tmp_path: Path, authority: Authority
) -> None:
    asking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca_file)
    own = authority.ca_file.with_name("server.pem")
    asking.load_cert_chain(own)
    asking.verify_mode = ssl.CERT_REQUIRED
    both = Authority(authority.ca_file, asking)
    url = "https://127.0.0.1:{port}"
    shown = driven_over_tls(profile, tmp_path / "rows", both, url, trusted=True, client_cert=own)
    assert shown.ends == [ANSWERED] * 3
    refused = driven_over_tls(profile, tmp_path / "other", both, url, trusted=True)
    assert ANSWERED not in refused.ends
    with fleet_over_tls(both) as fleet:
        for files, status in ((TlsFiles(authority.ca_file, own), 200), (TlsFiles(authority.ca_file), 0)):
            assert HttpProbe(Endpoint.parse(fleet, files), 5.0).get("/").status == status


def test_plain_http_spoken_to_a_tls_server_is_no_answer(profile: Profile, tmp_path: Path, authority: Authority) -> None:
    driven = driven_over_tls(profile, tmp_path / "rows", authority, "http://127.0.0.1:{port}", trusted=True)
    unanswered = (ErrorKind.CONNECTION_LOST, ErrorKind.PROTOCOL)
    assert set(driven.ends) <= {(0, kind) for kind in unanswered}


def test_tls_connections_end_and_are_replaced(profile: Profile, tmp_path: Path, authority: Authority) -> None:
    script = [Say(SAID_CLOSE), Say(b"", Then.RESET), Say(OK)]
    driven = driven_over_tls(
        profile, tmp_path / "rows", authority, "https://127.0.0.1:{port}", trusted=True, script=script
    )
    assert driven.ends == [ANSWERED, (0, ErrorKind.CONNECTION_LOST), ANSWERED]
    assert driven.report.connects == 3


@needs_ipv6
def test_ipv6(profile: Profile, tmp_path: Path) -> None:
    async def scene() -> tuple[Driven, str, int]:
        async with peer(host="::1") as server:
            endpoint = Endpoint.parse(f"http://[::1]:{server.port}/base")
            driven = await run_scenario(profile, scenario(3), endpoint, tmp_path / "rows")
            return driven, server.requests[0].headers["Host"], server.port

    driven, host, port = on_uvloop(scene())
    assert driven.ends == [ANSWERED] * 3
    assert host == f"[::1]:{port}"


# --- the storms ---------------------------------------------------------------------------------------------------


@contextmanager
def fleet_over_tls(authority: Authority) -> Iterator[str]:
    """A server that accepts everybody; its base URL."""
    wrap = partial(authority.server.wrap_socket, server_side=True)
    with serving(lambda handler: say(handler, 200), wrap=wrap) as port:
        yield f"https://127.0.0.1:{port}"


def storm_environment_of(profile: Profile, authority: Authority, **storms: Any) -> StormEnvironment:
    target = profile.target.model_copy(update={"ca_file": authority.ca_file})
    changed = profile.model_copy(update={"target": target, "storms": Storms(**storms)})
    nowhere: Any = None
    return StormEnvironment(nowhere, changed, Path(), {}, Path())


def test_a_storm_of_key_ids_trusts_whom_the_load_trusts(
    profile: Profile, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, str]] = []

    def case_of(environment: StormEnvironment, plan: Any, case: Any, **_: Any) -> KeyStorm:
        told.append(dict(plan.subject.environ))
        return KeyStorm(case=case.name, story="")

    monkeypatch.setattr("rig.storms.unknown_kid.storm.run_case", case_of)
    with fleet_over_tls(authority) as url:
        environment = storm_environment_of(profile, authority, unknown_kid=UnknownKid(urls=(url,), origin_port=9))
        assert len(list(unknown_kid(environment, StormOptions(cases=("flood",))))) == 1
        assert http_fleet(told[0])("token") == 200
        del told[0]["RIG_STORM_TLS_FILES"]
        with pytest.raises(Failed, match="SSLCertVerificationError"):
            http_fleet(told[0])("token")


def test_a_storm_of_limits_trusts_whom_the_load_trusts(profile: Profile, authority: Authority) -> None:
    with fleet_over_tls(authority) as url:
        limited = RateLimit(urls=(url,))
        environment = storm_environment_of(profile, authority, rate_limit=limited)
        with _start_replicas(RaceTest("rate-limit", environment, StormOptions(), limited)) as (replicas, _):
            answers = _send(0, _Requests(replicas, limited, 0.02), time.monotonic_ns)
    assert answers.granted_ns
