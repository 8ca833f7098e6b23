"""The load of one native worker: as many connections as locust asks for users, more or fewer at any time.

Flow: ``scale`` opens and closes connections; each sends its class's next request when the last was answered (or, with a
rate per user, when it is due); ``stop`` lets what is in flight end. It differs from the executors of a scenario in that
neither the number of users nor that of the requests is known beforehand, so requests are signed as they go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from rig.engine.connection import IDLE, Connection
from rig.engine.executor import Executor
from rig.engine.pacer import NS
from rig.errors import ErrorKind, UsageError
from rig.evidence.locust_run import BatchAccount
from rig.evidence.scenario_runs import WorkerReport
from rig.locust_bridge.batches import FIRST_CREDIT, Allowance, RequestSource, sources_of
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.tally import Tally
from rig.machine.open_files import describe

CREDIT_S = 15.0
"""A worker asks for credit so long ahead, and uses nothing else: where the master hears it, its users never wait."""


class User(Connection):
    """One user: a connection of a class.

    Where users have a rate, ``due_ns`` is when its next request is due; ``waiting`` while a timer runs until then.
    """

    __slots__ = ("book", "due_ns", "leaving", "source", "waiting")

    def __init__(self, number: int, executor: RampingUsers, source: RequestSource) -> None:
        super().__init__(number, executor)
        self.source = source
        self.book: Callable[[int, int, int, int, int, int, int], None]
        """Takes the row of the request in flight, as ``RowFile.add``; there is none before the first."""
        self.due_ns = 0
        self.leaving = False
        self.waiting = False


class RampingUsers(Executor[User]):
    """Runs on the running event loop from its creation to ``stop``. Rows are written to ``folder``.

    Where it is ``accountable``, it uses no more batches than it has credit for (``grant``).
    """

    def __init__(self, plan: LocustPlan, folder: Path, *, accountable: bool = True) -> None:
        super().__init__(plan.worker, plan.endpoint, plan.timeout_s)
        self._plan = plan
        self._allowance = Allowance(plan.own_share)
        self._sources = sources_of(plan, folder, self._allowance)
        if accountable:
            for source in self._sources.values():
                source.allowed = FIRST_CREDIT
        self._users: dict[str, list[User]] = {name: [] for name in self._sources}
        self._leaving: set[User] = set()
        self._free: list[User] = []
        self._numbers = 0
        self._period_ns = plan.period_ns(0)
        self._stopping = False
        self._awaited = 0
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._unix = int(time.time())
        self.requests = 0
        self.failures = 0
        self.overdue = 0
        """Requests of users with a rate that were due and never sent: their users waited for an answer to the end."""
        self.faults: list[str] = []
        """What went wrong with the worker itself: its evidence carries nothing then."""
        self.pause_collector()
        self.start_clock()
        self._tallied_ns = self._begun_ns

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
    def is_slowed(self) -> bool:
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
                self.connect(user)
        self._period_ns = self._plan.period_ns(sum(self.users.values()))

    def grant(self, credit: Mapping[str, int]) -> None:
        """Allow so many batches of each class: the master knows of them now. Users who waited for that go on."""
        for name, source in self._sources.items():
            if source.grant(credit[name]):
                for user in tuple(self._users[name]):
                    if user.seq == IDLE and not user.waiting and user not in self._attempts:
                        self.resume(user)

    def tally(self, into: Tally) -> dict[str, int]:
        """Count what has ended since the last time; how many batches of each class may be used in the next while."""
        now_ns = time.monotonic_ns()
        seconds = max((now_ns - self._tallied_ns) / NS, 0.1)
        self._tallied_ns = now_ns
        credit = {}
        for name, source in self._sources.items():
            requests, failures = source.tally(into)
            self.requests += requests
            self.failures += failures
            credit[name] = source.credit(CREDIT_S, requests / seconds)
        return credit

    async def stop(self) -> None:
        """Send nothing more, wait for what is in flight (it times out like any request), close every connection."""
        self._stopping = True
        for of_class in self._users.values():
            self.overdue += sum(map(self._overdue, of_class))
        self._awaited = sum(user.seq != IDLE for user in self.connections)
        if self._awaited:
            await self._drained
        await self.hang_up()
        self.stop_sweeping()
        for of_class in self._users.values():
            of_class.clear()
        self.resume_collector()

    def accounts(self, offset_ns: int) -> tuple[list[BatchAccount], WorkerReport]:
        """The final account of every batch, and what the whole worker used. After ``stop``."""
        usage = replace(self.usage(), sent=self.requests)
        accounts = [
            account
            for source in self._sources.values()
            for batch in source.batches
            if (account := batch.finish(usage, source.fixed, offset_ns)) is not None
        ]
        return accounts, usage

    # --- one request after another ---

    def _send_together(self) -> None:
        """Let all users go on whose answers came in one turn of the event loop.

        Requests are built while the code for it is warm, and sent in a burst, which wakes the target's process once.
        """
        free, self._free = self._free, []
        ready: list[tuple[User, int, bytes]] = []
        at_once = not (self._period_ns or self._stopping)
        for user in free:
            if user.seq != IDLE:  # its connection was lost, opened anew and used meanwhile
                continue
            if at_once and user.reusable and not user.leaving:
                if (batch := user.source.current()) is not None:
                    user.book = batch.add
                    ready.append((user, *batch.take(self._unix)))
            else:
                self.resume(user)
        for user, seq, request in ready:
            user.send(seq, request)

    def resume(self, user: User) -> None:
        if user.leaving or self._stopping:
            user.close()
            if not self._stopping:  # ``stop`` waits until all connections are gone
                self._leaving.discard(user)
        elif not user.reusable:
            self.connect(user)
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
                self._loop.call_later((due_ns - now_ns) / NS, self._wake, user)
        else:
            user.due_ns = due_ns
            if self._send(user, due_ns):
                user.due_ns += self._period_ns

    def _wake(self, user: User) -> None:
        user.waiting = False
        if user.seq == IDLE and user not in self._attempts:  # an attempt to connect resumes by itself
            self.resume(user)

    def _send(self, user: User, intended_ns: int) -> bool:
        """False when there is nothing to send."""
        batch = user.source.current()
        if batch is None:
            return False
        seq, payload = batch.take(self._unix)
        user.book = batch.add
        user.send(seq, payload, intended_ns)
        return True

    def end_request(self, user: User, status: int, kind: ErrorKind, done_ns: int) -> None:
        user.book(user.seq, user.intended_ns, user.sent_ns, done_ns, user.number, status, kind)
        user.seq = IDLE
        if not user.reusable:
            user.close()
        if not self._free:
            self._loop.call_soon(self._send_together)
        self._free.append(user)
        if self._stopping:
            self._awaited -= 1
            if not self._awaited:
                self._drained.set_result(None)

    # --- users come and go ---

    @property
    def connections(self) -> list[User]:
        return [user for of_class in (*self._users.values(), self._leaving) for user in of_class]

    def needs(self, user: User) -> bool:
        """See ``Executor``. One that found nothing to send is opened again when its source has something."""
        return not (user.leaving or self._stopping or user.source.empty)

    def fail_attempt(self, user: User) -> None:
        now_ns = intended_ns = time.monotonic_ns()
        if self._period_ns:
            intended_ns = user.due_ns or now_ns
        # Where we closed it ourselves as soon as it stood, that is nobody's failure.
        if intended_ns > now_ns or not self.needs(user) or (batch := user.source.current()) is None:
            return
        user.due_ns = intended_ns + self._period_ns
        batch.connects += 1
        seq, _ = batch.take(self._unix)
        batch.add(seq, intended_ns, now_ns, now_ns, user.number, 0, ErrorKind.CONNECT)

    def fail(self, error: BaseException) -> None:
        self.faults.append(describe(error))

    def _overdue(self, user: User) -> int:
        """Requests of it that are due by now and wait for the one before them."""
        late_ns = time.monotonic_ns() - user.due_ns
        if not self._period_ns or not user.due_ns or late_ns < 0 or (user.seq == IDLE and user not in self._attempts):
            return 0
        return 1 + late_ns // self._period_ns

    def _dismiss(self, user: User) -> None:
        self.overdue += self._overdue(user)
        user.leaving = True
        self._leaving.add(user)
        if user.seq == IDLE:
            self.resume(user)

    def sample(self, elapsed_ns: int) -> None:
        for source in self._sources.values():
            source.look(elapsed_ns)
        self._unix = int(time.time())
