"""Vendor signatures over a raw body. Pure: time comes in as a number. ``signer`` gives that of a route and a secret.

Formulas: Stripe's is the hex HMAC-SHA256 of ``"<unix>.<body>"``, sent as ``t=<unix>,v1=<hex>``; Shopify and WooCommerce
send the base64 HMAC-SHA256 of the body; the reference PayPal route the hex one. Others (GitHub, Slack) put a word
before the signature, or sign the time with the body: see ``signature_prefix`` and ``signed`` in the profile.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rig.model import Scheme
from rig.profile import WebhookRoute

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK_BYTES = 64
Sign = Callable[[bytes, int], bytes]
"""(body, unix seconds) -> value of the signature header."""
_Hmac = Callable[[bytes], "_Hash"]


def _hmac(secret: bytes) -> _Hmac:
    """HMAC-SHA256 (RFC 2104) at half the cost of ``hmac.digest``, which prepares the key at every call."""
    key = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key)).copy
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key)).copy

    def of(message: bytes) -> _Hash:
        within, around = inner(), outer()
        within.update(message)
        around.update(within.digest())
        return around

    return of


def _stripe(secret: bytes) -> Sign:
    hmac = _hmac(secret)
    return lambda body, unix: b"t=%d,v1=%b" % (unix, hmac(b"%d.%b" % (unix, body)).hexdigest().encode())


def _base64(secret: bytes) -> Sign:
    hmac = _hmac(secret)
    return lambda body, unix: b64encode(hmac(body).digest())


def _hex(secret: bytes) -> Sign:
    hmac = _hmac(secret)
    return lambda body, unix: hmac(body).hexdigest().encode()


_SCHEMES: Mapping[Scheme, Callable[[bytes], Sign]] = {
    "hmac-sha256-hex": _hex,
    "hmac-sha256-base64": _base64,
    "stripe": _stripe,
}
"""What signs with a secret, for each scheme that a profile may name."""


def signer(route: WebhookRoute, secret: bytes) -> Sign:
    """How a route's requests are signed with a secret."""
    plain = _SCHEMES[route.scheme](secret)
    if route.signed == "<body>" and not route.signature_prefix:
        return plain
    prefix = route.signature_prefix.encode()
    before, _, after = route.signed.encode().partition(b"<body>")

    def sign(body: bytes, unix: int) -> bytes:
        stamp = b"%d" % unix
        return prefix + plain(before.replace(b"<unix>", stamp) + body + after.replace(b"<unix>", stamp), unix)

    return sign
