"""Another team's service: webhook intake of a parcel company, on FastAPI, SQLAlchemy and asyncpg.

Nothing in it knows of the rig, and hardly a name or an answer is the reference service's: tokens in ``Authorization``,
``202`` for stored, ``409`` for a delivery that is known, ``422`` with a row in ``rejected_messages``, ``400`` without a
row for what is no JSON, customers numbered by the database, signatures with a prefix and with a signed time. The rig
judges it through ``parcels.toml`` alone.

    python service.py migrate                                   (OWNER_DATABASE_URL, DATABASE_URL)
    python -m uvicorn service:app --app-dir tests/foreign       (DATABASE_URL)

Three defects can be switched on: ``PARCELS_LOSES_ONE_IN=100`` acknowledges one delivery in a hundred without storing
it, ``PARCELS_IGNORES_SEALS=1`` takes every signature for genuine, ``PARCELS_TAKES_ANYTHING=1`` lets the database find
out what it cannot hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from sqlalchemy import BigInteger, ForeignKey, Identity, MetaData, Numeric, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateSchema

SCHEMA = "intake"
POOL_SIZE = 8
CLOCK_TOLERANCE_S = 120
PRIVATE = {"email", "phone", "full_name", "street_address", "ip_address"}
LOSES_ONE_IN = int(os.environ.get("PARCELS_LOSES_ONE_IN", "0"))
IGNORES_SEALS = os.environ.get("PARCELS_IGNORES_SEALS") == "1"
TAKES_ANYTHING = os.environ.get("PARCELS_TAKES_ANYTHING") == "1"
CENTS_MOST = 10**12 - 1
UNREADABLE = (ValueError,) if TAKES_ANYTHING else (ValueError, RecursionError)


# --- tables ---


class Base(DeclarativeBase):
    metadata = MetaData(schema=SCHEMA)


class Customer(Base):
    __tablename__ = "customers"
    customer_no: Mapped[int] = mapped_column(BigInteger, Identity(start=70_001), primary_key=True)
    label: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    signing_keys: Mapped[dict[str, str]] = mapped_column(JSONB)


class Delivery(Base):
    __tablename__ = "deliveries"
    customer_no: Mapped[int] = mapped_column(ForeignKey(Customer.customer_no), primary_key=True)
    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    trace: Mapped[str]
    sender: Mapped[str]
    reference: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    happened_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)


class RejectedMessage(Base):
    __tablename__ = "rejected_messages"
    rejection_no: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    customer_no: Mapped[int] = mapped_column(ForeignKey(Customer.customer_no))
    reason: Mapped[str]
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    content: Mapped[Any] = mapped_column(JSONB)


# --- what the senders send ---


class Order(BaseModel):
    order_no: str = Field(min_length=1)
    total: Decimal = Field() if TAKES_ANYTHING else Field(max_digits=12, decimal_places=2)
    placed_at: AwareDatetime

    def values(self) -> dict[str, Any]:
        return {"reference": self.order_no, "total": self.total, "happened_at": self.placed_at}


class Refund(BaseModel):
    class Details(BaseModel):
        number: int
        cents: int = Field() if TAKES_ANYTHING else Field(ge=-CENTS_MOST, le=CENTS_MOST)
        at: AwareDatetime

    refund: Details

    def values(self) -> dict[str, Any]:
        return {
            "reference": str(self.refund.number),
            "total": Decimal(self.refund.cents) / 100,
            "happened_at": self.refund.at,
        }


def scrubbed(value: Any) -> tuple[Any, bool]:
    """The value without what is private, and whether there was any."""
    if isinstance(value, dict):
        kept = {key: scrubbed(inner) for key, inner in value.items() if key not in PRIVATE}
        found = len(kept) < len(value) or any(private for _, private in kept.values())
        return {key: inner for key, (inner, _) in kept.items()}, found
    if isinstance(value, list):
        items = [scrubbed(item) for item in value]
        return [item for item, _ in items], any(private for _, private in items)
    return value, False


# --- the service ---


def engine_for(dsn: str, size: int = POOL_SIZE) -> AsyncEngine:
    """An engine that leaves the reading of the DSN to asyncpg, which knows libpq's form of it.

    It keeps no prepared statements: tests alter its tables while it runs, and one from before would fail.
    """
    return create_async_engine(
        "postgresql+asyncpg://",
        connect_args={"dsn": dsn, "prepared_statement_cache_size": 0},
        pool_size=size,
        max_overflow=0,
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = engine_for(os.environ["DATABASE_URL"])
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.state.deliveries = itertools.count(1)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)

Authorization = Annotated[str, Header()]
DeliveryId = Annotated[str, Header()]
TraceId = Annotated[str, Header()]


@app.post("/hooks/orders")
async def orders(
    request: Request,
    authorization: Authorization,
    delivery_id: DeliveryId,
    trace_id: TraceId,
    x_seal_256: Annotated[str, Header()] = "",
) -> JSONResponse:
    body = await request.body()

    def genuine(key: bytes) -> bool:
        return hmac.compare_digest("sha256=" + hmac.digest(key, body, "sha256").hex(), x_seal_256)

    return await take(request, "orders", Order, genuine, authorization, delivery_id, trace_id)


@app.post("/hooks/refunds")
async def refunds(
    request: Request,
    authorization: Authorization,
    delivery_id: DeliveryId,
    trace_id: TraceId,
    x_seal: Annotated[str, Header()] = "",
    x_sealed_at: Annotated[int, Header()] = 0,
    message_topic: Annotated[str, Header()] = "",
) -> JSONResponse:
    if message_topic != "refunds/created":
        return JSONResponse({"error": "header Message-Topic is missing"}, 400)
    body = await request.body()

    def genuine(key: bytes) -> bool:
        sealed = b"v0:%d:%s" % (x_sealed_at, body)
        timely = abs(time.time() - x_sealed_at) <= CLOCK_TOLERANCE_S
        return timely and hmac.compare_digest("v0=" + hmac.digest(key, sealed, "sha256").hex(), x_seal)

    return await take(request, "refunds", Refund, genuine, authorization, delivery_id, trace_id)


async def take(
    request: Request,
    sender: str,
    form: type[Order] | type[Refund],
    genuine: Any,
    authorization: str,
    delivery_id: str,
    trace_id: str,
) -> JSONResponse:
    """One message: one transaction, answered after its commit."""
    async with request.app.state.sessions() as session, session.begin():
        customer = await customer_of(session, authorization)
        if customer is None:
            return JSONResponse({"error": "who are you?"}, 401)
        if not genuine(customer.signing_keys[sender].encode()) and not IGNORES_SEALS:
            return JSONResponse({"error": "the seal is broken"}, 403)
        try:
            document = json.loads(await request.body())
            content, private = scrubbed(document)
            if not TAKES_ANYTHING and b"\\u0000" in json.dumps(document, ensure_ascii=False, allow_nan=False).encode():
                raise ValueError("a NUL")
        except UNREADABLE:
            return JSONResponse({"error": "this is no JSON"}, 400)
        await session.execute(select(func.set_config("parcels.customer_no", str(customer.customer_no), True)))
        try:
            message = form.model_validate(content)
        except ValidationError as error:
            reason = f"{error.error_count()} fields are wrong"
        else:
            reason = "it holds private data" if private else ""
        if reason:
            headers = {"delivery-id": delivery_id, "trace-id": trace_id}
            session.add(
                RejectedMessage(customer_no=customer.customer_no, reason=reason, headers=headers, content=content)
            )
            return JSONResponse({"error": reason}, 422)
        if LOSES_ONE_IN and next(request.app.state.deliveries) % LOSES_ONE_IN == 0:
            return JSONResponse({"delivery": delivery_id}, 202)
        stored = await session.execute(
            insert(Delivery)
            .values(
                customer_no=customer.customer_no,
                delivery_id=delivery_id,
                trace=trace_id,
                sender=sender,
                content=content,
                **message.values(),
            )
            .on_conflict_do_nothing()
            .returning(Delivery.delivery_id)
        )
        if stored.first() is None:
            return JSONResponse({"error": "this delivery is known"}, 409)
    return JSONResponse({"delivery": delivery_id}, 202)


async def customer_of(session: AsyncSession, authorization: str) -> Customer | None:
    scheme, _, token = authorization.partition(" ")
    if scheme != "Token":
        return None
    found: Customer | None = await session.scalar(
        select(Customer).where(Customer.token_hash == hashlib.sha256(token.encode()).hexdigest())
    )
    return found


@app.get("/alive")
async def alive() -> PlainTextResponse:
    return PlainTextResponse("yes")


@app.get("/ready")
async def ready(request: Request) -> PlainTextResponse:
    async with request.app.state.sessions() as session:
        await session.execute(select(func.count()).select_from(Customer))
    return PlainTextResponse("yes")


# --- its migration ---


async def migrate(environ: Mapping[str, str]) -> None:
    """Tables, forced row-level security on both event tables, and what the service's role may do."""
    role = unquote(urlsplit(environ["DATABASE_URL"]).username or "")
    quoted = '"' + role.replace('"', '""') + '"'
    engine = engine_for(environ["OWNER_DATABASE_URL"], 1)
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        await connection.run_sync(Base.metadata.create_all)
        for table in (Delivery.__table__.fullname, RejectedMessage.__table__.fullname):
            for statement in (
                f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
                f"DROP POLICY IF EXISTS own_rows ON {table}",
                f"CREATE POLICY own_rows ON {table}"
                " USING (customer_no = nullif(current_setting('parcels.customer_no', true), '')::bigint)",
                f"GRANT SELECT, INSERT ON {table} TO {quoted}",
            ):
                await connection.execute(text(statement))
        await connection.execute(text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quoted}"))
        await connection.execute(text(f"GRANT SELECT ON {Customer.__table__.fullname} TO {quoted}"))
    await engine.dispose()


if __name__ == "__main__":
    if sys.argv[1:] != ["migrate"]:
        sys.exit("usage: python service.py migrate")
    asyncio.run(migrate(os.environ))
