"""The HTTP face of the service: routes, headers and status codes around the steps of a request.

Flow of a webhook: tenant by API key → signature → ``judge`` → ``persist`` → answer. 200 means that the transaction is
committed: the event was accepted, is a duplicate or a dead letter. 401 means that no row was written. 503 means that
the database did not answer in time, and that the sender must try again. Every answer repeats the correlation id.
A bearer token is answered with 200, 401, or 503 where the verifier cannot decide now.

Not for the steps themselves: each has a module of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from aiohttp import web

from stub_server.service.config import Config, Route
from stub_server.service.directory import Directory
from stub_server.service.intake import Dead, Delivery, SignedRequest, Steps, WebhookOutcome, usable_text
from stub_server.service.metrics import Board, TimeSeries, dead_letter_series, request_series
from stub_server.service.store import EventStore
from stub_server.service.tokens import Claims, Verifier

Handler = Callable[[web.Request], Awaitable[web.Response]]

_STATUS = {
    WebhookOutcome.ACCEPTED: 200,
    WebhookOutcome.DUPLICATE: 200,
    WebhookOutcome.DEAD_LETTER: 200,
    WebhookOutcome.UNAUTHORIZED: 401,
    WebhookOutcome.UNAVAILABLE: 503,
    WebhookOutcome.ERROR: 500,
}
_BODY = {outcome: json.dumps({"status": outcome.value}).encode() for outcome in WebhookOutcome}
VERIFICATIONS_MAX = 64
"""Bearer tokens verified at one time, each in a thread. A verifier may keep tokens of unknown keys waiting while it
fetches, and tokens of known keys must not queue behind them. asyncio's own pool has few more threads than cores."""
_IN_FLIGHT = TimeSeries("service_requests_in_flight")
_POOL_SERIES = {
    "pool_size": TimeSeries("service_pool_connections"),
    "pool_max": TimeSeries("service_pool_connections_max"),
    "pool_available": TimeSeries("service_pool_available"),
    "requests_waiting": TimeSeries("service_pool_waiting"),
    "requests_errors": TimeSeries("service_pool_timeouts_total"),
}

logger = logging.getLogger(__name__)


class Service:
    """One serving process: its handlers over a store, its steps and its row of the board."""

    def __init__(
        self, config: Config, store: EventStore, steps: Steps, verifier: Verifier, board: Board, process: int
    ) -> None:
        self._config = config
        self._store = store
        self._steps = steps
        self._verifier = verifier
        self._board = board
        self._counters = board.row(process)
        self._directory = Directory(store, config.database.cache_ttl_s)
        self._counters.set(_IN_FLIGHT, 0)  # this process may replace one that was killed
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
        self._counters.set(TimeSeries("service_pool_acquire_wait_seconds_sum"), self._store.acquire_wait_s)
        self._counters.set(TimeSeries("service_pool_acquire_wait_seconds_count"), self._store.acquired)

    def _webhook(self, route: Route) -> Handler:
        correlation_header = self._config.headers.correlation_id
        counted = {outcome: request_series(route.name, outcome) for outcome in WebhookOutcome}

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
            said, said_id = self._steps.reply(outcome, correlation_id)
            return web.Response(
                status=_STATUS[outcome],
                body=_BODY[said],
                content_type="application/json",
                headers={correlation_header: said_id},
            )

        return handle

    async def _outcome(self, route: Route, request: web.Request, correlation_id: str, body: bytes) -> WebhookOutcome:
        try:
            return await self._process(route, request, correlation_id, body)
        except psycopg.OperationalError as error:
            # Only its class: the database's message may quote the row.
            logger.warning("route %s: database unavailable (%s)", route.name, type(error).__name__)
            return WebhookOutcome.UNAVAILABLE
        except psycopg.Error as error:
            logger.error("route %s: database error %s (%s)", route.name, error.sqlstate, type(error).__name__)
            return WebhookOutcome.ERROR

    async def _process(self, route: Route, request: web.Request, correlation_id: str, body: bytes) -> WebhookOutcome:
        headers = self._config.headers
        tenant = await self._directory.tenant(request.headers.get(headers.tenant_key, ""))
        if not tenant:
            return WebhookOutcome.UNAUTHORIZED
        key = request.headers.get(headers.idempotency_key, "")
        delivery = Delivery(route, tenant.tenant_id, key, correlation_id, body)
        if not self._steps.admit(SignedRequest(route, tenant, request.headers.get(route.signature_header), body)):
            await self._steps.refuse(delivery)
            return WebhookOutcome.UNAUTHORIZED
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
            return _refuse("invalid_request")
        try:
            claims = await self._verify(token.strip())
        except Exception as error:  # a verifier is any callable and may raise anything
            logger.debug("bearer token refused: %s", type(error).__name__)
            if getattr(error, "retry", False):
                return web.json_response({"error": "temporarily_unavailable"}, status=503)
            return _refuse("invalid_token")
        return web.json_response({"sub": claims.get("sub"), "iss": claims.get("iss")})

    async def _verify(self, token: str) -> Claims:
        # In a thread, because a plain verifier may block. An async one only makes its coroutine there.
        loop = asyncio.get_running_loop()
        claims = await loop.run_in_executor(self._verifications, self._verifier, token)
        return await claims if inspect.isawaitable(claims) else claims


def _refuse(error: str) -> web.Response:
    return web.json_response({"error": error}, status=401, headers={"WWW-Authenticate": f'Bearer error="{error}"'})
