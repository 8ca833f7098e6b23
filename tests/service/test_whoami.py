"""The route that asks a verifier, in this process: what each of its answers becomes, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from fleet_jwks import KeysUnavailable, Refused
from stub_server.service.app import VERIFICATIONS_MAX, Service
from stub_server.service.config import Config
from stub_server.service.intake import Steps
from stub_server.service.metrics import Board, all_series
from stub_server.service.tokens import Verifier

DEADLINE_S = 10.0


def asking(verifier: Verifier) -> TestClient[Any, Any]:
    """A client of a service that has nothing but a verifier."""
    absent: Any = None
    board = Board.create(all_series(()), 1)
    service = Service(Config(), absent, Steps(absent, absent), verifier, board, 0)
    return TestClient(TestServer(service.application()))


async def whoami(client: TestClient[Any, Any], token: str) -> tuple[int, Mapping[str, Any]]:
    async with client.get("/api/whoami", headers={"Authorization": f"Bearer {token}"}) as answer:
        return answer.status, await answer.json()


async def test_a_verifier_that_cannot_tell_just_now_is_503_and_one_that_refuses_is_401() -> None:
    def verify(token: str) -> Mapping[str, Any]:
        if token == "good":
            return {"sub": "me", "iss": "you"}
        raise KeysUnavailable("no keys") if token == "early" else Refused("bad")

    async with asking(verify) as client:
        assert await whoami(client, "good") == (200, {"sub": "me", "iss": "you"})
        assert await whoami(client, "early") == (503, {"error": "temporarily_unavailable"})
        assert await whoami(client, "bad") == (401, {"error": "invalid_token"})


async def test_a_known_key_does_not_stand_in_line_behind_unknown_ones() -> None:
    waiting, fetched = threading.Semaphore(0), threading.Event()

    def verify(token: str) -> Mapping[str, Any]:
        if token == "unknown":
            waiting.release()
            fetched.wait(DEADLINE_S)
            raise Refused("unknown")
        return {"sub": "me"}

    async with asking(verify) as client:
        unknown = [asyncio.create_task(whoami(client, "unknown")) for _ in range(VERIFICATIONS_MAX - 1)]
        try:
            async with asyncio.timeout(DEADLINE_S):
                for _ in unknown:
                    assert await asyncio.to_thread(waiting.acquire, timeout=DEADLINE_S)
                assert (await whoami(client, "known"))[0] == 200
            assert not any(task.done() for task in unknown)
        finally:
            fetched.set()
        assert {status for status, _ in await asyncio.gather(*unknown)} == {401}
