"""Vendor signatures over a raw body. Pure: time comes in as a number. ``signer`` gives that of a route.

Formulas: Stripe's is the hex HMAC-SHA256 of ``"<unix>.<body>"``, sent as ``t=<unix>,v1=<hex>``; Shopify and WooCommerce
send the base64 HMAC-SHA256 of the body; the reference PayPal route the hex one. Others (GitHub, Slack) put a word
before the signature, or sign the time along with the body: the profile's ``signature_prefix`` and ``signed``.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from rig.profile import WebhookRoute

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK_BYTES = 64
Sign = Callable[[bytes, bytes, int], bytes]
"""(secret, body, unix seconds) -> value of the signature header."""


def _stripe(secret: bytes, body: bytes, unix: int) -> bytes:
    return b"t=%d,v1=%b" % (unix, _hmac(secret, b"%d.%b" % (unix, body)).hexdigest().encode())


def _base64(secret: bytes, body: bytes, unix: int) -> bytes:
    return b64encode(_hmac(secret, body).digest())


def _hex(secret: bytes, body: bytes, unix: int) -> bytes:
    return _hmac(secret, body).hexdigest().encode()


def _hmac(secret: bytes, message: bytes) -> _Hash:
    """HMAC-SHA256 (RFC 2104) at half the cost of ``hmac.digest``, which looks its algorithm up at every call."""
    inner, outer = _keyed(secret)
    inner, outer = inner.copy(), outer.copy()
    inner.update(message)
    outer.update(inner.digest())
    return outer


@lru_cache(maxsize=1024)
def _keyed(secret: bytes) -> tuple[_Hash, _Hash]:
    """Both hashes as they stand once the key is in; a process has few secrets."""
    key = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in key)), hashlib.sha256(bytes(byte ^ 0x5C for byte in key))


_OF_THE_BODY: dict[str, Sign] = {"stripe": _stripe, "hmac-sha256-base64": _base64, "hmac-sha256-hex": _hex}
"""By the scheme names of a profile."""


def signer(route: WebhookRoute) -> Sign:
    """How a route's requests are signed."""
    plain = _OF_THE_BODY[route.scheme]
    if route.signed == "<body>" and not route.signature_prefix:
        return plain
    prefix = route.signature_prefix.encode()
    before, _, after = route.signed.encode().partition(b"<body>")

    def sign(secret: bytes, body: bytes, unix: int) -> bytes:
        stamp = b"%d" % unix
        return prefix + plain(secret, before.replace(b"<unix>", stamp) + body + after.replace(b"<unix>", stamp), unix)

    return sign
