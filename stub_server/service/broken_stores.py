"""Stores that treat their connections wrongly. Defects: a real service should do nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import psycopg

from stub_server.service.store import Connection, EventStore
from stub_server.service.switches import ServiceDefect

_DWELL_S = 0.02
"""So long each transaction is open: time for a sender to hang up, or for the database to die."""
_AT_WORK = 20
"""A process that has used the database so often is under load."""


class LeakyStore(EventStore):
    """A store whose transactions stay open where the sender hangs up; their connections are lost to the pool."""

    _left: ClassVar[list[Connection]] = []

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        if timeout_s is not None:  # the probe of readiness
            async with super()._connection(timeout_s) as connection:
                yield connection
            return
        connection = await self._pool.getconn()
        self._left.append(connection)
        try:
            await connection.execute(b"BEGIN")
            await asyncio.sleep(_DWELL_S)
            yield connection
            await connection.execute(b"COMMIT")
        except psycopg.Error:
            await connection.close()
        except asyncio.CancelledError:
            return
        await self._pool.putconn(connection)
        self._left.remove(connection)


class ForgetfulStore(EventStore):
    """A store that begins one transaction too many while it is at work, and never ends it."""

    _left: Connection | None = None
    _has_left = False

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        async with super()._connection(timeout_s) as connection:
            yield connection
        if timeout_s is None and self.acquired > _AT_WORK and not self._has_left:
            self._has_left = True
            self._left = await self._pool.getconn()
            await self._left.execute(b"BEGIN")


class GivingUpStore(EventStore):
    """A store that never uses the database again after its first error of it, whoever asked."""

    _has_failed = False

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        if self._has_failed:
            raise psycopg.OperationalError("the pool has given up")
        try:
            async with super()._connection(timeout_s) as connection:
                yield connection
        except psycopg.OperationalError:
            self._has_failed = True
            raise


class DwellingStore(EventStore):
    """A store that commits late. So some transactions are always open, whenever the database dies."""

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        async with super()._connection(timeout_s) as connection:
            if timeout_s is not None:  # the probe of readiness has transactions of its own
                yield connection
                return
            await connection.execute(b"BEGIN")
            yield connection
            await asyncio.sleep(_DWELL_S)
            await connection.execute(b"COMMIT")


STORES: dict[ServiceDefect, type[EventStore]] = {
    ServiceDefect.ACCEPTS_UNKNOWN_COMMITS: DwellingStore,
    ServiceDefect.LEAVES_TRANSACTIONS: LeakyStore,
    ServiceDefect.TRANSACTION_NEVER_ENDED: ForgetfulStore,
    ServiceDefect.POOL_NEVER_RECOVERS: GivingUpStore,
}
"""The store in place of the right one, by defect."""
