"""Limiters of the scoreboard, in Python: ``limiters.py NAME PORT`` serves GET / with 200, or 429 over 20 a second."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any


def slowapi() -> Any:
    """slowapi as its documents have it, in memory."""
    from fastapi import FastAPI, Request
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from slowapi.util import get_remote_address

    limiter = Limiter(key_func=get_remote_address)
    app = FastAPI()
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

    async def index(request: Request) -> dict[str, str]:
        return {}

    index.__annotations__ = {"request": Request}  # FastAPI resolves no names of a function's own
    app.get("/")(limiter.limit("20/second")(index))
    return app


def flask_limiter() -> Any:
    """Flask-Limiter as its documents have it, in memory; gunicorn calls this."""
    from flask import Flask
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    app = Flask(__name__)
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://")
    app.get("/")(limiter.limit("20 per second")(lambda: ""))
    return app


def pyrate_limiter() -> Any:
    """pyrate-limiter with its bucket in PostgreSQL."""
    from psycopg_pool import ConnectionPool
    from pyrate_limiter import Duration, Limiter, PostgresBucket, Rate

    pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=2, open=True)
    limiter = Limiter(PostgresBucket(pool, "requests", [Rate(20, Duration.SECOND)]))
    return _asgi(lambda: bool(limiter.try_acquire("all", blocking=False)))


def _asgi(passes: Callable[[], bool]) -> Callable[..., Awaitable[None]]:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 200 if passes() else 429, "headers": headers})
            await send({"type": "http.response.body"})

    return app


if __name__ == "__main__":
    import uvicorn

    name, port = sys.argv[1:]
    uvicorn.run(globals()[name](), port=int(port), log_level="warning", lifespan="off")
