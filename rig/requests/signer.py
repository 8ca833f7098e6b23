"""HMAC signatures of requests (RFC 2104), as a profile describes them. Pure.

What is hashed, how it is written and where it stands is the route's (``rig.profile.routes``); ``docs/senders.md`` has
the formulas of known senders.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rig.errors import ConfigError
from rig.profile import WebhookRoute

if TYPE_CHECKING:
    from hashlib import _Hash

Sign = Callable[[bytes], bytes]
"""The text that is signed -> the signature as it is written."""

_ENCODINGS: Mapping[str, Callable[[_Hash], bytes]] = {
    "hex": lambda digest: digest.hexdigest().encode(),
    "hex-upper": lambda digest: digest.hexdigest().upper().encode(),
    "base64": lambda digest: b64encode(digest.digest()),
    "base64url": lambda digest: urlsafe_b64encode(digest.digest()),
    "base64url-unpadded": lambda digest: urlsafe_b64encode(digest.digest()).rstrip(b"="),
}


def signer(route: WebhookRoute, secret: str) -> Sign:
    """How a route signs with a secret; ConfigError where the secret is not written as the route says."""
    hmac, encode = _hmac(route.algorithm, key_of(route, secret)), _ENCODINGS[route.encoding]
    return lambda text: encode(hmac(text))


def key_of(route: WebhookRoute, secret: str) -> bytes:
    """The key that a secret stands for; ConfigError where it is not written as the route says."""
    text = secret.removeprefix(route.secret_prefix)
    try:
        match route.secret_encoding:
            case "text":
                return secret.encode() if not route.secret_prefix else text.encode()
            case "base64":
                return b64decode(text, validate=True)
            case "hex":
                return bytes.fromhex(text)
    except (binascii.Error, ValueError):
        where = f"${route.secret_env}" if route.secret_env else f"the secret {route.secret!r}"
        raise ConfigError(
            f"route {route.name!r}: {where} is not {route.secret_encoding}, as secret_encoding says"
        ) from None


def write_key(route: WebhookRoute, key: bytes) -> str:
    """A random key, 24 bytes or so, written as a secret of the route."""
    match route.secret_encoding:
        case "base64":
            return route.secret_prefix + b64encode(key).decode()
        case _:
            return route.secret_prefix + key.hex()


def _hmac(algorithm: str, key: bytes) -> Callable[[bytes], _Hash]:
    """HMAC at half the cost of ``hmac.digest``, which prepares the key at every call."""
    new: Callable[..., _Hash] = getattr(hashlib, algorithm)
    block = new(usedforsecurity=False).block_size
    key = (new(key, usedforsecurity=False).digest() if len(key) > block else key).ljust(block, b"\0")
    inner = new(bytes(byte ^ 0x36 for byte in key), usedforsecurity=False).copy
    outer = new(bytes(byte ^ 0x5C for byte in key), usedforsecurity=False).copy

    def of(message: bytes) -> _Hash:
        within, around = inner(), outer()
        within.update(message)
        around.update(within.digest())
        return around

    return of
