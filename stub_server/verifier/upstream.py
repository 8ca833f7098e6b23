"""Where key sets come from: a JWKS URL, or any callable."""

from __future__ import annotations

import importlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any

from stub_server.verifier.errors import FetchFailed
from stub_server.verifier.settings import Settings

Fetch = Callable[[], Mapping[str, Any]]
"""Takes nothing, returns a key set (RFC 7517, section 5); whatever it raises is a failed fetch."""

_LIMIT_BYTES = 1 << 20


def upstream(settings: Settings) -> Fetch:
    """The configured one; ValueError where ``JWKS_FETCH`` names nothing that can be called."""
    if settings.url:
        return lambda: fetch_url(settings.url, settings.fetch_timeout_s)
    module, _, name = settings.fetch.partition(":")
    try:
        found: Fetch = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"JWKS_FETCH {settings.fetch!r}: {error}; give module:name") from None
    return found


def fetch_url(url: str, timeout_s: float) -> Mapping[str, Any]:
    """GET a key set; FetchFailed with the reason.

    The timeout is for the whole answer: an origin that sends a byte a second would never exceed one of a socket's.
    """
    deadline = time.monotonic() + timeout_s
    body = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            while chunk := response.read1(65536):
                body += chunk
                if len(body) > _LIMIT_BYTES:
                    raise FetchFailed(f"more than {_LIMIT_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise FetchFailed(f"no whole answer within {timeout_s:g} s")
        document = json.loads(body)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchFailed(f"status {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise FetchFailed("the answer is no JSON object")
    return document
