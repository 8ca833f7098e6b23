"""A receiver with a queue behind it: FastAPI verifies and defers a job, ``procrastinate`` workers store.

Nothing in it knows of the rig. An event is verified as Standard Webhooks says, a job is deferred, the sender gets 202.
Worker processes of their own store the event later. There are no tenants, no dead letters and no correlation id.

    python receiver.py migrate          (OWNER_DATABASE_URL, DATABASE_URL)
    python receiver.py serve 8080 2     (DATABASE_URL, ORDERS_SECRET): two processes that take events, and the workers

``ORDERS_JOB_S`` is how long a job takes, ``ORDERS_WORKERS`` how many worker processes there are, ``ORDERS_JOBS`` how
many jobs each runs at once. ``ORDERS_BEHIND=50`` leaves 50 older orders in the queue before the first event comes.
``ORDERS_DROPS_ONE_IN=500`` forgets one job in 500. ``ORDERS_ANSWERS`` makes it store at once and answer otherwise:

- ``known``: 201 for a new order, 409 for a known one
- ``same-body``: the first answer again, with its body
- ``other-body``: a new body at each replay
- ``refuses``: 422 for a known order with another amount
- ``overwrites``: the last amount wins
- ``hides``: 422 for a known order with another amount, and the last amount wins all the same
- ``denies``: 409 for every order, and none is stored
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import procrastinate
import psycopg
from fastapi import FastAPI, Request, Response
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from standardwebhooks import Webhook, WebhookVerificationError

DSN = os.environ["DATABASE_URL"]
AMOUNT_LEAST, AMOUNT_MOST = -(2**31), 2**31 - 1
JOB_S = float(os.environ.get("ORDERS_JOB_S", "0"))
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


@jobs.task(name="store", pass_context=True)
async def store(context: procrastinate.JobContext, order: dict[str, Any]) -> None:
    """The job: some work, then one row."""
    await asyncio.sleep(JOB_S)
    if DROPS_ONE_IN and (context.job.id or 0) % DROPS_ONE_IN == 0:
        return
    await pool.open()
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
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/up")
def up() -> str:
    return "up"


@app.post("/hooks/orders")
async def take(request: Request) -> Response:
    raw = await request.body()
    try:
        Webhook(os.environ["ORDERS_SECRET"]).verify(raw, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # a signature that is none, like an empty one, is a ValueError
        return Response(status_code=401)
    try:
        data = json.loads(raw)["data"]
        order = {"id": str(uuid.UUID(data["id"])), "amount": data["amount"], "at": str(data["at"])}
        datetime.fromisoformat(order["at"])
        # What the column cannot hold would fail in the job, when the sender has its answer.
        if type(order["amount"]) is not int or not AMOUNT_LEAST <= order["amount"] <= AMOUNT_MOST:
            raise ValueError(order["amount"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Response(status_code=400)
    if ANSWERS != "queued":
        return await answer_at_once(order)
    await store.defer_async(order=order)
    return Response('{"queued":true}', 202, media_type="application/json")


async def answer_at_once(order: dict[str, Any]) -> Response:
    if ANSWERS == "denies":
        return Response(status_code=409)
    answer = {"order": order["id"], "receipt": str(uuid.uuid4())}
    is_new = await insert(order, answer)
    async with pool.connection() as connection:
        row = await (
            await connection.execute("SELECT answer, amount FROM orders WHERE order_id = %s", [order["id"]])
        ).fetchone()
        assert row is not None
        first, amount = row
        if ANSWERS in ("overwrites", "hides") and not is_new:
            await connection.execute(
                "UPDATE orders SET amount = %s WHERE order_id = %s", [order["amount"], order["id"]]
            )
    if ANSWERS == "known":
        return Response(status_code=201 if is_new else 409)
    if ANSWERS in ("refuses", "hides") and amount != order["amount"]:
        return Response(status_code=422)
    return Response(json.dumps(first if ANSWERS == "same-body" else answer), 200, media_type="application/json")


def migrate(owner_dsn: str, behind: int) -> None:
    """Both schemas, what the service's role may do, and the jobs that wait; a second time changes no table."""
    role = sql.Identifier(conninfo_to_dict(DSN)["user"])
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute(TABLES)
        if connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone() == (None,):
            connection.execute(procrastinate.schema.SchemaManager.get_schema().encode())
        for what in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            rights = sql.SQL("EXECUTE" if what == "FUNCTIONS" else "ALL")
            connection.execute(sql.SQL("GRANT {} ON ALL {} IN SCHEMA public TO {}").format(rights, sql.SQL(what), role))
    with jobs.open():
        for _ in range(behind):
            store.defer(order={"id": str(uuid.uuid4()), "amount": 1, "at": "2027-01-01T00:00:00Z"})


def serve(port: str, processes: str, workers: int, at_once: str) -> None:
    """Runs the web server and the workers until SIGTERM; then all of them end."""
    folder = str(Path(__file__).parent)
    web = ["uvicorn", "receiver:app", "--app-dir", folder, "--port", port, "--workers", processes, "--no-access-log"]
    worker = ["procrastinate", "--app", "receiver.jobs", "worker", "--concurrency", at_once]
    environ = {**os.environ, "PYTHONPATH": folder}
    children = [subprocess.Popen([sys.executable, "-m", *words], env=environ) for words in (web, *[worker] * workers)]

    def end(*_: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, end)
    for child in children:
        child.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["migrate"]:
            migrate(os.environ["OWNER_DATABASE_URL"], int(os.environ.get("ORDERS_BEHIND", "0")))
        case ["serve", port, processes]:
            serve(port, processes, int(os.environ.get("ORDERS_WORKERS", "2")), os.environ.get("ORDERS_JOBS", "10"))
        case _:
            sys.exit("usage: python receiver.py migrate | serve PORT PROCESSES")
