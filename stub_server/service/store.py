"""How the service uses the database: one bounded pool, and one transaction in one round trip for each request.

Flow: ``async with open_store(config, dsn, name) as store`` → ``persist`` for each request, ``find_tenant`` and
``load_taxonomy`` for the directory, ``unreadiness`` for the probe. Connections are in autocommit: the call of a
function of ``schema`` is a transaction of its own, which is committed when it answers.

An unreachable database raises ``psycopg.OperationalError`` after the pool's timeout, one that does not answer after
``answer_timeout_s``. Nobody knows then whether a row was committed. The sender tries again, and deduplication makes
that harmless.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from stub_server.service.bottlenecks import NoPool
from stub_server.service.config import Config
from stub_server.service.directory import KnownTenant, Taxonomy
from stub_server.service.intake import Canonical, Dead, Decision, Delivery, Reason, WebhookOutcome, digest_only
from stub_server.service.schema import qualify
from stub_server.service.spoiling import FUNCTION

Connection = psycopg.AsyncConnection[Any]

PROBE_TENANT = "00000000-0000-0000-0000-000000000000"
PROBE_TIMEOUT_S = 1.0

logger = logging.getLogger(__name__)


class EventStore:
    """Reads and writes of one serving process. Use ``open_store``."""

    def __init__(
        self, config: Config, pool: AsyncConnectionPool[Connection] | NoPool, *, is_isolated: bool = True
    ) -> None:
        self._config = config
        self._is_isolated = is_isolated
        self._pool = pool
        self._answer_timeout_s = config.database.answer_timeout_s
        self._sql = _Statements(config)
        self.acquire_wait_s = 0.0
        self.acquired = 0

    async def persist(self, delivery: Delivery, decision: Decision) -> WebhookOutcome:
        """Store the decision; returns after the commit. Raises psycopg.OperationalError without a database."""
        if isinstance(decision, Dead):
            return await self._bury(delivery, decision)
        try:
            return await self._ingest(delivery, decision)
        except psycopg.DataError as error:
            # The database refused the whole call and stored nothing. The same text is not tried again.
            logger.info("route %s: the database refused an event (%s)", delivery.route.name, error.sqlstate)
            reason, payload = Reason.UNSTORABLE, digest_only(delivery.body)
            return await self._bury(delivery, Dead(reason, decision.idempotency_key, payload))

    async def _ingest(self, delivery: Delivery, canonical: Canonical) -> WebhookOutcome:
        event = canonical.event
        parameters = (
            delivery.tenant_id,
            canonical.idempotency_key,
            delivery.correlation_id,
            delivery.route.name,
            event.external_id,
            str(event.amount_minor),  # as text: an int is sent as int2, int4 or int8, with a statement for each
            event.currency,
            event.occurred_at,
            canonical.channel,
            canonical.payload,
        )
        async with self._connection() as connection:
            cursor = await connection.execute(self._sql.ingest, parameters, prepare=True)
            row = await cursor.fetchone()
        return WebhookOutcome.ACCEPTED if row and row[0] else WebhookOutcome.DUPLICATE

    async def _bury(self, delivery: Delivery, dead: Dead) -> WebhookOutcome:
        head = (delivery.tenant_id, dead.idempotency_key, delivery.correlation_id, delivery.route.name)
        async with self._connection() as connection:
            try:
                await connection.execute(
                    self._sql.record, (*head, dead.reason, dead.detail, dead.payload), prepare=True
                )
            except psycopg.DataError:
                payload = digest_only(delivery.body)
                await connection.execute(self._sql.record, (*head, dead.reason, dead.detail, payload), prepare=True)
        return WebhookOutcome.DEAD_LETTER

    async def find_tenant(self, api_key_sha256: str) -> KnownTenant | None:
        """The tenant whose API key has that SHA-256 (hex), None when there is none."""
        async with self._connection() as connection:
            cursor = await connection.execute(self._sql.tenant, (api_key_sha256,))
            row = await cursor.fetchone()
        if row is None:
            return None
        tenant_id, secrets = row
        return KnownTenant(tenant_id, {name: str(secret).encode() for name, secret in secrets.items()})

    async def load_taxonomy(self) -> Taxonomy:
        """The taxonomy table as it is now."""
        channels = self._config.channels
        async with self._connection() as connection:
            cursor = await connection.execute(self._sql.taxonomy)
            rows = await cursor.fetchall()
        return Taxonomy(dict(rows), unknown=channels.unknown, absent=channels.absent)

    async def unreadiness(self) -> str | None:
        """Why the service is not ready, None when it is. It tries all that a request needs of the database."""
        try:
            async with self._connection(PROBE_TIMEOUT_S) as connection:
                cursor = await connection.execute(self._sql.secured, prepare=True)
                tables_secured, role_bound, nothing_visible = await cursor.fetchone() or (False, False, False)
                async with connection.transaction():
                    cursor = await connection.execute(self._sql.set_tenant, prepare=True)
                    inside = await cursor.fetchone()
                cursor = await connection.execute(self._sql.get_tenant, prepare=True)
                outside = await cursor.fetchone()
        except psycopg.Error as error:
            return f"database: {type(error).__name__}"
        if inside != (PROBE_TENANT,) or outside != (None,):
            return "the tenant setting does not work"
        if not self._is_isolated:
            return None
        if not tables_secured:
            return "row-level security is not forced on both event tables"
        if not role_bound:
            return "the service's role can bypass row-level security"
        if not nothing_visible:
            return "rows are visible outside any tenant"
        return None

    async def spoil_rows(self) -> None:
        """Call the function of ``spoiling``."""
        async with self._connection() as connection:
            await connection.execute(self._sql.spoil)

    def pool_stats(self) -> dict[str, int]:
        """Counters of the pool, as psycopg_pool names them."""
        return self._pool.get_stats()

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        """A pooled connection. The pool's own context would send an empty commit, which autocommit does not need."""
        began_s = time.perf_counter()
        while _has_closed(connection := await self._pool.getconn(timeout_s)):
            await connection.close()
            await self._pool.putconn(connection)
        self.acquire_wait_s += time.perf_counter() - began_s
        self.acquired += 1
        limit = asyncio.get_running_loop().call_later(self._answer_timeout_s, _hang_up, connection)
        try:
            yield connection
        finally:
            limit.cancel()
            await self._pool.putconn(connection)


