"""The load of one native worker: as many connections as locust asks for users, more or fewer at any time.

Flow: ``scale`` opens and closes connections; each sends its class's next request when the last was answered (or, with a
rate per user, when it is due); ``stop`` lets what is in flight end. Connections, requests and rows are the engine's;
what differs from ``rig.engine.scenario_run`` is that neither their number nor that of the requests is known beforehand,
so requests are built and signed as they go.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rig.engine.connection import IDLE, Connection
from rig.engine.dialer import Dialer
from rig.engine.memory import resident_bytes
from rig.engine.pacer import NS
from rig.engine.scenario_run import RECONNECT_AFTER_S, STALL_NS, SWEEP_EVERY_S
from rig.errors import ErrorKind, UsageError
from rig.evidence.locust_run import BlockAccount
from rig.evidence.scenario_runs import WorkerReport
from rig.locust_bridge.batches import FIRST_BLOCKS, Allowance, Source, sources_of
from rig.locust_bridge.plan import Plan
from rig.locust_bridge.tally import Tally
from rig.machine.cgroup import worker_cores
from scenarios.mix import MIX, PERF_GATE

ANNOUNCED_S = 15.0
"""A worker announces what it may use so long ahead, and uses nothing else: one that the master hears never waits."""


class User(Connection):
    """One user: a connection of a class.

    Where users have a rate, ``due_ns`` is when its next request is due; ``waiting`` while a timer runs until then.
    """

    __slots__ = ("book", "dialling", "due_ns", "leaving", "source", "waiting")

    def __init__(self, number: int, swarm: Swarm, source: Source) -> None:
        super().__init__(number, swarm)
        self.source = source
        self.book: Callable[[int, int, int, int, int, int, int], None]
        """Takes the row of the request in flight, as ``RowFile.add``; there is none before the first."""
        self.due_ns = 0
        self.dialling = False
        self.leaving = False
        self.waiting = False


class Swarm:
    """Runs on the running event loop from its creation to ``stop``. Rows are written to ``folder``.

    Where it is ``accountable``, it uses no more blocks than the master has heard of (``heard``), or knows by itself.
    """

    def __init__(self, plan: Plan, folder: Path, *, accountable: bool = True) -> None:
        self._loop = asyncio.get_running_loop()
        self._plan = plan
        self._allowance = Allowance(plan.own_share)
        self._sources = sources_of(plan, MIX, PERF_GATE, folder, self._allowance)
        if accountable:
            for source in self._sources.values():
                source.allowed = FIRST_BLOCKS
        self._dialer = Dialer(plan.endpoint, plan.timeout_s)
        self._users: dict[str, list[User]] = {name: [] for name in self._sources}
        self._leaving: set[User] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._free: list[User] = []
        self._numbers = 0
        self._timeout_ns = int(plan.timeout_s * NS)
        self._period_ns = plan.period_ns(0)
        self._stopping = False
        self._awaited = 0
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._unix = int(time.time())
        self._stalled_ns = 0
        self._cores_allowed = min(1.0, worker_cores(os.getpid()))
        gc.collect()
        gc.freeze()
        gc.disable()
        self._rss_bytes = resident_bytes()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._begun_ns = self._swept_ns = self._tallied_ns = time.monotonic_ns()
        self.requests = 0
        self.failures = 0
        self.overdue = 0
        """Requests of users with a rate that were due and never sent: their users waited for an answer to the end."""
        self.faults: list[str] = []
        """What went wrong with the worker itself: its evidence carries nothing then."""
        self._sweeper = self._loop.call_later(SWEEP_EVERY_S, self._sweep)

    # --- what the worker asks ---

    @property
    def users(self) -> dict[str, int]:
        """Users by class, those on their way out not counted."""
        return {name: len(users) for name, users in self._users.items()}

    @property
    def spent(self) -> bool:
        """True when this worker has sent its share of the test's ceiling, and its users stay idle."""
        return self._allowance.spent

    @property
    def slowed(self) -> bool:
        """True while users are due less often than was asked for, to keep to the ceiling on the rate."""
        return self._period_ns > self._plan.period_ns(0)

    def scale(self, wanted: Mapping[str, int]) -> None:
        """Have so many users of each class; classes that are not named stay. UsageError for an unknown class."""
        for name, count in wanted.items():
            if name not in self._sources:
                if not count:
                    continue
                known = ", ".join(self._sources)
                raise UsageError(f"the master wants users of {name!r}; this worker knows {known}")
            users = self._users[name]
            while len(users) > count:
                self._dismiss(users.pop())
            while len(users) < count:
                user = User(self._numbers, self, self._sources[name])
                self._numbers += 1
                users.append(user)
                self._dial(user)
        self._period_ns = self._plan.period_ns(sum(self.users.values()))

    def heard(self, announced: Mapping[str, int]) -> None:
        """The master has heard how many blocks of each class may be used: whoever waited for that goes on."""
        held = False
        for name, source in self._sources.items():
            source.allowed = max(source.allowed, announced[name])
            held |= source.held
            source.held = False
        if held:
            for user in [user for of_class in self._users.values() for user in of_class]:
                if user.seq == IDLE and not user.waiting and not user.dialling:
                    self._next(user)

    def tally(self, into: Tally) -> dict[str, int]:
        """Count what has ended since the last time; how many blocks of each class may be used in the next while."""
        now_ns = time.monotonic_ns()
        seconds = max((now_ns - self._tallied_ns) / NS, 0.1)
        self._tallied_ns = now_ns
        announced = {}
        for name, source in self._sources.items():
            requests, failures = source.tally(into)
            self.requests += requests
            self.failures += failures
            announced[name] = source.announced(ANNOUNCED_S, requests / seconds)
        return announced

    async def stop(self) -> None:
        """Send nothing more, wait for what is in flight (it times out like any request), close every connection."""
        self._stopping = True
        for of_class in self._users.values():
            self.overdue += sum(map(self._overdue, of_class))
        users = [user for of_class in self._users.values() for user in of_class] + list(self._leaving)
        self._awaited = sum(user.seq != IDLE for user in users)
        if self._awaited:
            await self._drained
        self._sweeper.cancel()
        attempts = list(self._dialling)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        await self._dialer.hang_up(users)
        for of_class in self._users.values():
            of_class.clear()
        gc.enable()
        gc.unfreeze()

    def accounts(self, offset_ns: int) -> tuple[list[BlockAccount], WorkerReport]:
        """The final account of every block, and what the whole worker used. After ``stop``."""
        usage = self._used()
        accounts = [
            account
            for source in self._sources.values()
            for block in source.blocks
            if (account := block.finish(usage, source.fixed, offset_ns)) is not None
        ]
        return accounts, usage

    def _used(self) -> WorkerReport:
        """CPU and time of the whole worker: a block shares the process with others, and its limit is theirs."""
        after = resource.getrusage(resource.RUSAGE_SELF)
        return WorkerReport(
            worker=self._plan.worker,
            offered=0,
            sent=self.requests,
            skipped=0,
            connects=self._dialer.dialled,
            first_sent_ns=0,
            last_done_ns=0,
            cpu_user_s=after.ru_utime - self._usage.ru_utime,
            cpu_system_s=after.ru_stime - self._usage.ru_stime,
            wall_s=(time.monotonic_ns() - self._begun_ns) / NS,
            build_cpu_s=0.0,
            flush_cpu_s=0.0,
            max_rss_bytes=after.ru_maxrss * 1024,
            stalled_s=self._stalled_ns / NS,
            cores_allowed=self._cores_allowed,
            rss_start_bytes=self._rss_bytes,
            rss_end_bytes=resident_bytes(),
        )

    # --- one request after another ---

    def _turn(self) -> None:
        """All whose answers came in one turn of the loop go on together.

        Requests are built while the code for it is warm, and sent in a burst, which wakes the target's process once.
        """
        free, self._free = self._free, []
        ready: list[tuple[User, int, bytes]] = []
        at_once = not (self._period_ns or self._stopping)
        for user in free:
            if user.seq != IDLE:  # its connection was lost, opened anew and used meanwhile
                continue
            if at_once and user.reusable and not user.leaving:
                if (block := user.source.current()) is not None:
                    user.book = block.add
                    ready.append((user, *block.take(self._unix)))
            else:
                self._next(user)
        for user, seq, request in ready:
            user.send(seq, request)

    def _next(self, user: User) -> None:
        """The user has nothing in flight: let it send, wait, connect or go."""
        if user.leaving or self._stopping:
            self._let_go(user)
        elif not user.reusable:
            self._dial(user)
        elif self._period_ns:
            self._send_when_due(user)
        else:
            self._send(user, 0)

    def _send_when_due(self, user: User) -> None:
        now_ns = time.monotonic_ns()
        due_ns = user.due_ns or now_ns
        if due_ns > now_ns:
            if not user.waiting:  # its connection may have been lost and opened anew meanwhile
                user.waiting = True
                self._loop.call_later((due_ns - now_ns) / NS, self._woken, user)
        else:
            user.due_ns = due_ns
            if self._send(user, due_ns):
                user.due_ns += self._period_ns

    def _woken(self, user: User) -> None:
        user.waiting = False
        if user.seq == IDLE and not user.dialling:  # who opens its connection goes on with it
            self._next(user)

    def _send(self, user: User, intended_ns: int) -> bool:
        """False when there is nothing to send."""
        block = user.source.current()
        if block is None:
            return False
        seq, payload = block.take(self._unix)
        user.book = block.add
        user.send(seq, payload, intended_ns)
        return True

    # --- what the connections say (rig.engine.connection.Listener) ---

    def ended(self, user: User, status: int, kind: ErrorKind, done_ns: int) -> None:
        """The request in flight has its answer, or will have none."""
        user.book(user.seq, user.intended_ns, user.sent_ns, done_ns, user.number, status, kind)
        user.seq = IDLE
        if not user.reusable:
            user.close()
        if not self._free:
            self._loop.call_soon(self._turn)
        self._free.append(user)
        if self._stopping:
            self._awaited -= 1
            if not self._awaited:
                self._drained.set_result(None)

    def closed(self, user: User) -> None:
        """A connection ended while nothing was in flight on it."""
        self._dial(user)

    # --- users come and go ---

    def _dial(self, user: User) -> None:
        """Open a transport, unless there is one, or an attempt at one, or no use for it."""
        if user.transport is not None or user.dialling or user.leaving or self._stopping:
            return
        user.dialling = True
        attempt = self._loop.create_task(self._dialled(user))
        self._dialling.add(attempt)
        attempt.add_done_callback(self._reaped)

    async def _dialled(self, user: User) -> None:
        try:
            while not user.leaving and not self._stopping:
                if await self._dialer.dial(user):
                    break
                if user.leaving or self._stopping:  # closed by us as soon as it stood: nobody's failure
                    return
                if not self._unconnected(user):
                    return
                await asyncio.sleep(RECONNECT_AFTER_S)
        finally:
            user.dialling = False
        self._next(user)

    def _unconnected(self, user: User) -> bool:
        """As in a drive, a failed attempt stands for the request that it was made for; False when none is left."""
        now_ns = intended_ns = time.monotonic_ns()
        if self._period_ns:
            intended_ns = user.due_ns or now_ns
            if intended_ns > now_ns:
                return True
        block = user.source.current()
        if block is None:
            return False
        user.due_ns = intended_ns + self._period_ns
        block.connects += 1
        seq, _ = block.take(self._unix)
        block.add(seq, intended_ns, now_ns, now_ns, user.number, 0, ErrorKind.CONNECT)
        return True

    def _reaped(self, attempt: asyncio.Task[None]) -> None:
        self._dialling.discard(attempt)
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            self.faults.append(f"{type(error).__name__}: {error}")

    def _overdue(self, user: User) -> int:
        """Requests of it that are due by now and wait for the one before them."""
        late_ns = time.monotonic_ns() - user.due_ns
        if not self._period_ns or not user.due_ns or late_ns < 0 or (user.seq == IDLE and not user.dialling):
            return 0
        return 1 + late_ns // self._period_ns

    def _dismiss(self, user: User) -> None:
        self.overdue += self._overdue(user)
        user.leaving = True
        self._leaving.add(user)
        if user.seq == IDLE:
            self._let_go(user)

    def _let_go(self, user: User) -> None:
        """Close an idle user for good."""
        self._leaving.discard(user)
        user.close()

    def _sweep(self) -> None:
        now_ns = time.monotonic_ns()
        elapsed_ns = now_ns - self._swept_ns
        self._stalled_ns += max(0, elapsed_ns - STALL_NS)
        self._swept_ns = now_ns
        for source in self._sources.values():
            source.look(elapsed_ns)
        self._unix = int(time.time())
        limit_ns = now_ns - self._timeout_ns
        for of_class in (*self._users.values(), self._leaving):
            for user in tuple(of_class):
                if user.seq != IDLE and user.sent_ns < limit_ns:
                    user.give_up(ErrorKind.TIMEOUT)
        self._sweeper = self._loop.call_later(SWEEP_EVERY_S, self._sweep)
