"""Placeholders: ``<name>`` in the texts of a profile, filled for each request.

Where a text stands decides which placeholders it may have; any other is an error, so that none is sent literally.

Of the event, the same in each replay: ``<key>`` is its idempotency key; ``<event>`` the key without dashes;
``<number>`` the same as digits; ``<amount>`` minor units, an integer; ``<decimal>`` the same as ``12.34``; ``<unix>``,
``<unix_ms>`` and ``<iso>`` when it happened; ``<source>`` its utm_source. ``<correlation>`` is unique to the request.
Of the sending: ``<now>``, ``<now_ms>``, ``<now_iso>``. Outside a body ``<unix>``, ``<unix_ms>`` and ``<iso>`` mean
these three, because senders sign the time of sending.
Of the tenant: ``<tenant>`` (the id in its rows), ``<api_key>``, ``<secret>`` (the webhook secret) and
``<secret_base64>`` (of ``user:password``, for Basic authentication).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

PLACEHOLDER = re.compile(r"<([a-z][a-z0-9_]*)>")

EVENT = ("event", "number", "amount", "decimal", "unix", "unix_ms", "iso", "source", "correlation", "key")
SENDING = ("now", "now_ms", "now_iso")
TENANT = ("tenant", "api_key", "secret", "secret_base64")
SIGNATURES = ("signature", "old_signature")

IN_BODY = (*EVENT, *SENDING, *TENANT, *SIGNATURES)
IN_PATH = (*EVENT, *SENDING, *TENANT, *SIGNATURES)
IN_HEADER = (*IN_PATH, "method", "path", "url", "host", "body_sha256", "body_md5")
IN_SIGNED = (*EVENT, *SENDING, *TENANT, "method", "path", "url", "host", "body", "body_sha256", "body_md5", "fields")

OF_SENDING: Mapping[str, str] = {"unix": "now", "unix_ms": "now_ms", "iso": "now_iso"}
"""What three placeholders mean outside a body."""


def require_known(allowed: tuple[str, ...]) -> Callable[[str], str]:
    """A check that lets a text through whose placeholders are all ``allowed``; ValueError names the one that is not."""

    def check(text: str) -> str:
        for name in PLACEHOLDER.findall(text):
            if name not in allowed:
                known = ", ".join(f"<{each}>" for each in allowed)
                raise ValueError(f"unknown placeholder <{name}>; known here are {known}")
        return text

    return check


def names_in(text: str) -> frozenset[str]:
    """The placeholders of a text."""
    return frozenset(PLACEHOLDER.findall(text))
