"""Blocks of requests while they are sent: where each user takes its next request and where its row goes.

Flow: a ``Strands`` (a user class of the mix) opens a block for each of its strands whenever the last one is used up; a
``Fixed`` is this worker's share of a scenario with a fixed count. Both say what they used at the end. Shared by the
native worker and by locust's own users; no I/O but the rows, no clock.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rig.engine.rows import RowFile
from rig.errors import ErrorKind
from rig.evidence.locust_run import BlockAccount
from rig.evidence.scenario_runs import RESULT, WorkerReport
from rig.locust_bridge.plan import Plan
from rig.locust_bridge.tally import Tally, failures_of
from rig.model import Scenario
from rig.requests.targeter import Targeter
from scenarios.mix import BLOCK, UserClass, block, cut

FIRST_BLOCKS = 10
"""Blocks of each strand that a worker may use before the master has heard of them.

Beyond them it must have announced more: some fifty thousand requests, which no worker sends between two reports.
"""
AHEAD = 16
"""Requests that are built and signed together, about 0.1 ms."""
STALE_S = 5
"""A signature ages: what lies ready for longer is signed anew."""


class Block:
    """Some requests of one scenario: ``next``, ``next + stride`` … below ``end`` are still to be sent."""

    def __init__(
        self,
        plan: Plan,
        targeter: Targeter,
        scenario: Scenario,
        name: str,
        folder: Path,
        first: int = 0,
        stride: int = 1,
    ) -> None:
        self.scenario = scenario
        self.name = name
        self.next = first
        self.end = scenario.count
        self.connects = 0
        self._first = first
        self._stride = stride
        self._worker = plan.worker
        targets = targeter.bind(scenario, plan.credentials)
        self._request = targets.request
        self._ready: list[bytes] = []
        self._signed_unix = 0
        self._share = targets.composition.share
        self._expected = [plan.profile.answer(share.request_class).status for share in scenario.shares]
        self.path = folder / f"{scenario.label}.{plan.worker}.rows"
        self._rows = RowFile(self.path, plan.worker)
        self.add = self._rows.add
        """Books one request that has ended, whatever became of it."""
        self.open = True
        """False once all that it had was sent, has ended and was tallied."""
        self._tallied = 0
        self._waited_ns = self._watched_ns = self._looks = 0

    @property
    def taken(self) -> int:
        """Requests that were handed out."""
        return (self.next - self._first) // self._stride

    @property
    def in_flight(self) -> int:
        """Those of them that have not ended yet."""
        return self.taken - self._rows.added

    def take(self, unix: int) -> tuple[int, bytes]:
        """The next request, its seq and its bytes, signed at about ``unix`` (s); the source knows that there is one."""
        seq = self.next
        self.next = seq + self._stride
        if not self._ready or unix > self._signed_unix + STALE_S:
            self._sign_ahead(seq, unix)
        return seq, self._ready.pop()

    def _sign_ahead(self, seq: int, unix: int) -> None:
        """Some at a time cost a third less than one by one, and take less time than anybody could notice."""
        seqs = range(seq, min(self.end, seq + AHEAD * self._stride), self._stride)
        self._ready = [self._request(each, unix) for each in reversed(seqs)]
        self._signed_unix = unix

    def good(self, seq: int) -> tuple[int, ...]:
        """The statuses that request ``seq`` asks for."""
        statuses: tuple[int, ...] = self._expected[int(self._share[seq])]
        return statuses

    def look(self, elapsed_ns: int) -> None:
        """Sample how many requests of it are in flight, for the time since the last look."""
        if self.taken and (self.in_flight or self.next < self.end):
            self._waited_ns += self.in_flight * elapsed_ns
            self._watched_ns += elapsed_ns
            self._looks += 1

    def tally(self, into: Tally) -> tuple[int, int]:
        """Count what has come since the last time; (requests, failures)."""
        self._rows.flush()
        rows: NDArray[np.void] = np.fromfile(self.path, RESULT, offset=self._tallied * RESULT.itemsize)
        self._tallied += len(rows)
        failed = failures_of(rows, self._share, self._expected)
        into.add(self.name, rows, failed)
        sent = rows["error_kind"] != ErrorKind.SKIPPED
        if self.next >= self.end and not self.in_flight:
            self._close()
        return int(sent.sum()), int((failed & sent).sum())

    def finish(self, usage: WorkerReport, fixed: bool, offset_ns: int) -> BlockAccount | None:
        """Close the block and account for it; None when nothing of it was taken. ``usage`` is the worker's, whole.

        A block of fixed count offered all that it has: the rest is booked as skipped. Any other is cut to what was
        taken. ``offset_ns`` takes the rows' times to the master's clock.
        """
        taken, skipped = self.taken, 0
        if fixed:
            for seq in range(self.next, self.end, self._stride):
                self._rows.add(seq, 0, 0, 0, 0, 0, ErrorKind.SKIPPED)
                skipped += 1
        elif not taken:
            self._close()
            self.path.unlink()
            return None
        self._close()
        rows: NDArray[np.void] = np.fromfile(self.path, RESULT)
        if offset_ns:
            for column in ("intended_ns", "sent_ns", "done_ns"):
                rows[column][rows["sent_ns"] != 0] += offset_ns
            rows.tofile(self.path)
        sent = rows[rows["sent_ns"] != 0]
        first_sent_ns, last_done_ns = (int(sent["sent_ns"].min()), int(sent["done_ns"].max())) if len(sent) else (0, 0)
        elapsed_s = (last_done_ns - first_sent_ns) / 1e9
        report = replace(
            usage,
            offered=taken + skipped,
            sent=taken,
            skipped=skipped,
            connects=self.connects,
            first_sent_ns=first_sent_ns,
            last_done_ns=last_done_ns,
            in_system_mean=self._waited_ns / self._watched_ns if self._watched_ns else 0.0,
            in_system_samples=self._looks,
        )
        return BlockAccount(
            scenario=self.scenario if fixed else cut(self.scenario, taken),
            report=report,
            rows=len(rows),
            sha256=hashlib.sha256(rows.tobytes()).hexdigest(),
            # Who stops a timed scenario before its limit has learnt nothing about the limit.
            interrupted=bool(skipped) and elapsed_s < (self.scenario.limit_s or 0.0),
        )

    def _close(self) -> None:
        if self.open:
            self.open = False
            self._rows.flush()
            self._rows.close()


@dataclass(slots=True)
class Allowance:
    """How many requests of no fixed count a worker may still send, all its users together."""

    left: int
    spent: bool = False
    """True once somebody asked for one more."""

    def take(self) -> bool:
        """Whether one more may be sent."""
        if self.left <= 0:
            self.spent = True
            return False
        self.left -= 1
        return True


class Source(ABC):
    """Where the users of one class get their requests. ``blocks`` are all that were opened, in that order."""

    fixed = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.blocks: list[Block] = []
        self.allowed = math.inf
        """Blocks of each strand that may be opened."""
        self.empty = False
        """True once a request was asked for and there was none; whoever allows more sets it back."""
        self._open: list[Block] = []

    @abstractmethod
    def current(self) -> Block | None:
        """The block that the next request, which must be taken now, comes from; None when there is none (yet)."""

    @abstractmethod
    def announced(self, seconds: float, rate_per_s: float) -> int:
        """How many blocks of each strand may be used within the next ``seconds``; never fewer than before."""

    def tally(self, into: Tally) -> tuple[int, int]:
        """Count what has come since the last time; (requests, failures). A block that is used up is done with."""
        requests = failures = 0
        for each in self._open:
            counted, failed = each.tally(into)
            requests += counted
            failures += failed
        self._open = [each for each in self._open if each.open]
        return requests, failures

    def look(self, elapsed_ns: int) -> None:
        """See ``Block.look``."""
        for each in self._open:
            each.look(elapsed_ns)

    def _add(self, opened: Block) -> Block:
        self.blocks.append(opened)
        self._open.append(opened)
        return opened


class Strands(Source):
    """The endless requests of a user class."""

    def __init__(
        self, user_class: UserClass, open_block: Callable[[Scenario, str], Block], plan: Plan, allowance: Allowance
    ) -> None:
        super().__init__(user_class.name)
        self._allowance = allowance
        self._user_class = user_class
        self._open_block = open_block
        self._plan = plan
        self._turns = cycle(user_class.turns())
        self._turn = next(self._turns)
        self._announced = 0
        self._opened = [0] * len(user_class.strands)
        self._current: list[Block | None] = [None] * len(user_class.strands)

    def current(self) -> Block | None:
        """See ``Source``; each call is one turn."""
        strand = self._turn
        standing = self._current[strand]
        used_up = standing is None or standing.next >= standing.end
        if used_up and self._opened[strand] >= self.allowed:
            self.empty = True
            return None
        if not self._allowance.take():
            self.empty = True
            return None
        self._turn = next(self._turns)
        if used_up:
            plan = self._plan
            scenario = block(
                self._user_class,
                strand,
                self._opened[strand],
                worker=plan.worker,
                route=plan.route,
                tenant=plan.tenant,
                timeout_s=plan.timeout_s,
            )
            standing = self._current[strand] = self._add(self._open_block(scenario, self._user_class.label))
            self._opened[strand] += 1
        return standing

    def announced(self, seconds: float, rate_per_s: float) -> int:
        """See ``Source``."""
        ahead = FIRST_BLOCKS + int(rate_per_s * seconds / BLOCK)
        self._announced = max(self._announced, max(self._opened) + ahead)
        return self._announced


class Fixed(Source):
    """This worker's share of a scenario with a fixed count."""

    fixed = True

    def __init__(self, name: str, whole: Block) -> None:
        super().__init__(name)
        self._whole = self._add(whole)

    def current(self) -> Block | None:
        """See ``Source``."""
        whole = self._whole
        self.empty = whole.next >= whole.end
        return None if self.empty else whole

    def announced(self, seconds: float, rate_per_s: float) -> int:
        """See ``Source``."""
        return 1


class Nothing(Source):
    """A class of which this worker has no requests: they were shared out before it came."""

    def current(self) -> Block | None:
        """See ``Source``."""
        self.empty = True
        return None

    def announced(self, seconds: float, rate_per_s: float) -> int:
        """See ``Source``."""
        return 0


def sources_of(
    plan: Plan, classes: Sequence[UserClass], perf_gate: str, folder: Path, allowance: Allowance
) -> dict[str, Source]:
    """A source for each user class, and one for the scenario of fixed count where the plan has one; by name."""
    targeter = Targeter(plan.profile, plan.run, host=plan.endpoint.host_header, base_path=plan.endpoint.base_path)

    def open_block(scenario: Scenario, name: str) -> Block:
        return Block(plan, targeter, scenario, name, folder)

    sources: dict[str, Source] = {each.name: Strands(each, open_block, plan, allowance) for each in classes}
    if plan.late:
        sources[perf_gate] = Nothing(perf_gate)
    elif (fixed := plan.fixed) is not None:
        name = f"{fixed.id} {fixed.title}"
        share = Block(plan, targeter, fixed, name, folder, first=plan.worker, stride=plan.workers)
        sources[perf_gate] = Fixed(perf_gate, share)
    return sources
