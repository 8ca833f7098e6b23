"""The verifier beside an event loop: what is in memory at once, what is not without holding the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from fleet_jwks import KeysUnavailable, Refused
from fleet_jwks.asynchronous import AsyncVerifier
from rig.storms.unknown_kid.keyring import unknown_token
from tests.fleet_jwks.conftest import DEADLINE_S, KEYS, KNOWN, Make, Upstream


async def test_tokens_are_judged_as_by_the_plain_one(make: Make) -> None:
    verify = AsyncVerifier(make(), DEADLINE_S)
    assert (await verify(KNOWN[0]))["sub"] == "rig"
    with pytest.raises(Refused):
        await verify(unknown_token("EdDSA"))
    with pytest.raises(Refused):
        await verify("no token")
    assert verify.verifier.counts() == {
        "verified": 1,
        "refused": 2,
        "unavailable": 0,
        "fleet_errors": 0,
        "fetches": 1,
    }


async def test_the_loop_goes_on_while_tokens_wait_for_keys_and_one_fetch_serves_them_all(
    make: Make, upstream: Upstream
) -> None:
    verify = AsyncVerifier(make(wait_timeout_s=DEADLINE_S), DEADLINE_S)
    fetching, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow() -> Mapping[str, Any]:
        loop.call_soon_threadsafe(fetching.set)
        assert go_on.wait(DEADLINE_S)
        return KEYS.document()

    upstream.answer = slow
    waiting = [asyncio.create_task(verify(KNOWN[0])) for _ in range(100)]
    await asyncio.wait_for(fetching.wait(), DEADLINE_S)
    assert not any(task.done() for task in waiting)
    go_on.set()
    assert [claims["sub"] for claims in await asyncio.gather(*waiting)] == ["rig"] * 100
    assert upstream.fetches == 1


async def test_a_known_key_does_not_wait_while_it_is_refreshed(make: Make, upstream: Upstream) -> None:
    verify = AsyncVerifier(make(cool_down_s=0.0, ttl_s=0.0, grace_s=60.0), DEADLINE_S)
    await verify(KNOWN[0])
    go_on = threading.Event()

    def hang() -> Mapping[str, Any]:
        go_on.wait(DEADLINE_S)
        return KEYS.document()

    upstream.answer = hang
    try:
        for _ in range(20):
            assert verify.verifier.at_once(KNOWN[0]) is not None
            assert await verify(KNOWN[0])
    finally:
        go_on.set()


async def test_nobody_waits_beyond_the_bound_also_where_more_wait_than_there_are_threads(
    make: Make, upstream: Upstream
) -> None:
    verify = AsyncVerifier(make(wait_timeout_s=DEADLINE_S), 0.05)
    go_on = threading.Event()

    def hang() -> Mapping[str, Any]:
        go_on.wait(DEADLINE_S)
        return KEYS.document()

    upstream.answer = hang
    try:
        ended = await asyncio.gather(*(verify(KNOWN[0]) for _ in range(100)), return_exceptions=True)
        assert {type(each) for each in ended} == {KeysUnavailable}
    finally:
        go_on.set()
