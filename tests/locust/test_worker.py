"""The native worker against a master that is played by the test, message by message."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
import zmq.asyncio as zmq_asyncio

from rig.calibrate.stub import null_stub
from rig.engine.pacer import NS
from rig.errors import ConfigError, ErrorKind, Unavailable, UsageError
from rig.evidence.scenario_runs import RESULT
from rig.locust_bridge import ramping_users as users_module
from rig.locust_bridge import worker as worker_module
from rig.locust_bridge.clock import boot_id
from rig.locust_bridge.keys import WORKER_KEY, line_key
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.wire import (
    CLOCK,
    PLAN,
    REPORT,
    ROWS,
    VERSION,
    MasterLink,
    parse_address,
)
from rig.locust_bridge.worker import Worker
from rig.machine.child import free_port
from scenarios.s8 import perf_gate
from tests.locust.locust_processes import processes, worker
from tests.locust.plans import planned
from tests.waiting import wait_until

WITHIN_S = 20.0


class Master:
    """The master's end of the line."""

    def __init__(self, key: str) -> None:
        self._context = zmq_asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        if key:
            self._socket.curve_server, self._socket.curve_secretkey = True, line_key(key)
        self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.worker = b""
        self.seen: list[tuple[str, Any]] = []
        self.asked: list[int] = []
        self.answers = True
        """Whether it answers questions for the time; else they are kept in ``asked``."""
        self.wall_offset_ns = 0
        self.ahead_ns: int | None = None
        """Its clock shows the time of this machine and so much more; None for a clock that stands at 0."""

    async def expect(self, kind: str) -> Any:
        """The data of the next message of a kind; what comes before it is kept in ``seen``."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                self.worker, packed = await self._socket.recv_multipart()
                found, data, _ = msgpack.unpackb(packed, strict_map_key=False)
                self.seen.append((found, data))
                if found == "heartbeat":
                    await self.say("heartbeat")
                if found == CLOCK:
                    self.asked.append(data["sent_ns"])
                    await self.answer()
                if found == kind:
                    return data

    async def say(self, kind: str, data: Any = None) -> None:
        """One message to the worker."""
        await self._socket.send_multipart([self.worker, msgpack.packb((kind, data, self.worker.decode()))])

    async def answer(self) -> None:
        """Say what time it is to whoever asked."""
        while self.answers and self.asked:
            master_ns = 0 if self.ahead_ns is None else time.monotonic_ns() + self.ahead_ns
            told = {"master_ns": master_ns, "wall_offset_ns": self.wall_offset_ns, "boot_id": boot_id()}
            await self.say(CLOCK, {"sent_ns": self.asked.pop(0), **told})

    async def spawn(self, timestamp: float, **users: int) -> None:
        """What locust sends to scale a worker."""
        await self.say("spawn", {"timestamp": timestamp, "user_classes_count": users, "host": None})

    def close(self) -> None:
        """Hang up."""
        self._socket.close(linger=0)
        self._context.term()


@contextlib.asynccontextmanager
async def greeted(key: str = "a key", **options: Any) -> AsyncIterator[tuple[Master, asyncio.Task[None]]]:
    """A master and a worker that know each other."""
    master = Master(key)
    link = MasterLink("127.0.0.1", master.port, key)
    folder = tempfile.TemporaryDirectory(prefix="rig-test-worker-")
    task = asyncio.ensure_future(Worker(link, Path(folder.name), **options).run())
    try:
        assert await master.expect("client_ready") == VERSION
        await master.say("ack", {"index": 0})
        yield master, task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConfigError, UsageError, Unavailable):
            await task
        link.close()
        master.close()
        folder.cleanup()


async def test_every_request_is_in_statistics_rows_and_account() -> None:
    with null_stub() as stub:
        async with greeted() as (master, task):
            await master.say(PLAN, planned(stub.endpoint.url))
            await master.spawn(1.0, S2Unique=4, S6Mixed=2)
            assert (await master.expect("spawning_complete"))["user_count"] == 6
            await master.expect("stats")
            await master.spawn(2.0, S2Unique=1, S6Mixed=0)
            assert (await master.expect("spawning_complete"))["user_count"] == 1
            await master.expect("stats")
            await master.say("stop")
            account = await master.expect(REPORT)
            await master.expect("client_stopped")
            await master.expect("client_ready")
            await master.say("quit")
            await asyncio.wait_for(task, WITHIN_S)
        reports = [data for kind, data in master.seen if kind == "stats" and "rig" in data]
        assert [report["rig"]["sequence"] for report in reports] == list(range(1, len(reports) + 1))
        assert account["reports"] == len(reports)
        assert sum(report["stats_total"]["num_requests"] for report in reports) == account["requests"] > 0
        rows = sum(len(data["data"]) for kind, data in master.seen if kind == ROWS) // RESULT.itemsize
        assert rows == account["requests"] == sum(batch["report"]["sent"] for batch in account["batches"])
        assert account["failures"] == 0


async def test_a_worker_is_ready_for_another_test_after_a_stop() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            for timestamp in (1.0, 2.0):
                master.seen.clear()
                await master.say(PLAN, planned(stub.endpoint.url))
                await master.spawn(timestamp, S1Replay=2)
                while not (await master.expect("stats"))["stats_total"]["num_requests"]:
                    pass
                await master.say("stop")
                account = await master.expect(REPORT)
                reports = [data for kind, data in master.seen if kind == "stats" and "rig" in data]
                assert account["reports"] == len(reports)
                assert account["requests"] == sum(each["stats_total"]["num_requests"] for each in reports) > 0
                rows = sum(len(data["data"]) for kind, data in master.seen if kind == ROWS) // RESULT.itemsize
                assert rows == account["requests"]
                await master.expect("client_ready")


async def test_a_share_of_a_fixed_count_is_sent_once_and_what_is_left_is_skipped() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            plan = LocustPlan.from_wire(planned(stub.endpoint.url))
            plan = replace(plan, fixed=replace(perf_gate("stripe", "A", requests=101)), worker=1, workers=2)
            await master.say(PLAN, plan.to_wire())
            await master.spawn(1.0, S8PerfGate=3)
            while sum(data["stats_total"]["num_requests"] for kind, data in master.seen if kind == "stats") < 50:
                await master.expect("stats")
            await master.say("stop")
            account = await master.expect(REPORT)
            (batch,) = account["batches"]
            assert (batch["report"]["offered"], batch["report"]["sent"], account["requests"]) == (50, 50, 50)


async def test_a_worker_sends_its_share_of_the_ceiling_and_says_so() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            plan = replace(LocustPlan.from_wire(planned(stub.endpoint.url)), most_requests=301, worker=2, workers=3)
            await master.say(PLAN, plan.to_wire())
            await master.spawn(1.0, S1Replay=2, S2Unique=3)
            while not any(data["rig"]["spent"] for kind, data in master.seen if kind == "stats" and "rig" in data):
                await master.expect("stats")
            await master.say("stop")
            assert (await master.expect(REPORT))["requests"] == 100


async def test_a_first_failure_is_told_at_once_with_its_key() -> None:
    async with greeted() as (master, _):
        await master.say(PLAN, planned(f"http://127.0.0.1:{free_port()}"))  # nobody is there
        await master.spawn(1.0, S2Unique=1)
        while not (said := (await master.expect("stats")).get("rig", {})).get("examples"):
            pass
        assert said["sequence"] <= 2
        ((error, key),) = said["examples"].items()
        assert error.endswith("/connect")
        assert str(uuid.UUID(key)) == key
        await master.say("stop")
        await master.expect(REPORT)


async def test_another_version_is_refused_clearly() -> None:
    async with greeted() as (master, task):
        await master.say(PLAN, planned("http://127.0.0.1:9", locust="2.40.5"))
        said = await master.expect("exception")
        assert "locust 2.40.5" in said["msg"]
        assert VERSION in said["msg"]
        with pytest.raises(UsageError, match=r"2\.40\.5"):
            await asyncio.wait_for(task, WITHIN_S)


async def test_a_host_beyond_loopback_is_refused() -> None:
    async with greeted() as (master, task):
        await master.say(PLAN, planned("http://192.0.2.1:80"))
        with pytest.raises(ConfigError, match="not loopback"):
            await asyncio.wait_for(task, WITHIN_S)


async def test_a_master_without_a_plan_is_told_so() -> None:
    async with greeted() as (master, task):
        await master.spawn(1.0, S2Unique=1)
        assert "has no plan" in (await master.expect("exception"))["msg"]
        with pytest.raises(UsageError, match="has no plan"):
            await asyncio.wait_for(task, WITHIN_S)


async def test_a_worker_that_hears_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "DEAF_S", 0.5)
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.1)
    async with greeted() as (_, task):
        with pytest.raises(Unavailable, match="silent"):
            await asyncio.wait_for(task, WITHIN_S)


async def test_a_worker_uses_nothing_that_its_master_has_not_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is cut off would otherwise send what nobody can account for."""
    monkeypatch.setattr(users_module, "FIRST_CREDIT", 0)
    with null_stub() as stub:
        async with greeted() as (master, _):
            master.answers = False
            await master.say(PLAN, planned(stub.endpoint.url))
            await master.spawn(1.0, S2Unique=2, S6Mixed=2)
            await master.expect("spawning_complete")
            for _ in range(2):
                report = await master.expect("stats")
                assert report["stats_total"]["num_requests"] == 0
                assert report["rig"]["credit"]["S2Unique"] > 0
            master.answers = True
            await master.answer()
            names: set[str] = set()
            while names < {"S2 UniqueStorm", "S6 MixedStorm"}:
                names |= {entry["name"] for entry in (await master.expect("stats"))["stats"]}


