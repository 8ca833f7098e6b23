"""Bearer tokens: what a verifier looks like, how it is loaded, and the default: keys of an issuer, or a fixed key set.

Flow: ``load_verifier("module:factory", environ)`` → ``verify(token) -> claims``, plain or async. It refuses a token
by any exception. An exception with a true attribute ``retry`` means that it cannot decide now. A plain verifier may
block: it is called in a thread.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fleet_jwks.asynchronous import async_factory
from stub_server.service.errors import ServiceConfigError

Claims = Mapping[str, Any]
Verifier = Callable[[str], Claims | Awaitable[Claims]]

ALGORITHMS = ["RS256", "ES256", "EdDSA"]


def load_verifier(spec: str, environ: Mapping[str, str]) -> Verifier:
    """The verifier that ``module:factory`` makes of the environment.

    ServiceConfigError when there is no such factory, or when it raises ValueError for a variable.
    """
    module_name, _, factory_name = spec.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError) as error:
        raise ServiceConfigError(f"auth.verifier {spec}: {error}") from None
    try:
        verifier: Verifier = factory(environ)
    except ValueError as error:
        raise ServiceConfigError(f"auth.verifier {spec}: {' '.join(str(error).split())}") from None
    return verifier


def from_environment(environ: Mapping[str, str]) -> Verifier:
    """The fleet's verifier where ``JWKS_URL`` or ``JWKS_FETCH`` names an issuer, else a fixed key set."""
    if environ.get("JWKS_URL") or environ.get("JWKS_FETCH"):
        return async_factory(environ)
    return static_key_set(environ)


def static_key_set(environ: Mapping[str, str]) -> Verifier:
    """A verifier with the JWKS in the file ``JWKS_FILE``. Without that variable it refuses every token."""
    path = environ.get("JWKS_FILE")
    if not path:
        return _refuse_all
    try:
        keys = KeySet.import_key_set(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
        raise ServiceConfigError(f"JWKS_FILE {path} is not a key set: {type(error).__name__}: {error}") from None
    registry = jwt.JWTClaimsRegistry(exp={"essential": True})

    def verify(token: str) -> Claims:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        registry.validate(claims)
        return claims

    return verify


def _refuse_all(token: str) -> Claims:
    raise PermissionError("no key set is configured")
