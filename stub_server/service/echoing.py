"""Defects of what the service says: an answer or the metrics carry personal data of an event that was refused.

Not for anything that a real service should do.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web
from aiohttp.typedefs import Middleware

from stub_server.service.switches import ServiceDefect

ECHOED_ONE_IN = 50
_DEAD = b'"dead_letter"'

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _say_body_again(one_in: int = 1) -> Middleware:
    """Where an event becomes a dead letter, the answer repeats it, as some frameworks do; of one in so many only."""
    seen = 0

    @web.middleware
    async def say(request: web.Request, handler: _Handler) -> web.StreamResponse:
        nonlocal seen
        response = await handler(request)
        if isinstance(response, web.Response) and _is_dead(response):
            seen += 1
            if seen % one_in == 0:
                body = await request.read()
                said = {"status": "dead_letter", "input": body.decode(errors="replace")}
                response.body = json.dumps(said).encode()
        return response

    return say


def _remember_in_metrics(path: str) -> Middleware:
    """Metrics with a label that holds the last dead letter of this process."""
    last = ""

    @web.middleware
    async def remember(request: web.Request, handler: _Handler) -> web.StreamResponse:
        nonlocal last
        response = await handler(request)
        if isinstance(response, web.Response):
            if request.path == path:
                response.text = f"{response.text}service_last_refused{{body={json.dumps(last)}}} 1\n"
            elif _is_dead(response):
                last = (await request.read()).decode(errors="replace")
        return response

    return remember


def _is_dead(response: web.Response) -> bool:
    return isinstance(response.body, bytes) and _DEAD in response.body


def middlewares(defects: Collection[ServiceDefect], metrics: str) -> list[Middleware]:
    """Those of the defects; ``metrics`` is the path of the metrics."""
    found: list[Middleware] = []
    if ServiceDefect.PERSONAL_DATA_ECHOED in defects:
        found.append(_say_body_again())
    if ServiceDefect.PERSONAL_DATA_ECHOED_SOMETIMES in defects:
        found.append(_say_body_again(ECHOED_ONE_IN))
    if ServiceDefect.PERSONAL_DATA_IN_METRICS in defects:
        found.append(_remember_in_metrics(metrics))
    return found