@contextlib.asynccontextmanager
async def answering(delay_s: float = 0.0) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A target that answers each request after a time: its URL, and an event that is set once it has answered."""
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length is not None
                await reader.readexactly(int(length[1]))
                await asyncio.sleep(delay_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                answered.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answered


async def test_statistics_are_on_the_masters_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REPORT_S", 1000.0)  # so that the last report has what was sent
    async with answering() as (url, asked), greeted() as (master, _):
        master.wall_offset_ns = 10**18
        await master.say(PLAN, planned(url))
        await master.spawn(1.0, S2Unique=1)
        await master.expect("spawning_complete")
        await asyncio.wait_for(asked.wait(), WITHIN_S)
        await master.say("stop")
        await master.expect(REPORT)
        *_, report = [data for kind, data in master.seen if kind == "stats" and "rig" in data]
        boot_to_wall_s = report["stats_total"]["start_time"] - time.monotonic()
        assert boot_to_wall_s == pytest.approx(10**9, abs=WITHIN_S * 10)


async def test_users_above_the_ceiling_on_the_rate_send_less_often_and_that_is_said() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            await master.say(PLAN, planned(stub.endpoint.url, rate_per_user_s=10.0, most_rate_per_s=20.0))
            await master.spawn(1.0, S2Unique=2)
            await master.expect("spawning_complete")
            assert not [kind for kind, _ in master.seen if kind == "exception"]
            await master.spawn(2.0, S2Unique=3)
            assert "ceiling" in (await master.expect("exception"))["msg"]


async def rows_of_users_with_a_rate(url: str, rate_per_s: float, users: int, least: int) -> list[Any]:
    """The rows of each user of S2, in the order in which they were sent, once ``least`` requests have been answered."""
    async with greeted() as (master, _):
        await master.say(PLAN, planned(url, rate_per_user_s=rate_per_s))
        await master.spawn(1.0, S2Unique=users)
        answered = 0
        while answered < least:
            answered += (await master.expect("stats"))["stats_total"]["num_requests"]
        await master.say("stop")
        await master.expect(REPORT)
    rows = np.frombuffer(b"".join(data["data"] for kind, data in master.seen if kind == ROWS), RESULT)
    assert set(rows["error_kind"]) == {ErrorKind.NONE}
    return [np.sort(rows[rows["connection"] == number], order="sent_ns") for number in range(users)]


@pytest.mark.parametrize("delay_s", [0.0, 0.05], ids=["a target in time", "a target slower than the rate"])
async def test_a_request_of_a_user_with_a_rate_is_intended_a_period_after_the_one_before(delay_s: float) -> None:
    """Also where the answer before it was late: else the time that it waited to be sent would show nowhere."""
    period_ns = NS // 50
    async with answering(delay_s) as (url, _):
        for rows in await rows_of_users_with_a_rate(url, rate_per_s=50.0, users=3, least=60):
            assert len(rows) > 10
            assert set(np.diff(rows["intended_ns"])) == {period_ns}
            waited_ns = rows["sent_ns"] - rows["intended_ns"]
            assert waited_ns.min() >= 0
            behind_ns = (len(rows) - 1) * (int(delay_s * NS) - period_ns)
            assert waited_ns[-1] >= behind_ns  # a target in time is behind by less than nothing


async def test_a_user_without_a_rate_intends_a_request_when_it_is_sent() -> None:
    async with answering(0.01) as (url, _):
        for rows in await rows_of_users_with_a_rate(url, rate_per_s=0.0, users=2, least=20):
            assert (rows["intended_ns"] == rows["sent_ns"]).all()


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A target that answers nobody: its URL, and an event that is set once it was asked."""
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_what_was_due_and_never_sent_is_counted() -> None:
    """A user that waits for its first answer to the end has sent one of all that were due."""
    async with hanging() as (url, asked), greeted() as (master, _):
        await master.say(PLAN, planned(url, timeout_s=3.0, rate_per_user_s=1000.0))
        await master.spawn(1.0, S2Unique=1)
        await asyncio.gather(master.expect("spawning_complete"), asked.wait())
        await master.expect("heartbeat")
        await master.expect("heartbeat")
        await master.say("stop")
        account = await master.expect(REPORT)
        assert account["requests"] == 1
        assert account["overdue"] > 1


