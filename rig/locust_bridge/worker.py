"""``rig worker``: a native worker for a locust master. No gevent, and nothing of locust is imported.

Flow: greet → wait for the plan (the rig's locustfile sends it when a test starts) → ``spawn`` changes the number of
users (``RampingUsers``) → each second a heartbeat and the statistics → ``stop``, ``rig_finish`` or ``quit`` ends the
load: last statistics, then the rows in pieces, then the final account. After ``stop`` it is ready for the next test.
A worker that cannot hear its master any more stops its load: nobody would know of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop
from pydantic import TypeAdapter

from rig.errors import ConfigError, Unavailable, UsageError
from rig.evidence.locust_run import WorkerAccount
from rig.locust_bridge import wire
from rig.locust_bridge.clock import Offset
from rig.locust_bridge.native_client import NativeClient
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.ramping_users import RampingUsers
from rig.locust_bridge.tally import Tally
from rig.locust_bridge.wire import MasterLink, Message
from rig.machine.open_files import raise_limit
from rig.machine.supervisor import Supervisor
from rig.model import RunKey, UserClass
from rig.profile import Profile
from rig.requests.sender import made_up

HEARTBEAT_S = 1.0
REPORT_S = 1.0
GREETING_S = 5.0
GREETINGS = 12
DEAF_S = 10.0
"""Without a word of the master for so long, the load is stopped and the worker ends."""
_PIECE_BYTES = 256 * 1024
_CLOCK_QUESTIONS = 8
_ACCOUNT = TypeAdapter(WorkerAccount)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Alone:
    """What a worker loads for a master that has no plan for it: a profile's routes at the master's ``--host``."""

    profile: Profile
    seed: int
    user_classes: tuple[UserClass, ...]

    def plan(self, url: str) -> LocustPlan:
        """Made-up tenants: of use against stubs; nothing can be judged afterwards."""
        route = self.profile.routes[0]
        return LocustPlan(
            locust=wire.VERSION,
            run=RunKey(self.seed, f"alone-{time.time_ns():x}", int(time.time())),
            profile=self.profile,
            url=url,
            route=route.name,
            tenant="alone",
            credentials={"alone": made_up(self.profile, "alone")},
            user_classes=self.user_classes,
        )


class Worker:
    """One worker: the conversation with its master, and the users while a test goes on."""

    def __init__(
        self, link: MasterLink, folder: Path, *, allow_host: str | None = None, alone: Alone | None = None
    ) -> None:
        """Rows lie in ``folder`` until they are handed over; whoever made it removes it."""
        self._link = link
        self._folder = folder
        self._allow_host = allow_host
        self._alone = alone
        self._process = psutil.Process()
        self._state = "ready"
        self._index = 0
        self._plan: LocustPlan | None = None
        self._load: RampingUsers | None = None
        self._client: NativeClient
        self._tally = Tally()
        self._offset = Offset()
        self._wall_offset_ns = time.time_ns() - time.monotonic_ns()
        """From this host's monotonic clock to the master's wall clock; to our own until the master has told it."""
        self._credit: dict[int, Mapping[str, int]] = {}
        """Credit that was asked for and not granted yet, by the time of the question after it (ns)."""
        self._reports = 0
        self._spent = False
        self._spawned_at = 0.0
        self._heard_s = time.monotonic()
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        self._acknowledged = asyncio.Event()
        self._reporting = asyncio.Lock()

    async def run(self) -> None:
        """Work until the master says quit; Unavailable when there is none, or it falls silent."""
        self._process.cpu_percent()
        self._client = NativeClient(self._link, self._folder)
        asyncio.get_running_loop().set_exception_handler(self._note_fault)
        steps = (self._listen, self._greet, self._obey, self._beat, self._report)
        tasks = [asyncio.ensure_future(each()) for each in steps]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            while all(task is tasks[1] and task.exception() is None for task in done):  # greeted: now work
                done, _ = await asyncio.wait({*tasks} - {tasks[1]}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._load is not None:
                await self._load.stop()
            await asyncio.to_thread(self._client.close)

    # --- the conversation ---

    async def _greet(self) -> None:
        for _ in range(GREETINGS):
            await self._link.send("client_ready", wire.VERSION)
            try:
                async with asyncio.timeout(GREETING_S):
                    await self._acknowledged.wait()
                return
            except TimeoutError:
                _log.info("no locust master answers at %s yet", self._link.address)
        raise Unavailable(
            f"no locust master answers at {self._link.address} within {GREETINGS * GREETING_S:g} s"
            + (", or it has another key (--key)" if self._link.has_key else "")
        )

    async def _listen(self) -> None:
        """Do nothing that takes time: whoever finishes a test must still hear that its master is there."""
        while True:
            message = await self._link.receive()
            self._heard_s = time.monotonic()
            if message.type == "reconnect":  # here, where nobody waits on the line that is closed
                self._link.reset()
                await self._link.send("client_ready", wire.VERSION)
            elif message.type == wire.CLOCK:  # here, where it has not lain in a queue
                self._take_time(message.data)
            else:
                self._heard.put_nowait(message)

    def _take_time(self, data: Mapping[str, Any]) -> None:
        """The master answers in order: what was sent before the question has reached it, too."""
        self._offset.hear(data["sent_ns"], data["master_ns"], data["boot_id"])
        self._wall_offset_ns = self._offset.offset_ns + data["wall_offset_ns"]
        credit = self._credit.pop(data["sent_ns"], None)
        if credit is not None and self._load is not None:
            self._load.grant(credit)

    async def _obey(self) -> None:
        """Do what the master says, one thing after the other; returns when it said quit."""
        while True:
            message = await self._heard.get()
            try:
                if not await self._follow(message):
                    return
            except (ConfigError, UsageError) as error:
                # Said to the master too: a person looks there first.
                await self._link.send("exception", {"msg": str(error), "traceback": "rig worker"})
                raise

    async def _follow(self, message: Message) -> bool:
        """Do what a message asks; False when it was the last."""
        match message.type:
            case "ack":
                self._index = int((message.data or {}).get("index", 0))
                self._acknowledged.set()
            case "spawn":
                await self._spawn(message.data)
            case "stop":
                await self._finish()
                await self._link.send("client_stopped")
                await self._link.send("client_ready", wire.VERSION)
                self._state = "ready"
            case "quit":
                await self._finish()
                return False
            case wire.PLAN:
                await self._take_plan(message.data)
            case wire.FINISH:
                await self._finish()
            case wire.CERTIFY:
                self._require_key()
                self._client.certify(message.data)
            case wire.LOAD:
                self._offset = Offset()  # clocks drift: that of a long search is known anew for each scenario
                await self._ask_time()
                plan, boot_id = message.data["plan"], message.data["boot_id"]
                self._client.load(lambda: self._read_plan(plan), boot_id)
            case wire.GO:
                self._client.go(message.data["at_ns"], self._offset)
            case wire.ABORT:
                self._client.abort()
            case _:  # heartbeat, spawning_complete, update_user_class: nothing to do but to have heard it
                pass
        return True

    async def _take_plan(self, data: Any) -> None:
        self._plan = self._read_plan(data)
        await self._ask_time()

    def _require_key(self) -> None:
        if not self._link.has_key:
            raise UsageError("a master that has no key sent a plan: nothing is done for a stranger; give --key FILE")

    def _read_plan(self, data: Any) -> LocustPlan:
        """The plan, with the target that it may load; UsageError or ConfigError where nothing is done for it."""
        self._require_key()
        plan = LocustPlan.from_wire(data)
        if not plan.locust.startswith(f"{wire.PROTOCOL}."):
            raise UsageError(
                f"the master runs locust {plan.locust}, this worker speaks the protocol of {wire.PROTOCOL}; install "
                f"locust {wire.VERSION} there, or the rig that goes with it here"
            )
        return plan.pin(self._allow_host)

    async def _ask_time(self) -> None:
        for _ in range(_CLOCK_QUESTIONS):
            await self._link.send(wire.CLOCK, {"sent_ns": time.monotonic_ns()})

    async def _spawn(self, job: Any) -> None:
        await self._link.send("spawning")
        if job["timestamp"] <= self._spawned_at:
            return
        self._spawned_at = job["timestamp"]
        if self._load is None:
            self._load = RampingUsers(self._plan_for(job), self._folder, accountable=self._plan is not None)
            self._reports = 0
            self._tally = Tally()
            self._credit.clear()
        was_slowed = self._load.is_slowed
        self._load.scale(job["user_classes_count"])
        if self._load.is_slowed and not was_slowed:
            told = "so many users at their rate are more than the ceiling allows: they send less often"
            _log.warning("%s", told)
            await self._link.send("exception", {"msg": told, "traceback": "rig worker"})
        self._state = "running"
        users = self._load.users
        await self._link.send("spawning_complete", {"user_classes_count": users, "user_count": sum(users.values())})

    def _plan_for(self, job: Any) -> LocustPlan:
        if self._plan is not None:
            return self._plan
        if self._alone is None or not job["host"]:
            raise UsageError(
                "the master has no plan for a native worker: start it with the rig's locustfile "
                "(locust -f scenarios/locustfile.py --master), or give this worker --alone and the master --host"
            )
        plan = self._alone.plan(job["host"]).pin(self._allow_host)
        return plan.of_worker(self._index, 1)

    # --- regularly ---

    async def _beat(self) -> None:
        await self._acknowledged.wait()
        while True:
            if time.monotonic() - self._heard_s > DEAF_S:
                raise Unavailable(f"the master at {self._link.address} has been silent for {DEAF_S:g} s")
            usage = {
                "state": self._state,
                "current_cpu_usage": self._process.cpu_percent(),
                "current_memory_usage": self._process.memory_info().rss,
            }
            await self._link.send("heartbeat", usage)
            await asyncio.sleep(HEARTBEAT_S)

    async def _report(self) -> None:
        await self._acknowledged.wait()
        while True:
            await self._send_stats()
            await asyncio.sleep(REPORT_S / 2)
            if not self._has_failed_anew():  # a first failure is told sooner
                await asyncio.sleep(REPORT_S / 2)

    def _has_failed_anew(self) -> bool:
        """Whether a request has failed in a way in which none had before."""
        if self._load is None or self._reporting.locked():
            return False
        known = len(self._tally.examples)
        self._count(self._load)
        return len(self._tally.examples) > known

    def _count(self, load: RampingUsers) -> dict[str, int]:
        self._tally.wall_offset_ns = self._wall_offset_ns
        return load.tally(self._tally)

    async def _send_stats(self) -> None:
        async with self._reporting:
            load = self._load
            users = load.users if load else {}
            credit = self._count(load) if load else {}
            data = self._tally.take() | {"user_classes_count": users, "user_count": sum(users.values())}
            if load is not None:
                self._reports += 1
                examples = {key: self._tally.examples[key] for key in data["errors"]}
                data["rig"] = {
                    "sequence": self._reports,
                    "credit": credit,
                    "spent": load.spent,
                    "examples": examples,
                }
                if load.spent and not self._spent:
                    _log.warning("this worker has sent its share of the ceiling of requests; its users stay idle")
                self._spent = load.spent
            await self._link.send("stats", data)
            if load is not None and self._plan is not None:
                asked_ns = time.monotonic_ns()
                self._credit[asked_ns] = credit
                await self._link.send(wire.CLOCK, {"sent_ns": asked_ns})

    def _note_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        _log.error("%s: %r", context.get("message"), error)
        if self._load is not None:
            self._load.fail(error or RuntimeError(str(context.get("message"))))

    # --- the end of a test ---

    async def _finish(self) -> None:
        load = self._load
        if load is not None:
            self._state = "stopping"
        elif self._plan is not None:  # stopped before its first user: that is an account too, and it stays ready
            load, self._reports = RampingUsers(self._plan, self._folder), 0
            self._load = load
        else:
            return
        await load.stop()
        await self._send_stats()
        self._load = None
        account = self._account(load)
        await self._hand_over(account)
        self._plan = None
        cpu_us = account.cpu_s / account.requests * 1e6 if account.requests else 0.0
        _log.info(
            "test over: %d requests in %.2f s, %d failures, %.2f us of CPU a request",
            account.requests, account.wall_s, account.failures, cpu_us,
        )  # fmt: skip

    def _account(self, load: RampingUsers) -> WorkerAccount:
        batches, usage = load.accounts(self._offset.offset_ns)
        return WorkerAccount(
            number=self._plan.worker if self._plan else self._index,
            node=self._link.node,
            host=socket.gethostname(),
            pid=os.getpid(),
            reports=self._reports,
            requests=load.requests,
            failures=load.failures,
            cpu_s=usage.cpu_user_s + usage.cpu_system_s,
            wall_s=usage.wall_s,
            clock_offset_ns=self._offset.offset_ns,
            clock_error_ns=self._offset.error_ns if self._offset.known else 0,
            batches=tuple(batches),
            notes=tuple(load.faults[:5]),
            overdue=load.overdue,
        )

    async def _hand_over(self, account: WorkerAccount) -> None:
        """Rows first, so that whoever has the account has everything; without a plan nobody wants either."""
        for batch in account.batches:
            path = self._folder / f"{batch.scenario.label}.{account.number}.rows"
            if self._plan is not None:
                with path.open("rb") as rows:
                    while piece := rows.read(_PIECE_BYTES):
                        await self._link.send(
                            wire.ROWS, {"label": batch.scenario.label, "worker": account.number, "data": piece}
                        )
            path.unlink()
        if self._plan is not None:
            await self._link.send(wire.REPORT, _ACCOUNT.dump_python(account, mode="json"))


def serve(
    address: tuple[str, int], find_key: Callable[[], str], *, allow_host: str | None = None, alone: Alone | None = None
) -> None:
    """Run one worker to its end, in this process; RigError as ``Worker.run`` raises it.

    ``find_key`` is asked until the master has written its key. The supervisor removes the rows of a worker that was
    killed.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = Path(tempfile.gettempdir()).absolute() / f"rig-worker-{uuid.uuid4().hex}"
    key = find_key() if alone else _wait_for_key(find_key)
    with Supervisor() as supervisor:
        supervisor.remove_at_end(folder)  # known to the reaper before it is there: no moment leaves it behind
        folder.mkdir(mode=0o700)
        raise_limit()
        uvloop.run(_serve(address, key, folder, allow_host, alone))


def _wait_for_key(find_key: Callable[[], str]) -> str:
    for _ in range(GREETINGS):
        if key := find_key():
            return key
        _log.info("no locust master has written a key for its workers yet")
        time.sleep(GREETING_S)
    raise Unavailable(f"no key of a locust master was found within {GREETINGS * GREETING_S:g} s: give --key FILE")


async def _serve(address: tuple[str, int], key: str, folder: Path, allow_host: str | None, alone: Alone | None) -> None:
    link = MasterLink(*address, key)
    try:
        await Worker(link, folder, allow_host=allow_host, alone=alone).run()
    finally:
        link.close()
