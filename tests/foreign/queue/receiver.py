"""A receiver with a queue behind it: FastAPI verifies, ``procrastinate`` stores.

Nothing in it knows of the rig. An event is verified as Standard Webhooks says, a job is deferred, the sender gets 202.
Workers in the same processes store the event later. There are no tenants, no dead letters and no correlation id.

    python receiver.py migrate                                          (DATABASE_URL)
    python -m uvicorn receiver:app --app-dir tests/foreign/queue        (DATABASE_URL, ORDERS_SECRET)

``ORDERS_JOB_S`` is how long a job takes, ``ORDERS_JOBS`` how many run at once in each process.
``ORDERS_DROPS_ONE_IN=500`` forgets one job in 500. ``ORDERS_ANSWERS`` makes it store at once and answer otherwise:

- ``known``: 201 for a new order, 409 for a known one
- ``same-body``: the first answer again, with its body
- ``other-body``: a new body at each replay
- ``refuses``: 422 for a known order with another amount
- ``overwrites``: the last amount wins
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import procrastinate
import psycopg
from fastapi import FastAPI, Request, Response
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from standardwebhooks import Webhook, WebhookVerificationError

DSN = os.environ["DATABASE_URL"]
JOB_S = float(os.environ.get("ORDERS_JOB_S", "0"))
JOBS = int(os.environ.get("ORDERS_JOBS", "10"))
DROPS_ONE_IN = int(os.environ.get("ORDERS_DROPS_ONE_IN", "0"))
ANSWERS = os.environ.get("ORDERS_ANSWERS", "queued")
TABLES = """
CREATE TABLE IF NOT EXISTS orders (
    order_id uuid PRIMARY KEY, amount integer NOT NULL, placed_at timestamptz NOT NULL, answer jsonb,
    stored_at timestamptz NOT NULL DEFAULT now()
)
"""

pool = AsyncConnectionPool(DSN, min_size=4, max_size=8, open=False)
jobs = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN))
numbers = itertools.count(1)


@jobs.task(name="store")
async def store(order: dict[str, Any]) -> None:
    """The job: some work, then one row."""
    await asyncio.sleep(JOB_S)
    if DROPS_ONE_IN and next(numbers) % DROPS_ONE_IN == 0:
        return
    await insert(order, None)


async def insert(order: dict[str, Any], answer: dict[str, Any] | None) -> bool:
    """True for an order that was not known."""
    async with pool.connection() as connection:
        done = await connection.execute(
            "INSERT INTO orders (order_id, amount, placed_at, answer) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [order["id"], order["amount"], order["at"], Jsonb(answer)],
        )
        return done.rowcount == 1


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool, jobs.open_async():
        worker = asyncio.create_task(jobs.run_worker_async(concurrency=JOBS, install_signal_handlers=False, wait=True))
        yield
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


app = FastAPI(lifespan=lifespan)


@app.get("/up")
def up() -> str:
    return "up"


@app.post("/hooks/orders")
async def take(request: Request) -> Response:
    raw = await request.body()
    try:
        Webhook(os.environ["ORDERS_SECRET"]).verify(raw, dict(request.headers))
    except WebhookVerificationError:
        return Response(status_code=401)
    try:
        data = json.loads(raw)["data"]
        order = {"id": str(uuid.UUID(data["id"])), "amount": int(data["amount"]), "at": str(data["at"])}
    except (ValueError, KeyError, TypeError):
        return Response(status_code=400)
    if ANSWERS != "queued":
        return await answer_at_once(order)
    await store.defer_async(order=order)
    return Response('{"queued":true}', 202, media_type="application/json")


async def answer_at_once(order: dict[str, Any]) -> Response:
    answer = {"order": order["id"], "receipt": str(uuid.uuid4())}
    is_new = await insert(order, answer)
    async with pool.connection() as connection:
        row = await (
            await connection.execute("SELECT answer, amount FROM orders WHERE order_id = %s", [order["id"]])
        ).fetchone()
        assert row is not None
        first, amount = row
        if ANSWERS == "overwrites" and not is_new:
            await connection.execute(
                "UPDATE orders SET amount = %s WHERE order_id = %s", [order["amount"], order["id"]]
            )
    if ANSWERS == "known":
        return Response(status_code=201 if is_new else 409)
    if ANSWERS == "refuses" and amount != order["amount"]:
        return Response(status_code=422)
    return Response(json.dumps(first if ANSWERS == "same-body" else answer), 200, media_type="application/json")


def migrate() -> None:
    """Both schemas; a second time changes nothing."""
    with psycopg.connect(DSN, autocommit=True) as connection:
        connection.execute(TABLES)
        known = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
        if known == (None,):
            connection.execute(procrastinate.schema.SchemaManager.get_schema().encode())


if __name__ == "__main__" and sys.argv[1:] == ["migrate"]:
    migrate()