async def test_users_of_s8_at_a_worker_that_came_late_have_nothing_to_send() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            plan = LocustPlan.from_wire(planned(stub.endpoint.url))
            plan = replace(plan, fixed=perf_gate("stripe", "A", requests=100), worker=2, workers=3, late=True)
            await master.say(PLAN, plan.to_wire())
            await master.spawn(1.0, S8PerfGate=3, S2Unique=1)
            assert (await master.expect("spawning_complete"))["user_count"] == 4
            while not (await master.expect("stats"))["stats_total"]["num_requests"]:
                pass
            await master.say("stop")
            account = await master.expect(REPORT)
            assert {batch["scenario"]["id"] for batch in account["batches"]} == {"S2"}


async def test_a_worker_that_waits_for_a_hanging_target_hears_its_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request that was sent just before the stop takes longer than a worker may be deaf."""
    monkeypatch.setattr(worker_module, "DEAF_S", 1.0)
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.1)
    async with hanging() as (url, asked), greeted() as (master, task):
        await master.say(PLAN, planned(url, timeout_s=3.0))
        await master.spawn(1.0, S2Unique=1)
        await master.expect("spawning_complete")
        await asyncio.wait_for(asked.wait(), WITHIN_S)
        await master.say("stop")
        account = await master.expect(REPORT)
        assert (account["requests"], account["failures"]) == (1, 1)
        await master.say("quit")
        await asyncio.wait_for(task, WITHIN_S)


async def test_a_plan_of_a_master_without_a_key_is_not_carried_out() -> None:
    async with greeted(key="") as (master, task):
        await master.say(PLAN, planned("http://127.0.0.1:1"))
        with pytest.raises(UsageError, match="a master that has no key sent a plan"):
            await asyncio.wait_for(task, WITHIN_S)


async def test_nobody_there_is_said_within_its_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker_module, "GREETING_S", 0.05)
    monkeypatch.setattr(worker_module, "GREETINGS", 2)
    link = MasterLink("127.0.0.1", 1)
    try:
        with pytest.raises(Unavailable, match="no locust master"):
            await asyncio.wait_for(Worker(link, tmp_path).run(), WITHIN_S)
    finally:
        link.close()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("host", ("host", 5557)),
        ("host:99", ("host", 99)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]", ("[::1]", 5557)),
    ],
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize("text", ["", ":5557", "host:", "host:x", "host:0", "host:70000"])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


async def test_users_that_leave_while_they_connect_are_nobodys_failure() -> None:
    with null_stub() as stub:
        async with greeted() as (master, _):
            await master.say(PLAN, planned(stub.endpoint.url))
            for timestamp in range(1, 41):  # up and down faster than connections are made
                await master.spawn(timestamp, S2Unique=30 if timestamp % 2 else 0)
                await master.expect("spawning_complete")
            await master.say("stop")
            account = await master.expect(REPORT)
            assert account["failures"] == 0


def test_a_killed_worker_leaves_no_rows_behind(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    with processes(["env", f"TMPDIR={folder}", f"{WORKER_KEY}=a key", *worker(free_port())], logs=tmp_path) as (
        killed,
    ):
        wait_until(lambda: any(folder.glob("rig-worker-*")))
        killed.popen.kill()
        killed.popen.wait()
        wait_until(lambda: not any(folder.iterdir()))
