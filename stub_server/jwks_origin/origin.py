"""The state of the origin, which changes on request, the handler that answers as it says, and the count of fetches."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self

from aiohttp import web

_DRIP_S = 0.1
_DISCOVERY = "/.well-known/openid-configuration"
_KEYS = "/.well-known/jwks.json"


class FetchLedger:
    """Two lines a fetch::

        {"event": "start", "fetch": 1, "at_ns": …, "concurrent": 1, "peer": "127.0.0.1:4711", "agent": "…"}
        {"event": "end",   "fetch": 1, "at_ns": …, "outcome": "200"}

    ``concurrent`` counts the fetch itself. The outcome is the status, ``malformed`` or ``truncated``, or
    ``aborted`` where the caller went away first.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1)  # line-buffered: whole lines reach the disk
        self._fetches = 0
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def start(self, peer: str, agent: str) -> int:
        """Note that a fetch begins; returns its number."""
        self._fetches += 1
        self._open.add(self._fetches)
        self._write("start", self._fetches, concurrent=len(self._open), peer=peer, agent=agent)
        return self._fetches

    def end(self, fetch: int, outcome: str) -> None:
        self._open.discard(fetch)
        self._write("end", fetch, outcome=outcome)

    def _write(self, event: str, fetch: int, **rest: str | int) -> None:
        line = {"event": event, "fetch": fetch, "at_ns": time.monotonic_ns(), **rest}
        self._file.write(json.dumps(line) + "\n")


class OriginMode(StrEnum):
    """How a fetch goes."""

    OK = "ok"
    FAIL = "fail"
    HANG = "hang"
    """No answer, until the caller goes away or the origin ends."""
    DRIP = "drip"
    """A byte every tenth of a second, head and body, until the caller goes away. No single read takes long."""
    MALFORMED = "malformed"
    """JSON that is no key set."""
    TRUNCATED = "truncated"
    """Half of the document, with the length of that half, so that it is no JSON."""


@dataclass(frozen=True, slots=True)
class OriginState:
    """How fetches are answered. ``delay_s`` passes before every answer, also a failing one."""

    document: dict[str, Any] = field(default_factory=lambda: {"keys": []})
    mode: OriginMode = OriginMode.OK
    status: int = 503
    delay_s: float = 0.0
    cache_control: str | None = None
    issuer: str = ""
    """Who the discovery document says it is; empty: the address that it was asked at."""

    def with_changes(self, request: dict[str, Any]) -> OriginState:
        """The state after a change; ValueError or TypeError for what it cannot be."""
        changes = dict(request)
        if "mode" in changes:
            changes["mode"] = OriginMode(changes["mode"])
        return replace(self, **changes)


class JwksOrigin:
    """Answers fetches, each in the state of its start, and counts them."""

    def __init__(self, ledger: FetchLedger) -> None:
        self.state = OriginState()
        self._ledger = ledger

    def change(self, request: dict[str, Any]) -> None:
        """Change the state, now or at ``at_ns``; ValueError or TypeError for a change that makes no sense."""
        at_ns = request.pop("at_ns", None)
        self.state.with_changes(request)  # a wrong one fails now, not when its time comes
        if at_ns is None:
            self._apply(request)
        else:
            asyncio.get_running_loop().call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._apply, request)

    def _apply(self, request: dict[str, Any]) -> None:
        self.state = self.state.with_changes(request)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one fetch; or a question where the keys are, which is none."""
        state = self.state
        if request.path.endswith(_DISCOVERY):
            return await _discover(state, request)
        peer = request.transport.get_extra_info("peername") if request.transport else None
        fetch = self._ledger.start(f"{peer[0]}:{peer[1]}" if peer else "?", request.headers.get("User-Agent", ""))
        outcome = "aborted"
        try:
            await asyncio.sleep(state.delay_s)
            if state.mode is OriginMode.HANG:
                await asyncio.Event().wait()
            if state.mode is OriginMode.DRIP:
                await _drip(request)
            response = _answer(state, request.headers.get("If-None-Match", ""))
            outcome = str(response.status) if state.mode in (OriginMode.OK, OriginMode.FAIL) else state.mode.value
        finally:
            # Before the answer leaves: its reader may fetch again before this process runs again.
            self._ledger.end(fetch, outcome)
        return response


async def _discover(state: OriginState, request: web.BaseRequest) -> web.Response:
    """The discovery document (OpenID Connect Discovery 1.0, section 4.2); none while the origin is out of order."""
    await asyncio.sleep(state.delay_s)
    if state.mode in (OriginMode.HANG, OriginMode.DRIP):
        await asyncio.Event().wait()
    if state.mode is OriginMode.FAIL:
        return _answer(state, "")
    base = f"http://{request.host}"
    algorithms = sorted({str(key["alg"]) for key in state.document.get("keys", ()) if "alg" in key})
    document = {
        "issuer": state.issuer or base,
        "jwks_uri": base + _KEYS,
        "authorization_endpoint": f"{base}/authorize",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms or ["RS256"],
    }
    return web.json_response(document)


async def _drip(request: web.BaseRequest) -> None:
    """Write to the transport: the server would send the head at once. The body is blanks without end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    for byte in chain(head, repeat(ord(" "))):
        if request.transport is not None:  # None: the caller is gone, and this task will be cancelled
            request.transport.write(bytes([byte]))
        await asyncio.sleep(_DRIP_S)


def _answer(state: OriginState, known: str) -> web.Response:
    """The answer of a mode; 304 where the caller has what ``known`` (If-None-Match, RFC 9110) names."""
    text = json.dumps(state.document)
    match state.mode:
        case OriginMode.FAIL:
            return web.Response(status=state.status, text="the origin is out of order")
        case OriginMode.MALFORMED:
            text = '{"keys": "none"}'
        case OriginMode.TRUNCATED:
            text = text[: len(text) // 2]
    headers = {"ETag": f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'}
    if state.cache_control is not None:
        headers["Cache-Control"] = state.cache_control
    if state.mode is OriginMode.OK and headers["ETag"] in known:
        return web.Response(status=304, headers=headers)
    return web.Response(text=text, content_type="application/json", headers=headers)
