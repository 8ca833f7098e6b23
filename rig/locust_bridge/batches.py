"""Batches of requests while they are sent: where each user takes its next request and where its row goes.

A locust run has no number of requests beforehand, and a scenario needs one. So each request stream of a user class is
cut into batches: scenarios of ``BATCH_REQUESTS`` requests with keys of their own, of which the last is cut to what was
really sent. Every worker has batches of its own, so no request is ever sent by two.
Flow: an ``EndlessSource`` (a user class of the mix) opens a batch for each of its streams whenever the last one is used
up; a ``FixedSource`` is this worker's share of a scenario with a fixed count. Both say at the end what they used.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rig.engine.rows import RowFile
from rig.errors import ErrorKind
from rig.evidence.failures import failures_of
from rig.evidence.locust_run import BatchAccount
from rig.evidence.scenario_runs import RESULT, WorkerReport
from rig.locust_bridge.plan import LocustPlan
from rig.locust_bridge.tally import Tally
from rig.model import Pace, Scenario, Share, UserClass
from rig.requests.targeter import Targeter

BATCH_REQUESTS = 5_000
"""Requests of a batch: small enough to be bound within a fraction of a millisecond, large enough to be few."""
WORKERS_MOST = 256
"""A row has one byte for its worker."""
FIRST_CREDIT = 10
"""Batches of each stream that a worker may use before the master has granted any: about fifty thousand requests, which
no worker sends between two reports."""
AHEAD = 16
"""Requests that are built and signed together, about 0.1 ms."""
STALE_S = 5
"""A signature ages: what lies ready for longer is signed anew."""


def batch_scenario(
    user_class: UserClass, stream: int, number: int, *, worker: int, route: str, tenant: str, timeout_s: float
) -> Scenario:
    """Batch ``number`` of a stream for one worker; all numbers count from 0."""
    part = user_class.streams[stream]
    return Scenario(
        id=user_class.id,
        title=user_class.title,
        step=BATCH_REQUESTS,
        route=route,
        tenants=(tenant,),
        shares=(Share(part.request_class, BATCH_REQUESTS, one_key=part.one_key),),
        pace=Pace(connections=1),
        trial=1 + worker + WORKERS_MOST * (stream + len(user_class.streams) * number),
        timeout_s=timeout_s,
    )


def cut_batch(scenario: Scenario, count: int) -> Scenario:
    """The same batch with its first ``count`` requests only: keys and correlation ids stay what they were."""
    (share,) = scenario.shares
    return replace(scenario, shares=(replace(share, count=count),))


class Batch:
    """Some requests of one scenario: ``next``, ``next + stride`` … below ``end`` are still to be sent."""

    def __init__(
        self,
        plan: LocustPlan,
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
        self._key = targets.key
        self._expected = [plan.profile.answer(share.request_class, scenario.route).right for share in scenario.shares]
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
        return self.taken - self._rows.count

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
        into.add(self.name, rows, failed, self._key)
        sent = rows["error_kind"] != ErrorKind.SKIPPED
        if self.next >= self.end and not self.in_flight:
            self._close()
        return int(sent.sum()), int((failed & sent).sum())

    def finish(self, usage: WorkerReport, fixed: bool, offset_ns: int) -> BatchAccount | None:
        """Close the batch and account for it; None when nothing of it was taken. ``usage`` is the worker's, whole.

        A batch of fixed count offered all that it has: the rest is booked as skipped. Any other is cut to what was
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
        return BatchAccount(
            scenario=self.scenario if fixed else cut_batch(self.scenario, taken),
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


class RequestSource(ABC):
    """Where the users of one class get their requests. ``batches`` are all that were opened, in that order."""

    fixed = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.batches: list[Batch] = []
        self.allowed = math.inf
        """Batches of each stream that may be opened."""
        self.empty = False
        """True once a request was asked for and there was none."""
        self._open: list[Batch] = []

    @abstractmethod
    def current(self) -> Batch | None:
        """The batch that the next request, which must be taken now, comes from; None when there is none (yet)."""

    @abstractmethod
    def credit(self, seconds: float, rate_per_s: float) -> int:
        """How many batches of each stream it may use within the next ``seconds``; never fewer than before."""

    def grant(self, batches: int) -> bool:
        """Allow so many batches of each stream; True where there is something to send again."""
        return False

    def tally(self, into: Tally) -> tuple[int, int]:
        """Count what has come since the last time; (requests, failures). A batch that is used up is done with."""
        requests = failures = 0
        for each in self._open:
            counted, failed = each.tally(into)
            requests += counted
            failures += failed
        self._open = [each for each in self._open if each.open]
        return requests, failures

    def look(self, elapsed_ns: int) -> None:
        for each in self._open:
            each.look(elapsed_ns)

    def _add(self, opened: Batch) -> Batch:
        self.batches.append(opened)
        self._open.append(opened)
        return opened


class EndlessSource(RequestSource):
    """The endless requests of a user class."""

    def __init__(
        self,
        user_class: UserClass,
        open_batch: Callable[[Scenario, str], Batch],
        plan: LocustPlan,
        allowance: Allowance,
    ) -> None:
        super().__init__(user_class.name)
        self._allowance = allowance
        self._user_class = user_class
        self._open_batch = open_batch
        self._plan = plan
        self._turns = cycle(user_class.turns())
        self._turn = next(self._turns)
        self._credit = 0
        self._opened = [0] * len(user_class.streams)
        self._current: list[Batch | None] = [None] * len(user_class.streams)

    def current(self) -> Batch | None:
        """See ``RequestSource``; each call is one turn."""
        stream = self._turn
        batch = self._current[stream]
        used_up = batch is None or batch.next >= batch.end
        if used_up and self._opened[stream] >= self.allowed:
            self.empty = True
            return None
        if not self._allowance.take():
            self.empty = True
            return None
        self._turn = next(self._turns)
        if used_up:
            plan = self._plan
            scenario = batch_scenario(
                self._user_class,
                stream,
                self._opened[stream],
                worker=plan.worker,
                route=plan.route,
                tenant=plan.tenant,
                timeout_s=plan.timeout_s,
            )
            batch = self._current[stream] = self._add(self._open_batch(scenario, self._user_class.label))
            self._opened[stream] += 1
        return batch

    def credit(self, seconds: float, rate_per_s: float) -> int:
        ahead = FIRST_CREDIT + int(rate_per_s * seconds / BATCH_REQUESTS)
        self._credit = max(self._credit, max(self._opened) + ahead)
        return self._credit

    def grant(self, batches: int) -> bool:
        self.allowed = max(self.allowed, batches)
        was_empty, self.empty = self.empty, self._allowance.spent
        return was_empty and not self.empty


class FixedSource(RequestSource):
    """This worker's share of a scenario with a fixed count."""

    fixed = True

    def __init__(self, name: str, whole: Batch) -> None:
        super().__init__(name)
        self._whole = self._add(whole)

    def current(self) -> Batch | None:
        whole = self._whole
        self.empty = whole.next >= whole.end
        return None if self.empty else whole

    def credit(self, seconds: float, rate_per_s: float) -> int:
        return 1


class EmptySource(RequestSource):
    """A class of which this worker has no requests: they were shared out before it came."""

    def current(self) -> Batch | None:
        self.empty = True
        return None

    def credit(self, seconds: float, rate_per_s: float) -> int:
        return 0


def sources_of(plan: LocustPlan, folder: Path, allowance: Allowance) -> dict[str, RequestSource]:
    """A source for each user class, and one for the scenario of fixed count where the plan has one; by name."""
    targeter = Targeter(plan.profile, plan.run, plan.endpoint.address)

    def open_batch(scenario: Scenario, name: str) -> Batch:
        return Batch(plan, targeter, scenario, name, folder)

    sources: dict[str, RequestSource] = {
        each.name: EndlessSource(each, open_batch, plan, allowance) for each in plan.user_classes
    }
    if plan.late:
        sources[plan.fixed_class] = EmptySource(plan.fixed_class)
    elif (fixed := plan.fixed) is not None:
        name = f"{fixed.id} {fixed.title}"
        share = Batch(plan, targeter, fixed, name, folder, first=plan.worker, stride=plan.workers)
        sources[plan.fixed_class] = FixedSource(plan.fixed_class, share)
    return sources
