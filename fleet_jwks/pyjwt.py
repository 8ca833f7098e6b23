"""The fleet's keys for PyJWT: what ``jwt.PyJWKClient`` offers, where a library or a framework asks for one.

It needs PyJWT 2, which the package does not. joserfc and Authlib take a callable, see the README.
"""

from __future__ import annotations

import jwt

from fleet_jwks.errors import KeysUnavailable, Refused
from fleet_jwks.keys import kid_of
from fleet_jwks.verifier import Verifier


class FleetJWKClient:
    """The two methods of ``jwt.PyJWKClient`` that callers use, and its exceptions."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def get_signing_key(self, kid: str) -> jwt.PyJWK:
        """The key of that id; jwt.PyJWKClientError where there is none, PyJWKClientConnectionError without keys."""
        try:
            return jwt.PyJWK.from_dict(self._verifier.key(kid).as_dict(private=False))
        except Refused as error:
            raise jwt.PyJWKClientError(str(error)) from error
        except KeysUnavailable as error:
            raise jwt.PyJWKClientConnectionError(str(error)) from error

    def get_signing_key_from_jwt(self, token: str | bytes) -> jwt.PyJWK:
        """The key that a token names, which is not verified yet."""
        try:
            kid = kid_of(token if isinstance(token, str) else token.decode(errors="replace"))
        except Refused as error:
            raise jwt.PyJWKClientError(str(error)) from error
        return self.get_signing_key(kid)
