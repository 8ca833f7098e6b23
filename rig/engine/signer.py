"""Vendor signatures over a raw body. Pure: time comes in as a number.

Formulas: Stripe's is the hex HMAC-SHA256 of ``"<unix>.<body>"``, sent as ``t=<unix>,v1=<hex>``; Shopify and WooCommerce
send the base64 HMAC-SHA256 of the body; the reference PayPal route the hex one.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable

Sign = Callable[[bytes, bytes, int], bytes]
"""(secret, body, unix seconds) -> value of the signature header."""


def _stripe(secret: bytes, body: bytes, unix: int) -> bytes:
    stamp = b"%d" % unix
    return b"t=" + stamp + b",v1=" + hmac.digest(secret, stamp + b"." + body, "sha256").hex().encode()


def _base64(secret: bytes, body: bytes, unix: int) -> bytes:
    return b64encode(hmac.digest(secret, body, "sha256"))


def _hex(secret: bytes, body: bytes, unix: int) -> bytes:
    return hmac.digest(secret, body, "sha256").hex().encode()


SIGNERS: dict[str, Sign] = {"stripe": _stripe, "hmac-sha256-base64": _base64, "hmac-sha256-hex": _hex}
"""By the scheme names of a profile."""

AGEING_SCHEMES = frozenset({"stripe"})
"""Schemes whose signatures grow too old to be accepted."""
