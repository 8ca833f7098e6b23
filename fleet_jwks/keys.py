"""Tokens and key sets, as far as the JOSE library leaves anything to do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import ceil
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key

from fleet_jwks.errors import FetchFailed, Refused
from fleet_jwks.settings import JwksSettings

# RFC 9864 would rather say "Ed25519"; issuers still write "EdDSA".
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


def kid_of(token: str) -> str:
    """The key id that a token names, which is not verified yet. Refused where it is no signed token."""
    try:
        header: Any = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise Refused(f"no signed token: {error}") from None
    kid = header.get("kid") if isinstance(header, dict) else None  # the library accepts any JSON here
    if not isinstance(kid, str) or not kid:
        raise Refused("the token names no key")
    return kid


def import_keys(document: Mapping[str, Any]) -> dict[str, Key]:
    """The usable keys by id, without those of an unknown kind. FetchFailed where none is left."""
    found: dict[str, Key] = {}
    members = document.get("keys")
    for member in members if isinstance(members, list) else ():
        try:
            key = JWKRegistry.import_key(member)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if key.kid and key.key_type != "oct":  # a published secret proves nothing
            found[key.kid] = key
    if not found:
        raise FetchFailed("the answer holds no usable key")
    return found


def claims_of(token: str, key: Key, settings: JwksSettings) -> Mapping[str, Any]:
    """The claims of a token that ``key`` signed and that is in force; else Refused."""
    rules: dict[str, Any] = {"exp": {"essential": True}}
    if settings.issuer:
        rules["iss"] = {"essential": True, "value": settings.issuer}
    if settings.audience:
        rules["aud"] = {"essential": True, "value": settings.audience}
    try:
        claims = jwt.decode(token, key, algorithms=list(settings.algorithms)).claims
        jwt.JWTClaimsRegistry(leeway=ceil(settings.leeway_s), **rules).validate(claims)
    except (JoseError, ValueError, TypeError) as error:  # TypeError: a "crit" that is no list of texts
        raise Refused(f"{type(error).__name__}: {error}") from None
    return claims
