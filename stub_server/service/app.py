"""The HTTP face of the service: routes, headers and status codes around the steps of a request.

Flow of a webhook: tenant by API key → signature → ``judge`` → ``persist`` → answer. 200 says that the transaction is
committed, whether the event was accepted, a duplicate or a dead letter; 401 that no row was written; 503 that the
database did not answer in time, so that the sender must try again. The correlation id is echoed in every answer.
A bearer token is answered 200, 401, or 503 where the verifier cannot tell just now.

Not for what any of that means: the modules named in the imports know.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from aiohttp import web

from stub_server.service.config import Config, Route
from stub_server.service.directory import Directory
from stub_server.service.intake import Dead, Delivery, usable_text
from stub_server.service.metrics import Board, Series, dead_letter_series, request_series
from stub_server.service.steps import Outcome, Steps
from stub_server.service.store import Store
from stub_server.service.tokens import Claims, Verifier
from stub_server.service.vendors import VERIFY

Handler = Callable[[web.Request], Awaitable[web.Response]]

_STATUS = {
    Outcome.ACCEPTED: 200,
    Outcome.DUPLICATE: 200,
    Outcome.DEAD_LETTER: 200,
    Outcome.UNAUTHORIZED: 401,
    Outcome.UNAVAILABLE: 503,
    Outcome.ERROR: 500,
}
_BODY = {outcome: json.dumps({"status": outcome.value}).encode() for outcome in Outcome}
VERIFICATIONS_MAX = 64
"""Bearer tokens judged at one time, each in a thread. A verifier may keep tokens of unknown keys waiting while it
fetches, and known ones must not stand in line behind those: asyncio's own threads are few more than the cores."""
_IN_FLIGHT = Series("service_requests_in_flight")
_POOL_SERIES = {
    "pool_size": Series("service_pool_connections"),
    "pool_max": Series("service_pool_connections_max"),
    "pool_available": Series("service_pool_available"),
    "requests_waiting": Series("service_pool_waiting"),
    "requests_errors": Series("service_pool_timeouts_total"),
}

logger = logging.getLogger(__name__)


class Service:
    """One serving process: its handlers over a store, its steps and its row of the board."""

    def __init__(
        self, config: Config, store: Store, steps: Steps, verifier: Verifier, board: Board, process: int
    ) -> None:
        self._config = config
        self._store = store
        self._steps = steps
        self._verifier = verifier
        self._board = board
        self._counters = board.row(process)
        self._directory = Directory(store, config.database.cache_ttl_s)
        self._verifications = ThreadPoolExecutor(VERIFICATIONS_MAX, "verify")

    def application(self) -> web.Application:
        """The routes of the configuration, ready to be served."""
        application = web.Application(client_max_size=self._config.body_bytes_max)
        for route in self._config.routes:
            application.router.add_post(route.path, self._webhook(route))
        probes = self._config.probes
        application.router.add_get(probes.health, self._health)
        application.router.add_get(probes.ready, self._ready)
        application.router.add_get(probes.metrics, self._metrics)
        application.router.add_get(probes.whoami, self._whoami)
        return application

    def refresh_gauges(self) -> None:
        """Copy the pool's numbers to the board."""
        stats = self._store.pool_stats()
        for name, series in _POOL_SERIES.items():
            self._counters.set(series, stats.get(name, 0))
        self._counters.set(Series("service_pool_acquire_wait_seconds_sum"), self._store.acquire_wait_s)
        self._counters.set(Series("service_pool_acquire_wait_seconds_count"), self._store.acquired)

    def _webhook(self, route: Route) -> Handler:
        correlation_header = self._config.headers.correlation_id
        counted = {outcome: request_series(route.name, outcome) for outcome in Outcome}

        async def handle(request: web.Request) -> web.Response:
            correlation_id = request.headers.get(correlation_header, "")
            if not usable_text(correlation_id):
                correlation_id = str(uuid.uuid4())
            body = await request.read()
            self._counters.add(_IN_FLIGHT)
            try:
                outcome = await self._outcome(route, request, correlation_id, body)
            finally:
                self._counters.add(_IN_FLIGHT, -1)
            self._counters.add(counted[outcome])
            return web.Response(
                status=_STATUS[outcome],
                body=_BODY[outcome],
                content_type="application/json",
                headers={correlation_header: correlation_id},
            )

        return handle

    async def _outcome(self, route: Route, request: web.Request, correlation_id: str, body: bytes) -> Outcome:
        try:
            return await self._process(route, request, correlation_id, body)
        except psycopg.OperationalError as error:
            # Its kind alone: what a database says about a statement may quote the row.
            logger.warning("route %s: database unavailable (%s)", route.name, type(error).__name__)
            return Outcome.UNAVAILABLE
        except psycopg.Error as error:
            logger.error("route %s: database error %s (%s)", route.name, error.sqlstate, type(error).__name__)
            return Outcome.ERROR

    async def _process(self, route: Route, request: web.Request, correlation_id: str, body: bytes) -> Outcome:
        headers = self._config.headers
        tenant = await self._directory.tenant(request.headers.get(headers.tenant_key, ""))
        secret = tenant.secrets.get(route.secret) if tenant else None
        signature = request.headers.get(route.signature_header, "")
        if not tenant or not secret:
            return Outcome.UNAUTHORIZED
        if not VERIFY[route.scheme](secret, signature, body, time.time(), route.tolerance_s):
            return Outcome.UNAUTHORIZED
        key = request.headers.get(headers.idempotency_key, "")
        delivery = Delivery(route, tenant.tenant_id, key, correlation_id, body)
        decision = self._steps.judge(delivery, await self._directory.taxonomy())
        outcome = await self._steps.persist(delivery, decision)
        if isinstance(decision, Dead):
            self._counters.add(dead_letter_series(decision.reason))
        return outcome

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        if reason := await self._store.unreadiness():
            return web.json_response({"status": "not ready", "reason": reason}, status=503)
        return web.json_response({"status": "ready"})

    async def _metrics(self, request: web.Request) -> web.Response:
        self.refresh_gauges()
        return web.Response(text=self._board.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _whoami(self, request: web.Request) -> web.Response:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.casefold() != "bearer" or not token:
            return _refused("invalid_request")
        try:
            claims = await self._verified(token.strip())
        except Exception as error:  # a verifier is anybody's callable and refuses with whatever it likes
            logger.debug("bearer token refused: %s", type(error).__name__)
            if getattr(error, "retry", False):
                return web.json_response({"error": "temporarily_unavailable"}, status=503)
            return _refused("invalid_token")
        return web.json_response({"sub": claims.get("sub"), "iss": claims.get("iss")})

    async def _verified(self, token: str) -> Claims:
        # In a thread, because a plain verifier may block; an async one only makes its coroutine there.
        loop = asyncio.get_running_loop()
        claims = await loop.run_in_executor(self._verifications, self._verifier, token)
        return await claims if inspect.isawaitable(claims) else claims


def _refused(error: str) -> web.Response:
    return web.json_response({"error": error}, status=401, headers={"WWW-Authenticate": f'Bearer error="{error}"'})
