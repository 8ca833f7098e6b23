"""Bottlenecks: each makes the service slow in one place and wrong in none, so that a diagnosis can be tested.

They are switches like the defects (``defects``). ``log-amplification``, ``busy-loop``, ``sleeps`` and
``slow-dependency`` change the steps, ``row-lock-convoy`` the schema, ``pool-of-one`` and ``no-pool`` the store. What
lies outside the service (a slow commit, a throttled client, a machine that others use) is not seeded here.

Not for anything that a real service should do.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from stub_server.service.config import Config
from stub_server.service.directory import Taxonomy
from stub_server.service.failing import change_storing
from stub_server.service.intake import Decision, Delivery, Persist, Steps, WebhookOutcome

LOG_LINES = 32
LOG_LINE_BYTES = 512
LOG_LINES_A_SYNC = 8
BUSY_CPU_S = 0.004
SLEEP_S = 0.2
TALLY = "tenant_tally"


@change_storing
async def log_much(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """Write 16 kB of log before each event is stored, forced to disk in four parts while the event loop waits."""
    line = (b"debug " * LOG_LINE_BYTES)[: LOG_LINE_BYTES - 1] + b"\n"
    for _ in range(LOG_LINES // LOG_LINES_A_SYNC):
        os.write(sys.stderr.fileno(), line * LOG_LINES_A_SYNC)
        with suppress(OSError):  # a pipe or a terminal has nothing to be forced
            os.fsync(sys.stderr.fileno())
    return await store(delivery, decision)


def compute_much(steps: Steps) -> Steps:
    """Each event costs 4 ms of computation in the event loop."""

    def judge(delivery: Delivery, taxonomy: Taxonomy) -> Decision:
        until_s = time.thread_time() + BUSY_CPU_S
        while time.thread_time() < until_s:
            pass
        return steps.judge(delivery, taxonomy)

    return replace(steps, judge=judge)


@change_storing
async def sleep_much(store: Persist, delivery: Delivery, decision: Decision) -> WebhookOutcome:
    """Each event waits for 0.2 s before it is stored, whatever else goes on."""
    await asyncio.sleep(SLEEP_S)
    return await store(delivery, decision)


def call_slowly(steps: Steps) -> Steps:
    """Each event waits for another service, which answers after 0.2 s.

    Connections to it are kept, as a good client does: to open one for each call would cost CPU, too.
    """
    other: asyncio.Task[asyncio.Server] | None = None
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1):
            await asyncio.sleep(SLEEP_S)
            writer.write(b"!")

    async def persist(delivery: Delivery, decision: Decision) -> WebhookOutcome:
        nonlocal other
        if other is None:
            other = asyncio.create_task(asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024))
        address = (await other).sockets[0].getsockname()
        reader, writer = idle.pop() if idle else await asyncio.open_connection(*address)
        try:
            writer.write(b"?")
            await reader.readexactly(1)
        except BaseException:
            writer.close()
            raise
        idle.append((reader, writer))
        return await steps.persist(delivery, decision)

    return replace(steps, persist=persist)


def pool_of_one(config: Config) -> Config:
    """The configuration with a single connection for each process."""
    return config.model_copy(update={"database": config.database.model_copy(update={"pool_min": 1, "pool_max": 1})})


class NoPool:
    """Takes the place of the store's pool: every request opens a connection of its own and closes it again.

    At one time there are as many as the pool would have had; the rest wait. So only the churn is different.
    """

    def __init__(self, dsn: str, most: int, timeout_s: float, options: dict[str, Any]) -> None:
        self._dsn = dsn
        self._most = most
        self._timeout_s = timeout_s
        self._options = options
        self._free = asyncio.Semaphore(most)
        self._waiting = 0

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection[Any]:
        """A new connection; psycopg.OperationalError where none could be had in time."""
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout or self._timeout_s):
                await self._free.acquire()
        except TimeoutError:
            raise psycopg.OperationalError("no connection was free in time") from None
        finally:
            self._waiting -= 1
        try:
            return await psycopg.AsyncConnection.connect(self._dsn, **self._options)
        except BaseException:
            self._free.release()
            raise

    async def putconn(self, connection: psycopg.AsyncConnection[Any]) -> None:
        try:
            await connection.close()
        finally:
            self._free.release()

    def get_stats(self) -> dict[str, int]:
        """Counters under the pool's names."""
        return {"pool_max": self._most, "requests_waiting": self._waiting}


def set_tally(connection: psycopg.Connection, config: Config, *, wanted: bool) -> None:
    """Count every stored row in one row of its tenant, which each transaction then locks until it commits.

    ``wanted`` False removes the trigger.
    """
    database = config.database
    tally = sql.Identifier(database.schema_name, TALLY)
    for table in (config.tables.canonical, config.tables.dead):
        where = sql.Identifier(database.schema_name, table.name)
        connection.execute(sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(TALLY), where))
    if not wanted:
        return
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} (tenant_id uuid PRIMARY KEY, stored bigint NOT NULL)").format(tally)
    )
    body = sql.SQL(
        """BEGIN
            INSERT INTO {tally} VALUES (NEW.{tenant_id}, 1)
            ON CONFLICT (tenant_id) DO UPDATE SET stored = {name}.stored + 1;
            RETURN NEW;
        END"""
    )
    for table in (config.tables.canonical, config.tables.dead):
        name = sql.Identifier(TALLY)
        filled = body.format(tally=tally, name=name, tenant_id=sql.Identifier(table.tenant_id)).as_string(connection)
        function = sql.Identifier(database.schema_name, f"count_{table.name[:40]}")
        connection.execute(
            sql.SQL("CREATE OR REPLACE FUNCTION {} () RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}").format(
                function, sql.Literal(filled)
            )
        )
        connection.execute(
            sql.SQL("CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {} ()").format(
                name, sql.Identifier(database.schema_name, table.name), function
            )
        )
