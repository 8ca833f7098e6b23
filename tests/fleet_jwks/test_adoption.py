"""What a service that adopts the package writes: the README's examples as they stand there, and other libraries."""

from __future__ import annotations

import importlib
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import authlib.jose
import django.conf
import httpx
import joserfc.jwt
import jwt
import psycopg
import pytest
from click.testing import CliRunner
from django.http import HttpResponse
from django.test import RequestFactory
from flask import Flask

import fleet_jwks
from fleet_jwks import JwksSettings, KeysUnavailable, Refused, Verifier
from fleet_jwks.__main__ import main
from fleet_jwks.fleet import KeySetRow
from fleet_jwks.pyjwt import FleetJWKClient
from rig.storms.unknown_kid.keyring import AUDIENCE, ISSUER, unknown_token
from rig.target.postgres import Database
from tests.fleet_jwks.conftest import FETCH, KEYS, KNOWN, Make, Upstream

README = Path(fleet_jwks.__file__).with_name("README.md")
BLOCK = re.compile(r"^(FastAPI|Flask|Django)[^\n]*:\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)
Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def example(make: Make, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Example]:
    """Runs an example of the README by its framework's name; gives the names that it defines."""
    make()  # the tables
    variables = {"DATABASE_URL": database.runtime_dsn, "JWKS_FETCH": FETCH, "JWKS_ISSUER": ISSUER}
    for name, value in (variables | {"JWKS_AUDIENCE": AUDIENCE}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(tmp_path)
    opened: list[Any] = []

    def run(framework: str) -> dict[str, Any]:
        name = f"readme_{framework.lower()}"
        (tmp_path / f"{name}.py").write_text(dict(BLOCK.findall(README.read_text(encoding="utf-8")))[framework])
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        opened.append(vars(module)["verify"])
        return vars(module)

    yield run
    for verify in opened:
        verify.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_fastapi_example_answers_200_401_and_503(example: Example, upstream: Upstream) -> None:
    upstream.fails()
    transport = httpx.ASGITransport(example("FastAPI")["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/whoami", headers=bearer(KNOWN[0]))).status_code == 503
        upstream.answer = KEYS.document
    transport = httpx.ASGITransport(example("FastAPI")["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/whoami")).status_code == 401


async def test_the_fastapi_example_knows_who_asks(example: Example) -> None:
    transport = httpx.ASGITransport(example("FastAPI")["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/whoami", headers=bearer(KNOWN[0]))
        assert (answer.status_code, answer.json()) == (200, {"sub": "rig"})
        assert (await client.get("/whoami", headers=bearer(unknown_token("EdDSA")))).status_code == 401


def test_the_flask_example_knows_who_asks(example: Example) -> None:
    app: Flask = example("Flask")["app"]
    client = app.test_client()
    assert client.get("/whoami", headers=bearer(KNOWN[0])).get_json() == {"sub": "rig"}
    assert client.get("/whoami", headers=bearer(unknown_token("EdDSA"))).status_code == 401
    assert client.get("/whoami").status_code == 401


def test_the_django_example_knows_who_asks(example: Example) -> None:
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    middleware = example("Django")["authenticate"](lambda request: HttpResponse(request.claims["sub"]))
    ask = RequestFactory().get
    assert middleware(ask("/", headers=bearer(KNOWN[0]))).content == b"rig"
    assert middleware(ask("/", headers=bearer(unknown_token("EdDSA")))).status_code == 401


def test_pyjwt_takes_the_fleets_keys_as_from_its_own_client(make: Make, upstream: Upstream) -> None:
    client = FleetJWKClient(make())
    for token, algorithm in zip(KNOWN, ("RS256", "ES256", "EdDSA"), strict=True):
        key = client.get_signing_key_from_jwt(token)
        assert jwt.decode(token, key, algorithms=[algorithm], audience=AUDIENCE)["sub"] == "rig"
    for bad in (unknown_token("EdDSA"), "no token"):
        with pytest.raises(jwt.PyJWKClientError):
            client.get_signing_key_from_jwt(bad)
    assert upstream.fetches == 1


def test_pyjwt_is_told_that_there_are_no_keys(make: Make, upstream: Upstream) -> None:
    upstream.fails()
    with pytest.raises(jwt.PyJWKClientConnectionError):
        FleetJWKClient(make()).get_signing_key_from_jwt(KNOWN[0])


def test_joserfc_and_authlib_take_the_fleets_keys(make: Make) -> None:
    verify = make()
    joserfc_token = joserfc.jwt.decode(KNOWN[0], lambda signed: verify.key(signed.headers()["kid"]), ["RS256"])
    decode = authlib.jose.JsonWebToken(["RS256"]).decode
    authlib_claims = decode(KNOWN[0], lambda header, _: verify.key(header["kid"]).as_dict())
    assert joserfc_token.claims["sub"] == authlib_claims["sub"] == "rig"


class OwnFleet:
    """A store that somebody else wrote: keys that never change."""

    fetches = 0

    def refresh(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        return KeySetRow(KEYS.document(), 1, 0, 60.0, 60.0, None)

    def close(self) -> None:
        pass


def test_a_verifier_takes_another_store() -> None:
    verify = Verifier(JwksSettings(dsn="", url="http://unused", issuer=ISSUER, audience=AUDIENCE), OwnFleet())
    assert verify(KNOWN[0])["sub"] == "rig"
    with pytest.raises(Refused):
        verify(unknown_token("EdDSA"))


def test_a_read_only_database_is_counted_and_said_once_and_known_keys_are_served(
    make: Make, database: Database, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    verify = make(cool_down_s=0.0)
    assert verify(KNOWN[0])
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {database.runtime_role} SET default_transaction_read_only = on".encode())
        try:
            verify.close()
            with caplog.at_level(logging.INFO, "fleet_jwks"):
                for _ in range(3):
                    with pytest.raises(Refused):
                        verify(unknown_token("EdDSA"))
                    assert verify(KNOWN[0])
        finally:
            admin.execute(f"ALTER ROLE {database.runtime_role} RESET default_transaction_read_only".encode())
    assert upstream.fetches == 1
    assert verify.counts()["fleet_errors"] == 3
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    verify.close()
    with caplog.at_level(logging.INFO, "fleet_jwks"), pytest.raises(Refused):
        verify(unknown_token("EdDSA"))
    assert "answers again" in caplog.text


def test_a_fleet_without_a_database_says_that_it_cannot_decide(database: Database) -> None:
    gone = "host=127.0.0.1 port=1 dbname=gone"
    verify = Verifier(JwksSettings(dsn=gone, fetch=FETCH))
    with pytest.raises(KeysUnavailable):
        verify(KNOWN[0])
    assert verify.counts()["unavailable"] == verify.counts()["fleet_errors"] == 1


def test_old_lines_about_fetches_are_deleted_where_the_role_may(make: Make, database: Database) -> None:
    verify = make(cool_down_s=0.0, keep_s=3600.0)
    for number, may in enumerate((True, False)):
        with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
            admin.execute("UPDATE jwks_fetches SET ended_at = now() - interval '2 hours'")
            if not may:
                admin.execute(f"REVOKE DELETE ON jwks_fetches FROM {database.runtime_role}".encode())
            with pytest.raises(Refused):
                verify(unknown_token("EdDSA"))
            assert admin.execute("SELECT count(*) FROM jwks_fetches").fetchone() == (1 + number,)
    assert verify.counts()["fleet_errors"] == 0


def test_the_tables_are_printed_for_a_migration_of_ones_own(database: Database) -> None:
    printed = CliRunner().invoke(main, ["--sql"], catch_exceptions=False).output
    with psycopg.connect(database.admin_dsn) as admin:
        admin.execute(printed.replace("the_role", database.runtime_role).encode())
        assert admin.execute("SELECT count(*) FROM jwks_cache").fetchone() == (0,)


@pytest.mark.parametrize("name", ["HS256", "none", ""])
def test_an_algorithm_without_a_key_pair_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"JWKS_ALGORITHMS: '{name}'"):
        JwksSettings(dsn="", url="http://a", algorithms=(name,) if name else ())


def test_an_algorithm_that_is_not_allowed_is_refused(make: Make) -> None:
    verify = make(algorithms=("ES256",))
    assert verify(KNOWN[1])
    with pytest.raises(Refused):
        verify(KNOWN[0])


def test_the_package_imports_nothing_that_a_service_does_not_need() -> None:
    code = "import sys, fleet_jwks; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pandas", "matplotlib", "pyarrow", "psycopg", "aiohttp", "rig", "jwt"} & set(imported)
