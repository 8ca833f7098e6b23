"""How each vendor signs a body, and whether a signature is good. Pure: the clock is an argument.

Flow: ``VERIFY[scheme](secret, header, body, now_s, tolerance_s) -> bool``. A missing, malformed, wrong or aged
signature is False, never an exception. Comparison takes the same time wherever two digests differ.

Not for making signatures: the sender is another program.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

Verify = Callable[[bytes, str, bytes, float, float], bool]


def verify_stripe(secret: bytes, header: str, body: bytes, now_s: float, tolerance_s: float) -> bool:
    """``t=<unix>,v1=<hex>``: HMAC over ``<t>.<body>``. Any of several ``v1`` may match, as after a change of secrets.

    Only age is limited. A time in the future is the vendor's clock; it cannot be forged without the secret.
    """
    sent_at, digests = "", []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            sent_at = value
        elif name == "v1":
            digests.append(value)
    if not (sent_at.isascii() and sent_at.isdecimal() and len(sent_at) <= 15):
        return False
    if now_s - int(sent_at) > tolerance_s:
        return False
    expected = hmac.digest(secret, b"%s.%s" % (sent_at.encode(), body), "sha256").hex()
    return any(_same(digest, expected) for digest in digests)


def verify_base64(secret: bytes, header: str, body: bytes, now_s: float, tolerance_s: float) -> bool:
    """Base64 of the HMAC over the body. It has no time, so it never expires."""
    return _same(header, base64.b64encode(hmac.digest(secret, body, "sha256")).decode())


def verify_hex(secret: bytes, header: str, body: bytes, now_s: float, tolerance_s: float) -> bool:
    """Hexadecimal HMAC over the body. It has no time, so it never expires."""
    return _same(header, hmac.digest(secret, body, "sha256").hex())


def _same(given: str, expected: str) -> bool:
    # As bytes: compare_digest refuses text beyond ASCII, which a header may hold.
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


VERIFY: dict[str, Verify] = {
    "stripe": verify_stripe,
    "hmac-sha256-base64": verify_base64,
    "hmac-sha256-hex": verify_hex,
}
