"""Where key sets come from: a JWKS URL, or any callable."""

from __future__ import annotations

import importlib
import json
import socket
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from threading import Thread
from typing import Any

from fleet_jwks.errors import FetchFailed
from fleet_jwks.settings import JwksSettings

Fetch = Callable[[], Mapping[str, Any]]
"""Takes nothing, returns a key set (RFC 7517, section 5); whatever it raises is a failed fetch."""

_LIMIT_BYTES = 1 << 20


def upstream(settings: JwksSettings) -> Fetch:
    """The configured fetch; ValueError where ``JWKS_FETCH`` names no callable."""
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

    The timeout is for the whole fetch, from the look-up of the name to the last byte. A socket's timeout is for one
    read: an origin that sends a byte a second never exceeds it. So the fetch runs in a thread of its own, and is cut
    off.
    """
    handler, answer = _CuttableHandler(), Future[bytes]()
    Thread(target=_get, args=(handler, url, timeout_s, answer), daemon=True).start()
    try:
        document = json.loads(answer.result(timeout_s))
    except TimeoutError:
        handler.cut()
        raise FetchFailed(f"no whole answer within {timeout_s:g} s") from None
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchFailed(f"status {error.code}") from None
    except (OSError, HTTPException, ValueError, zlib.error) as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise FetchFailed("the answer is no JSON object")
    return document


def _get(handler: _CuttableHandler, url: str, timeout_s: float, answer: Future[bytes]) -> None:
    try:
        with urllib.request.build_opener(handler).open(url, timeout=timeout_s) as response:
            body = response.read(_LIMIT_BYTES + 1)
            if response.headers.get("Content-Encoding", "").lower() == "gzip":  # some send it without being asked
                body = zlib.decompressobj(wbits=31).decompress(body, _LIMIT_BYTES + 1)
        if len(body) > _LIMIT_BYTES:
            raise FetchFailed(f"more than {_LIMIT_BYTES} bytes")
        answer.set_result(body)
    except Exception as error:  # the thread that waits raises it again
        answer.set_exception(error)


class _CuttableHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens URLs as urllib does, over connections that another thread can cut at any time."""

    def __init__(self) -> None:
        super().__init__()
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> HTTPResponse:
        """Called by urllib, with the class of its connections."""
        handler = self

        class CuttableConnection(http_class):  # type: ignore[misc]  # HTTP or HTTPS, as the URL says
            def connect(self) -> None:
                super().connect()
                handler._sockets.append(self.sock)
                if handler._is_cut:
                    handler.cut()

        return super().do_open(CuttableConnection, req, **options)

    def cut(self) -> None:
        """End all connections, also one that is opened later: a read from them ends or fails."""
        self._is_cut = True
        for one in self._sockets:
            with suppress(OSError):  # it has ended
                one.shutdown(socket.SHUT_RDWR)
