"""What is served, and how: a mood that orders change, and the handler that acts on it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain, repeat
from typing import Any

from aiohttp import web

from stub_server.jwks_origin.ledger import Ledger

_DRIP_S = 0.1


class OriginMode(StrEnum):
    """How a fetch goes."""

    OK = "ok"
    FAIL = "fail"
    HANG = "hang"
    """No answer, until the caller goes away or the origin ends."""
    DRIP = "drip"
    """A byte every tenth of a second, head and body, until the caller goes away: each is in time, all of them never."""
    MALFORMED = "malformed"
    """JSON that is no key set."""
    TRUNCATED = "truncated"
    """Half of the document, with the length of that half: not JSON at all."""


@dataclass(frozen=True, slots=True)
class Manner:
    """The state that orders change. ``delay_s`` passes before every answer, also a failing one."""

    document: dict[str, Any] = field(default_factory=lambda: {"keys": []})
    mode: OriginMode = OriginMode.OK
    status: int = 503
    delay_s: float = 0.0

    def changed(self, order: dict[str, Any]) -> Manner:
        """This manner with what an order names changed; ValueError or TypeError for what it cannot be."""
        changes = dict(order)
        if "mode" in changes:
            changes["mode"] = OriginMode(changes["mode"])
        return replace(self, **changes)


class Origin:
    """The handler and its manner."""

    def __init__(self, ledger: Ledger) -> None:
        self.manner = Manner()
        self._ledger = ledger

    def order(self, order: dict[str, Any]) -> None:
        """Change the manner, now or at ``at_ns``; ValueError or TypeError for an order that makes no sense."""
        at_ns = order.pop("at_ns", None)
        self.manner.changed(order)  # found wrong now, not when its time comes
        if at_ns is None:
            self._change(order)
        else:
            asyncio.get_running_loop().call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._change, order)

    def _change(self, order: dict[str, Any]) -> None:
        self.manner = self.manner.changed(order)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One fetch, in the manner of its start."""
        manner = self.manner
        peer = request.transport.get_extra_info("peername") if request.transport else None
        fetch = self._ledger.start(f"{peer[0]}:{peer[1]}" if peer else "?", request.headers.get("User-Agent", ""))
        outcome = "aborted"
        try:
            await asyncio.sleep(manner.delay_s)
            if manner.mode is OriginMode.HANG:
                await asyncio.Event().wait()
            if manner.mode is OriginMode.DRIP:
                await _drip(request)
            response = _answer(manner)
            outcome = str(response.status) if manner.mode in (OriginMode.OK, OriginMode.FAIL) else manner.mode.value
        finally:
            # Before the answer leaves: who reads it may fetch again before this process runs again.
            self._ledger.end(fetch, outcome)
        return response


async def _drip(request: web.BaseRequest) -> None:
    """Past the server, which would send the head as a whole; ends by being cancelled. The body is blanks for ever."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    for byte in chain(head, repeat(ord(" "))):
        if request.transport is not None:  # None: the caller is gone, and this is about to be cancelled
            request.transport.write(bytes([byte]))
        await asyncio.sleep(_DRIP_S)


def _answer(manner: Manner) -> web.Response:
    text = json.dumps(manner.document)
    match manner.mode:
        case OriginMode.FAIL:
            return web.Response(status=manner.status, text="the origin is out of order")
        case OriginMode.MALFORMED:
            text = '{"keys": "none"}'
        case OriginMode.TRUNCATED:
            text = text[: len(text) // 2]
    return web.Response(text=text, content_type="application/json")
