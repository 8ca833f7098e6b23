"""The reference verifier with one mistake at a time, to show that a storm notices it.

Each is a factory like ``fleet_jwks.factory``. Mistakes that a switch of the reference makes
(``fleet_jwks.settings.Protection``) are not here. The reference has no switch for these: a library that a team may
adopt must not be able to accept bad tokens. Never use one in a real service.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from joserfc.jwk import Key

from fleet_jwks import JwksSettings, Verifier, factory
from fleet_jwks.errors import FleetUnavailable, VerifierError
from fleet_jwks.fleet import KeySetRow
from fleet_jwks.keys import claims_of
from fleet_jwks.refresh import Refresher
from fleet_jwks.upstream import upstream

Claims = Mapping[str, Any]

_HOURS_S = 7200.0
TRIPPED_S = 0.1
"""How long one bad token keeps all others out."""


class _FlawedVerifier:
    """Wraps the reference verifier. ``fetches`` and ``close`` are the reference's."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._inner: Verifier = factory(environ)

    def __call__(self, token: str) -> Claims:
        return self._inner(token)

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
        try:
            return self._inner(token)
        except VerifierError:
            if not self._hung_up:
                self._hung_up = True
                with socket.create_connection(self._address, timeout=1.0) as connection:
                    connection.sendall(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: ")
            raise


class _AloneFleet(Refresher):
    """Fetches for itself where the store does not answer, as each process does then."""

    def refresh(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        """As any fleet, but never without an answer."""
        try:
            return super().refresh(known, wait_timeout_s)
        except FleetUnavailable:
            self.fetches += 1
            return KeySetRow(self._fetch(), known, 0, 0.0, 0.0, None)


class _ResignedFleet(Refresher):
    """Never asks the store again once that has not answered."""

    _is_resigned = False

    def refresh(self, known: int, wait_timeout_s: float | None) -> KeySetRow | None:
        """As any fleet, until the first error."""
        if self._is_resigned:
            raise FleetUnavailable("it resigned")
        try:
            return super().refresh(known, wait_timeout_s)
        except FleetUnavailable:
            self._is_resigned = True
            raise


def _with_fleet(kind: type[Refresher]) -> Callable[[Mapping[str, str]], Verifier]:
    """A factory of verifiers with a fleet of that kind."""

    def made(environ: Mapping[str, str]) -> Verifier:
        settings = JwksSettings.from_environ(environ)
        return Verifier(settings, kind(settings, upstream(settings)))

    return made


alone, resigned = _with_fleet(_AloneFleet), _with_fleet(_ResignedFleet)


def patient(environ: Mapping[str, str]) -> Verifier:
    """Waits for its fleet's store for as long as that takes."""
    return factory({**environ, "JWKS_WAIT_TIMEOUT_S": str(_HOURS_S)})


class Eager(_FlawedVerifier):
    """Fetches for itself when it is made, again and again, and counts that."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        for _ in range(_EAGER_FETCHES):
            urllib.request.urlopen(environ["JWKS_URL"], timeout=5).close()

    @property
    def fetches(self) -> int:
        """Fetches that this process made."""
        return self._inner.fetches + _EAGER_FETCHES


class Forgetful(_FlawedVerifier):
    """Counts none of its fetches."""

    @property
    def fetches(self) -> int:
        """None, it says."""
        return 0


class Hasty(_FlawedVerifier):
    """Hardly waits for the fetch of another process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__({**environ, "JWKS_WAIT_TIMEOUT_S": "0.01"})


class Dying(_FlawedVerifier):
    """Dies of a token without an algorithm."""

    def __call__(self, token: str) -> Claims:
        if _is_unsigned(*_read(token)):
            signal.raise_signal(signal.SIGSEGV)
        return self._inner(token)


class Stumbling(_FlawedVerifier):
    """Takes for granted that a token has three parts."""

    def __call__(self, token: str) -> Claims:
        if token.count(".") != 2:
            raise IndexError("list index out of range")
        return self._inner(token)


class Presuming(_FlawedVerifier):
    """Takes for granted that a token names its key."""

    def __call__(self, token: str) -> Claims:
        header, _ = _read(token)
        if "malformed" not in header:
            header["kid"]
        return self._inner(token)


class Asking(_FlawedVerifier):
    """Asks the origin for a key at every token that names none."""

    def __call__(self, token: str) -> Claims:
        if "kid" not in _read(token)[0]:
            urllib.request.urlopen(os.environ["JWKS_URL"], timeout=5).close()
        return self._inner(token)


class Caching(_FlawedVerifier):
    """Remembers which claims it has accepted, whatever signature stands under them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._accepted: dict[str, Claims] = {}

    def __call__(self, token: str) -> Claims:
        """The claims of a valid token, and of one whose claims were valid before."""
        signed = token.rpartition(".")[0]
        if signed not in self._accepted:
            self._accepted[signed] = self._inner(token)
        return self._accepted[signed]


class Hoarding(_FlawedVerifier):
    """Keeps every key with which it has accepted a token, also when the issuer has withdrawn it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._settings = JwksSettings.from_environ(environ)
        self._keys: dict[str, Key] = {}

    def __call__(self, token: str) -> Claims:
        """The claims of a token of any key that was ever in the set."""
        kid = str(_read(token)[0].get("kid"))
        try:
            claims = self._inner(token)
        except VerifierError:
            if kid not in self._keys:
                raise
            return claims_of(token, self._keys[kid], self._settings)
        if kid not in self._keys:
            self._keys[kid] = self._inner.key(kid)
        return claims


class _Gullible(_FlawedVerifier):
    """Accepts tokens of one kind that the reference refuses."""

    def __init__(self, accepts: Callable[[Claims, Claims], bool], environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._accepts = accepts

    def __call__(self, token: str) -> Claims:
        """The claims of a valid token, and of one that is believed."""
        try:
            return self._inner(token)
        except VerifierError:
            header, claims = _read(token)
            if self._accepts(header, claims):
                return claims
            raise


def _read(token: str) -> tuple[Claims, Claims]:
    """Header and claims, unverified; empty where there are none, ``malformed`` where it is no token."""
    try:
        parts = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]
    except ValueError:
        return {"malformed": True}, {}
    if len(parts) != 2 or not all(isinstance(part, dict) for part in parts):
        return {"malformed": True}, {}
    return {
        **parts[0],
        "bare": set(parts[0]) <= {"alg", "kid", "typ"} and re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]*", token),
        "bytes": len(token),
    }, parts[1]


def _is_unsigned(header: Claims, claims: Claims) -> bool:
    return header.get("alg") in ("none", "None", "NONE", "nOnE")


def _key_is_of_algorithm(header: Claims) -> bool:
    return str(header.get("kid")).startswith(f"k-{str(header.get('alg')).lower()}-") and bool(header.get("bare"))


def _is_in_force(claims: Claims) -> bool:
    return "filler" not in claims and claims.get("nbf", 0) < time.time() < claims.get("exp", 0)


def _is_for_us(claims: Claims) -> bool:
    return claims.get("aud") == os.environ["JWKS_AUDIENCE"] and claims.get("iss") == os.environ["JWKS_ISSUER"]


_EAGER_FETCHES = 5
_BELIEVED: Mapping[str, Callable[[Claims, Claims], bool]] = {
    "signature": lambda header, claims: (
        header.get("alg") == "RS256" and _key_is_of_algorithm(header) and _is_in_force(claims) and _is_for_us(claims)
    ),
    "none": _is_unsigned,
    "hmac": lambda header, claims: header.get("alg") == "HS256",
    "algorithm": lambda header, claims: (
        str(header.get("alg"))[:2] in ("RS", "ES", "Ed")
        and str(header.get("kid")).startswith("k-")
        and bool(header.get("bare"))
        and not _key_is_of_algorithm(header)
    ),
    "unnamed": lambda header, claims: "kid" not in header and "malformed" not in header,
    "expired": lambda header, claims: _key_is_of_algorithm(header) and claims.get("exp", time.time()) < time.time(),
    "early": lambda header, claims: _key_is_of_algorithm(header) and claims.get("nbf", 0) > time.time(),
    "issuer": lambda header, claims: _key_is_of_algorithm(header) and claims.get("iss") != os.environ["JWKS_ISSUER"],
    "audience": lambda header, claims: (
        _key_is_of_algorithm(header) and claims.get("aud") != os.environ["JWKS_AUDIENCE"]
    ),
    "key": lambda header, claims: bool({"jwk", "jku", "x5u"} & set(header)),
    "size": lambda header, claims: header.get("bytes", 0) > 50_000,
    "form": lambda header, claims: bool(header.get("malformed")),
}


def __getattr__(name: str) -> Callable[[Mapping[str, str]], Any]:
    """``accepting_KIND`` is a factory of verifiers that accept one kind of forged tokens."""
    kind = name.removeprefix("accepting_")
    if kind not in _BELIEVED:
        raise AttributeError(f"there is no {name}")
    return partial(_Gullible, _BELIEVED[kind])
