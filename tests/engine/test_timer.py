"""Wake-ups, with a timerfd and without."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from rig.engine.timer import Timer

HOUR_NS = 3_600_000_000_000


@pytest.fixture(params=["timerfd", "loop"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "loop":
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())


@pytest.fixture
def _no_descriptor_left() -> Iterator[None]:
    before = psutil.Process().num_fds()
    yield
    assert psutil.Process().num_fds() <= before


@pytest.mark.usefixtures("_kind", "_no_descriptor_left")
def test_a_new_time_replaces_the_one_before() -> None:
    async def scene() -> int:
        loop = asyncio.get_running_loop()
        timer = Timer(loop)
        fired: list[int] = []
        woken = asyncio.Event()

        def callback() -> None:
            fired.append(time.monotonic_ns())
            woken.set()

        timer.callback = callback
        timer.at(time.monotonic_ns() + HOUR_NS)
        timer.at(0)
        async with asyncio.timeout(10):
            await woken.wait()
        timer.at(time.monotonic_ns() + 1_000_000)
        timer.at(time.monotonic_ns() + HOUR_NS)
        # A later wake-up of the loop itself stands for "long enough".
        later = loop.create_future()
        loop.call_later(0.05, later.set_result, None)
        await later
        timer.close()
        return len(fired)

    assert asyncio.run(scene()) == 1
