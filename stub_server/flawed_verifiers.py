"""The reference verifier with one mistake at a time, to show that a storm notices it.

Each class is a factory like ``fleet_jwks.factory``. Mistakes that a switch of the reference makes
(``fleet_jwks.settings.Protection``) are not here. The reference has no switch for these: a library that a team may
adopt must not be able to accept bad tokens. Never use one in a real service.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fleet_jwks import Verifier, factory
from fleet_jwks.errors import VerifierError

Claims = Mapping[str, Any]

TRIPPED_S = 0.1
"""How long one bad token keeps all others out."""


class _FlawedVerifier:
    """Wraps the reference verifier. ``fetches`` and ``close`` are the reference's."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._inner: Verifier = factory(environ)

    @property
    def fetches(self) -> int:
        """Fetches that this process made."""
        return self._inner.fetches

    def close(self) -> None:
        """Close the connection to the database."""
        self._inner.close()


class Believing(_FlawedVerifier):
    """Accepts a token whose key it cannot find."""

    def __call__(self, token: str) -> Claims:
        """Claims of any token."""
        try:
            return self._inner(token)
        except VerifierError:
            return {}


class Tripping(_FlawedVerifier):
    """Has a circuit breaker that anybody can trip: after a bad token all tokens are refused for a while."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._closed_at = 0.0

    def __call__(self, token: str) -> Claims:
        """The claims of a valid token, unless somebody sent a bad one just now."""
        if time.monotonic() < self._closed_at:
            raise VerifierError("the breaker is open")
        try:
            return self._inner(token)
        except VerifierError:
            self._closed_at = time.monotonic() + TRIPPED_S
            raise


class Remembering(_FlawedVerifier):
    """Refuses a token for ever that it has refused once, also when its key has come."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._refused: set[str] = set()

    def __call__(self, token: str) -> Claims:
        """The claims of a valid token that was never refused."""
        if token in self._refused:
            raise VerifierError("it was refused before")
        try:
            return self._inner(token)
        except VerifierError:
            self._refused.add(token)
            raise


class GivingUp(_FlawedVerifier):
    """Never fetches again after a failed fetch of its process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._known: set[str] = set()
        self._gave_up = False

    def __call__(self, token: str) -> Claims:
        """The claims of a valid token; after a failed fetch only of a token that was accepted before."""
        if self._gave_up and token not in self._known:
            raise VerifierError("it gave up")
        before = self._inner.fetches
        try:
            claims = self._inner(token)
        except VerifierError:
            self._gave_up = self._inner.fetches > before
            raise
        self._known.add(token)
        return claims


class HangingUp(_FlawedVerifier):
    """Begins a request of its own after its first bad token, and hangs up before the origin can count it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        url = urlsplit(environ["JWKS_URL"])
        self._address = (url.hostname or "127.0.0.1", url.port or 80)
        self._hung_up = False

    def __call__(self, token: str) -> Claims:
        """The claims of a valid token."""
        try:
            return self._inner(token)
        except VerifierError:
            if not self._hung_up:
                self._hung_up = True
                with socket.create_connection(self._address, timeout=1.0) as connection:
                    connection.sendall(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: ")
            raise
