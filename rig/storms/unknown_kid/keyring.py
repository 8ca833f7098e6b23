"""The keys of one storm and the tokens that they sign: new ones for every run, never written anywhere.

The origin serves the public halves. ``k-rsa-…``, ``k-ec-…`` and ``k-ed-…`` are known from the start; ``k-new-…`` joins
at a rotation; the forger's key is in no set. The ids end at random: a fleet that runs already may still hold the keys
of the storm before. Members of a fleet import this module: it imports nothing heavy.
"""

from __future__ import annotations

import secrets
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ISSUER = "https://issuer.invalid"
AUDIENCE = "rig"
_LIFETIME_S = 3600
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}

# RFC 9864 prefers "Ed25519"; issuers still write "EdDSA", and so must a test.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Private keys; ``known`` in three algorithms, ``new`` for the rotation."""

    known: tuple[Key, ...] = field(repr=False)
    new: Key = field(repr=False)

    @classmethod
    def make(cls) -> Keyring:
        """New keys, with ids that no other keyring has."""
        suffix = secrets.token_hex(4)
        known = (
            RSAKey.generate_key(2048, {"kid": f"k-rsa-{suffix}", "use": "sig", "alg": "RS256"}),
            ECKey.generate_key("P-256", {"kid": f"k-ec-{suffix}", "use": "sig", "alg": "ES256"}),
            OKPKey.generate_key("Ed25519", {"kid": f"k-ed-{suffix}", "use": "sig", "alg": "EdDSA"}),
        )
        return cls(known, OKPKey.generate_key("Ed25519", {"kid": f"k-new-{suffix}", "use": "sig", "alg": "EdDSA"}))

    def document(self, *, rotated: bool = False) -> dict[str, Any]:
        """The key set as the origin serves it."""
        keys = (*self.known, self.new) if rotated else self.known
        return {"keys": [key.as_dict(private=False) for key in keys]}

    @property
    def known_key_id(self) -> str:
        """The id of a known key, for a forger to name."""
        return str(self.known[-1].kid)

    def known_tokens(self) -> tuple[str, ...]:
        """One valid token of each known key."""
        return tuple(sign(key, str(key.kid)) for key in self.known)

    def rotated_token(self) -> str:
        """A valid token of the new key."""
        return sign(self.new, str(self.new.kid))


class Forger:
    """Signs tokens with a key of its own. ``known_key_id`` is the key id that a forged token names."""

    def __init__(self, known_key_id: str = "k-ed") -> None:
        self._key = OKPKey.generate_key("Ed25519")
        self._known_key_id = known_key_id

    def unknown_token(self) -> str:
        """A token of a key id that nobody has ever seen."""
        return sign(self._key, f"x-{secrets.token_hex(8)}")

    def forged_token(self) -> str:
        """A token that names a known key and was not signed by it."""
        return sign(self._key, self._known_key_id)


def sign(key: Key, kid: str) -> str:
    """Sign a token that is valid for an hour."""
    algorithm = _ALGORITHMS[key.key_type]
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "rig", "iat": now, "exp": now + _LIFETIME_S}
    return jwt.encode({"alg": algorithm, "kid": kid}, claims, key, algorithms=[algorithm])
