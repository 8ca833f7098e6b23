"""The keys of one storm and the tokens that they sign: made anew, never written anywhere.

The origin serves the public halves. ``k-…`` are known from the start; ``k-new-…`` joins at a rotation. The ids end at
random: a fleet that runs already may still hold the keys of the storm before. Members of a fleet import this module: it
imports nothing heavy.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, KeyParameters, OKPKey, RSAKey

ISSUER = "https://issuer.invalid"
AUDIENCE = "rig"
LIFETIME_S = 3600
_LAPSING_S = 120
"""Nobody knows beforehand when the fleet will be ready."""
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
EDWARDS = {"EdDSA": "Ed25519", "Ed25519": "Ed25519", "Ed448": "Ed448"}
ALGORITHMS = (*(f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512)), *CURVES, *EDWARDS)
"""What a verifier may say that it verifies."""
SigningKey = RSAKey | ECKey | OKPKey
_SIGNATURE_BYTES = {"RS": 256, "PS": 256, "ES384": 96, "ES512": 132, "Ed448": 114}

# RFC 9864 prefers "Ed25519"; issuers still write "EdDSA", and so must a test.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Private keys: ``known`` from the start, ``new`` for the rotation. ``issuer`` is who signs with them."""

    known: tuple[SigningKey, ...] = field(repr=False)
    new: SigningKey = field(repr=False)
    issuer: str = ISSUER

    @classmethod
    def make(
        cls, algorithms: Sequence[str] = ("RS256", "ES256", "EdDSA"), keys: int = 3, issuer: str = ISSUER
    ) -> Keyring:
        """New keys, with ids that no other keyring has; each algorithm has at least one."""
        suffix = secrets.token_hex(4)
        round_them = enumerate(islice(cycle(algorithms), max(keys, len(algorithms))))
        known = tuple(make_key(one, f"k-{one.lower()}-{number}-{suffix}") for number, one in round_them)
        return cls(known, make_key(algorithms[-1], f"k-new-{suffix}"), issuer)

    def document(self, *, rotated: bool = False) -> dict[str, Any]:
        """The key set as the origin serves it."""
        keys = (*self.known, self.new) if rotated else self.known
        return {"keys": [key.as_dict(private=False) for key in keys]}

    def known_tokens(self) -> tuple[str, ...]:
        """One valid token of each known key."""
        return tuple(sign(key, changed={"iss": self.issuer}) for key in self.known)

    def unnamed_tokens(self) -> tuple[str, ...]:
        """The same without a key id."""
        return tuple(sign(key, {"kid": None}, {"iss": self.issuer}) for key in self.known)

    def lapsing_tokens(self) -> tuple[tuple[int, str, str], ...]:
        """For each of the next seconds two tokens whose time ends then, after that second (s since 1970)."""
        key, now = self.known[-1], int(time.time())

        def token(end_s: int, name: str) -> str:
            return sign(key, changed={"iss": self.issuer, "exp": end_s, "jti": name})

        return tuple((end_s, token(end_s, "seen"), token(end_s, "new")) for end_s in range(now, now + _LAPSING_S))

    def rotated_token(self) -> str:
        """A valid token of the new key."""
        return sign(self.new, changed={"iss": self.issuer})


def make_key(algorithm: str, kid: str) -> SigningKey:
    """A new private key for an algorithm of ``ALGORITHMS``."""
    parameters: KeyParameters = {"kid": kid, "use": "sig", "alg": algorithm}
    if algorithm in EDWARDS:
        return OKPKey.generate_key(EDWARDS[algorithm], parameters)  # type: ignore[arg-type]  # one of its literals
    if algorithm in CURVES:
        return ECKey.generate_key(CURVES[algorithm], parameters)
    return RSAKey.generate_key(2048, parameters)


def algorithm_of(key: Key) -> str:
    """The one algorithm that a key is for."""
    return str(key.as_dict(private=False)["alg"])


def claims(**changes: object) -> dict[str, Any]:
    """The claims of a token that is valid for an hour, with changes."""
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "rig", "iat": now, "exp": now + LIFETIME_S, **changes}


def sign(key: Key, header: Mapping[str, Any] | None = None, changed: Mapping[str, Any] | None = None) -> str:
    """A token of a key. ``header`` is added to algorithm and key id (None: without it); ``changed`` replaces claims."""
    algorithm = algorithm_of(key)
    whole = {"alg": algorithm, "kid": key.kid, **(header or {})}
    whole = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(whole, claims(**(changed or {})), key, algorithms=[algorithm])


def assemble(header: object, payload: object, signature: bytes) -> str:
    """A token of three parts as they are, which need not fit together."""
    parts = (*(json.dumps(part).encode() for part in (header, payload)), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def unknown_token(algorithm: str, issuer: str = ISSUER) -> str:
    """A token of a key id that nobody has ever seen. Its signature has the right length, and no key."""
    header = {"alg": algorithm, "kid": f"x-{secrets.token_hex(8)}", "typ": "JWT"}
    length = _SIGNATURE_BYTES.get(algorithm, _SIGNATURE_BYTES.get(algorithm[:2], 64))
    return assemble(header, claims(iss=issuer), secrets.token_bytes(length))
