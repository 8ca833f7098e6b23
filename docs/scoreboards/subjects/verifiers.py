"""Verifiers of the scoreboard: each uses its library as the library's documents do. ``factory(environ) -> verify``.

PyJWT, pyjwt-key-fetcher and Authlib decide themselves when they fetch. The others take a key set; here it is fetched
once, when the verifier is made, so that they are asked about forged tokens only.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from rig.storms.unknown_kid.subjects import authlib, pyjwt

__all__ = ["authlib", "joserfc", "jwcrypto", "pyjwt", "pyjwt_key_fetcher", "python_jose"]
Verify = Callable[[str], object]


def _key_set(environ: Mapping[str, str]) -> dict[str, Any]:
    with urllib.request.urlopen(environ["JWKS_URL"], timeout=float(environ["JWKS_FETCH_TIMEOUT_S"])) as answer:
        document: dict[str, Any] = json.load(answer)
    return document


def joserfc(environ: Mapping[str, str]) -> Verify:
    """joserfc: ``jwt.decode`` and a registry of claims."""
    from joserfc import jwt
    from joserfc.jwk import KeySet

    keys = KeySet.import_key_set(_key_set(environ))  # type: ignore[arg-type]
    claims = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": environ["JWKS_ISSUER"]},
        aud={"essential": True, "value": environ["JWKS_AUDIENCE"]},
        exp={"essential": True},
    )

    def verify(token: str) -> object:
        found = jwt.decode(token, keys, algorithms=environ["JWKS_ALGORITHMS"].split(","))
        claims.validate(found.claims)
        return found

    return verify


def jwcrypto(environ: Mapping[str, str]) -> Verify:
    """jwcrypto: ``jwt.JWT`` with the claims to check."""
    from jwcrypto import jwk, jwt

    keys = jwk.JWKSet.from_json(json.dumps(_key_set(environ)))
    wanted = {"iss": environ["JWKS_ISSUER"], "aud": environ["JWKS_AUDIENCE"], "exp": None}

    def verify(token: str) -> object:
        return jwt.JWT(jwt=token, key=keys, algs=environ["JWKS_ALGORITHMS"].split(","), check_claims=wanted)

    return verify


def python_jose(environ: Mapping[str, str]) -> Verify:
    """python-jose: ``jwt.decode`` with the key that the token names."""
    from jose import jwt

    keys = {key["kid"]: key for key in _key_set(environ)["keys"]}
    expected = {"audience": environ["JWKS_AUDIENCE"], "issuer": environ["JWKS_ISSUER"]}

    def verify(token: str) -> object:
        kid = jwt.get_unverified_header(token).get("kid")
        if not isinstance(kid, str) or kid not in keys:
            raise ValueError("unknown key")
        return jwt.decode(token, keys[kid], algorithms=environ["JWKS_ALGORITHMS"].split(","), **expected)

    return verify


def pyjwt_key_fetcher(environ: Mapping[str, str]) -> Verify:
    """pyjwt-key-fetcher: finds the keys by the issuer's configuration; here a client that answers for the issuer."""
    import jwt
    from pyjwt_key_fetcher import AsyncKeyFetcher
    from pyjwt_key_fetcher.http_client import HTTPClient

    class Client(HTTPClient):
        async def get_json(self, url: str) -> dict[str, Any]:
            if url.endswith("openid-configuration"):
                return {"issuer": environ["JWKS_ISSUER"], "jwks_uri": environ["JWKS_URL"]}
            return await asyncio.to_thread(_key_set, environ)

    fetcher = AsyncKeyFetcher(valid_issuers=[environ["JWKS_ISSUER"]], http_client=Client())

    async def verify(token: str) -> object:
        entry = await fetcher.get_key(token)
        return jwt.decode(token, **entry, audience=environ["JWKS_AUDIENCE"], issuer=environ["JWKS_ISSUER"])

    return verify