def _has_closed(connection: Connection) -> bool:
    """Whether the server has ended an idle connection: only then is there anything to read from it. It asks nobody."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _hang_up(connection: Connection) -> None:
    """End the wait for an answer that may never come: the statement raises OperationalError.

    To cancel the task would not do: psycopg then waits for the answer to its cancellation, without a limit.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


class _Statements:
    """The service's statements, composed once from the configured names, as the bytes that are sent."""

    def __init__(self, config: Config) -> None:
        database, tables = config.database, config.tables
        canonical = qualify(database, tables.canonical.name)
        dead = qualify(database, tables.dead.name)
        setting = sql.Literal(database.tenant_setting)
        self.ingest = _compose(
            "SELECT {}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", qualify(database, database.ingest_function)
        )
        self.record = _compose(
            "SELECT {}($1, $2, $3, $4, $5, $6, $7)", qualify(database, database.dead_letter_function)
        )
        self.spoil = _compose("SELECT {}()", qualify(database, FUNCTION))
        self.tenant = _compose(
            "SELECT {}::text, {} FROM {} WHERE {} = $1",
            sql.Identifier(tables.tenants.tenant_id),
            sql.Identifier(tables.tenants.webhook_secrets),
            qualify(database, tables.tenants.name),
            sql.Identifier(tables.tenants.api_key_sha256),
        )
        self.taxonomy = _compose(
            "SELECT {}, {} FROM {}",
            sql.Identifier(tables.taxonomy.alias),
            sql.Identifier(tables.taxonomy.channel),
            qualify(database, tables.taxonomy.name),
        )
        # The last column needs the tenant setting to be unset, as it is between transactions.
        self.secured = _compose(
            """SELECT (SELECT bool_and(relrowsecurity AND relforcerowsecurity) FROM pg_class
                       WHERE oid IN ({}::regclass, {}::regclass)),
                      (SELECT NOT (rolsuper OR rolbypassrls) FROM pg_roles WHERE rolname = current_user),
                      NOT EXISTS (SELECT FROM {}) AND NOT EXISTS (SELECT FROM {})""",
            sql.Literal(canonical.as_string()),
            sql.Literal(dead.as_string()),
            canonical,
            dead,
        )
        self.set_tenant = _compose("SELECT set_config({}, {}, true)", setting, sql.Literal(PROBE_TENANT))
        self.get_tenant = _compose("SELECT NULLIF(current_setting({}, true), '')", setting)


def _compose(text: LiteralString, *parts: sql.Composable) -> bytes:
    return sql.SQL(text).format(*parts).as_bytes()


@asynccontextmanager
async def open_store(
    config: Config,
    dsn: str,
    application_name: str,
    kind: type[EventStore] = EventStore,
    *,
    pooled: bool = True,
    is_isolated: bool = True,
) -> AsyncIterator[EventStore]:
    """A store with its own pool. It opens at once: whether the database is there is for ``unreadiness``.

    ``pooled`` False uses ``bottlenecks.NoPool``. ``is_isolated`` False: the service is ready also where nothing keeps
    the tenants apart.
    """
    database = config.database
    options: dict[str, Any] = {
        "autocommit": True,
        "application_name": application_name,
        "cursor_factory": psycopg.AsyncRawCursor,
        "connect_timeout": max(2, round(database.pool_timeout_s)),
        "options": f"-c statement_timeout={round(database.statement_timeout_s * 1000)}",
    }
    if not pooled:
        no_pool = NoPool(dsn, database.pool_max, database.pool_timeout_s, options)
        yield kind(config, no_pool, is_isolated=is_isolated)
        return
    pool = AsyncConnectionPool[Connection](
        dsn,
        min_size=database.pool_min,
        max_size=database.pool_max,
        timeout=database.pool_timeout_s,
        # An attempt that fails is not repeated later and later: the next request makes the next one.
        reconnect_timeout=0,
        open=False,
        name=application_name,
        kwargs=options,
    )
    await pool.open(wait=False)
    try:
        yield kind(config, pool, is_isolated=is_isolated)
    finally:
        await pool.close()
