"""Where load may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import ConfigError
from rig.target.endpoint import Endpoint, TlsFiles


@pytest.mark.parametrize(
    ("url", "endpoint", "host_header"),
    [
        ("http://127.0.0.1:8080", Endpoint("127.0.0.1", 8080), "127.0.0.1:8080"),
        ("http://example.test", Endpoint("example.test", 80), "example.test:80"),
        ("https://example.test/", Endpoint("example.test", 443, tls=True), "example.test:443"),
        ("https://example.test:8443/in/", Endpoint("example.test", 8443, True, "/in"), "example.test:8443"),
        ("http://[::1]:8080/a/b", Endpoint("::1", 8080, base_path="/a/b"), "[::1]:8080"),
        ("http://[::1]", Endpoint("::1", 80), "[::1]:80"),
        ("HTTP://LOCALHOST:1", Endpoint("localhost", 1), "localhost:1"),
    ],
)
def test_a_base_url_is_taken_apart(url: str, endpoint: Endpoint, host_header: str) -> None:
    parsed = Endpoint.parse(url)
    assert parsed == endpoint
    assert parsed.host_header == host_header
    assert Endpoint.parse(parsed.url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http:///path", "http://host:port", "http://host:99999",
        "http://host:0", "http://[::1", "http://host/?a=b", "http://host/#part", "http://host/a path", "http://host/é",
    ],
)  # fmt: skip
def test_a_wrong_base_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base URL is wrong: it must look like"):
        Endpoint.parse(url)


def test_a_password_in_a_base_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        Endpoint.parse("http://user:hunter2@example.test")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_may_be_loaded(host: str) -> None:
    Endpoint(host, 80).check_and_pin(None)


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::ffff:192.0.2.1"])
def test_another_host_may_be_loaded_only_by_its_name(host: str) -> None:
    Endpoint(host, 80).check_and_pin(host)
    for allowed in (None, "example.test", "127.0.0.1"):
        with pytest.raises(ConfigError, match=f"--allow-host {host}"):
            Endpoint(host, 80).check_and_pin(allowed)


def test_a_host_without_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be resolved"):
        Endpoint("nowhere.invalid", 80).check_and_pin(None)


def test_certificates_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_text("no certificate")
    for file in (garbage, tmp_path / "missing.pem", tmp_path):
        with pytest.raises(ConfigError, match=r"ca_file .* cannot be read"):
            Endpoint("example.test", 443, tls=True, tls_files=TlsFiles(file)).tls_context()
    with pytest.raises(ConfigError, match=r"client_cert .*ca.pem and .*ca.pem cannot be used"):
        TlsFiles(client_cert=garbage, client_key=garbage).context()
    assert Endpoint("example.test", 80).tls_context() is None
