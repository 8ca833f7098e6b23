"""Bearer tokens by the default verifier."""

import json
import time
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from fleet_jwks.asynchronous import AsyncVerifier
from stub_server.service.config import Config
from stub_server.service.errors import ServiceConfigError
from stub_server.service.tokens import load_verifier, static_key_set

KEY = ECKey.generate_key("P-256", {"kid": "one"})


def token(key: ECKey = KEY, **claims: object) -> str:
    return jwt.encode({"alg": "ES256", "kid": "one"}, {"sub": "me", "exp": int(time.time()) + 60, **claims}, key)


def test_a_good_token_gives_its_claims_and_others_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    verify = load_verifier(Config().auth.verifier, {"JWKS_FILE": str(file)})
    assert verify(token())["sub"] == "me"  # type: ignore[index]  # this verifier is a plain one
    forged = token(ECKey.generate_key("P-256", {"kid": "one"}))
    for bad in (forged, token(exp=1), token()[:-2], "x", ""):
        with pytest.raises(Exception):  # noqa: B017  # any exception refuses
            verify(bad)


def test_without_a_key_set_every_token_is_refused() -> None:
    with pytest.raises(PermissionError):
        static_key_set({})(token())


def test_where_an_issuer_is_named_the_fleet_verifies() -> None:
    verify = load_verifier(Config().auth.verifier, {"JWKS_URL": "http://127.0.0.1:1/jwks", "DATABASE_URL": "dbname=x"})
    assert isinstance(verify, AsyncVerifier)
    verify.close()


def test_what_cannot_be_loaded_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("{}")
    for environ in ({"JWKS_FILE": str(tmp_path / "bad")}, {"JWKS_FILE": str(tmp_path / "none")}):
        with pytest.raises(ServiceConfigError, match="JWKS_FILE"):
            static_key_set(environ)
    with pytest.raises(ServiceConfigError, match=r"auth\.verifier .*: give exactly one of JWKS_URL and JWKS_FETCH$"):
        load_verifier("fleet_jwks:factory", {})
    for spec in ("no.such.module:x", "stub_server.service.tokens:nothing"):
        with pytest.raises(ServiceConfigError, match=r"auth\.verifier"):
            load_verifier(spec, {})
