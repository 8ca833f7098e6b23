"""Queues and schedulers of the scoreboard, in Python: ``queues.py NAME prepare|enqueue|work [JOBS]``.

Every job notes that a replica begins it, takes a tenth of a second, and has an effect. The notes say what a replica
held when it was killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

DSN = os.environ["DATABASE_URL"]
REPLICA = os.environ.get("REPLICA", "")
TABLES = """
CREATE TABLE effect (job text, replica text);
CREATE TABLE work (job text, replica text, at timestamptz DEFAULT clock_timestamp())
"""


def do(job: str) -> None:
    """The body of a job."""
    with psycopg.connect(DSN, autocommit=True) as connection:
        connection.execute("INSERT INTO work (job, replica) VALUES (%s, %s)", (job, REPLICA))
        time.sleep(0.1)
        connection.execute("INSERT INTO effect VALUES (%s, %s)", (job, REPLICA))


class Procrastinate:
    """procrastinate, one job at a time in each worker."""

    def __init__(self) -> None:
        import procrastinate

        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN))
        self._task = self._app.task(name="job")(self._job)

    async def _job(self, job: str) -> None:
        await asyncio.to_thread(do, job)

    async def prepare(self) -> None:
        """Make its tables."""
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def enqueue(self, jobs: int) -> None:
        """Make the jobs."""
        async with self._app.open_async():
            for number in range(jobs):
                await self._task.defer_async(job=str(number))

    async def work(self) -> None:
        """Until SIGTERM."""
        async with self._app.open_async():
            await self._app.run_worker_async(concurrency=1, fetch_job_polling_interval=0.5)


class Pgqueuer:
    """pgqueuer, two jobs at a time in each worker, which is the least, with a heartbeat of two seconds."""

    async def _connect(self) -> Any:
        import asyncpg

        return await asyncpg.connect(DSN)

    async def prepare(self) -> None:
        """Make its tables."""
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        await Queries(AsyncpgDriver(await self._connect())).install()

    async def enqueue(self, jobs: int) -> None:
        """Make the jobs."""
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        payloads: list[bytes | None] = [str(number).encode() for number in range(jobs)]
        await Queries(AsyncpgDriver(await self._connect())).enqueue(["job"] * jobs, payloads, [0] * jobs)

    async def work(self) -> None:
        """Until SIGTERM."""
        from pgqueuer import PgQueuer

        queuer = PgQueuer.from_asyncpg_connection(await self._connect())

        async def job(found: Any) -> None:
            await asyncio.to_thread(do, found.payload.decode())

        queuer.entrypoint("job")(job)
        times = {"dequeue_timeout": timedelta(seconds=1), "heartbeat_timeout": timedelta(seconds=2)}
        await queuer.run(batch_size=1, max_concurrent_tasks=2, **times)


class Apscheduler:
    """APScheduler 3: each replica has a scheduler on the same job store."""

    def _scheduler(self) -> Any:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
        from apscheduler.schedulers.background import BackgroundScheduler

        store = SQLAlchemyJobStore(url=DSN.replace("postgresql:", "postgresql+psycopg:", 1))
        defaults = {"misfire_grace_time": 3600}
        return BackgroundScheduler(
            jobstores={"default": store}, executors={"default": ThreadPoolExecutor(1)}, job_defaults=defaults
        )

    async def prepare(self) -> None:
        """Its tables are made with the first jobs."""

    async def enqueue(self, jobs: int) -> None:
        """Make the jobs: each runs once, all a few seconds from now."""
        scheduler = self._scheduler()
        scheduler.start(paused=True)
        for number in range(jobs):
            when = datetime.now(UTC) + timedelta(seconds=4 + number / 20)
            scheduler.add_job("__main__:do", "date", run_date=when, args=(str(number),), id=str(number))
        scheduler.shutdown()

    async def work(self) -> None:
        """Until SIGTERM."""
        self._scheduler().start()
        await asyncio.Event().wait()


def main() -> None:
    """One command."""
    name, command, *jobs = sys.argv[1:]
    if command == "prepare":
        with psycopg.connect(DSN) as connection:
            connection.execute(TABLES)
    queue = {"procrastinate": Procrastinate, "pgqueuer": Pgqueuer, "apscheduler": Apscheduler}[name]()
    asyncio.run(getattr(queue, command)(*map(int, jobs)))


if __name__ == "__main__":
    main()
