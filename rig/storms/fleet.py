"""A fleet of a storm: many processes held at a barrier, released together, each running one function once.

Flow::

    with Fleet(16, work, payload) as fleet:
        fleet.start()              # all have prepared and are held at the barrier
        fleet.release()            # all go at one instant
        members = fleet.collect(30.0)

``work(number, payload, barrier)`` is any importable module-level callable. It runs in a process of its own (spawn),
prepares, calls ``barrier()`` once, which blocks until the release and returns the monotonic ns at which this process
went, does its part and returns a result that can be pickled. A member that dies, raises or stays silent is reported by
name and never waited for beyond a deadline. Members ignore SIGINT: the fleet ends them, and they end by themselves
when it dies.

Not for load: there is no result before the end, and the barrier opens once. Every member imports this module, so it
imports nothing heavy.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from rig.machine.fleet import Go, MemberFailure, MemberResult, ProcessFleet, Ready, ignore_interrupts

Barrier = Callable[[], int]
Work = Callable[[int, Any, Barrier], Any]

_LEAD_NS = 50_000_000
"""From the release to its instant: long enough for every member to have heard of it and to sleep towards it."""


@dataclass(frozen=True, slots=True)
class Member:
    """What became of one process. ``error`` is non-empty when it died, failed or is silent; then there is no result.

    ``released_ns`` is when it went on from the barrier (monotonic), None when it never did or never said so.
    """

    number: int
    pid: int | None
    released_ns: int | None
    result: Any | None
    error: str


class Fleet(ProcessFleet):
    """``size`` processes that run ``work``. A context manager: whatever still lives at its end is killed."""

    def __init__(self, size: int, work: Work, payload: Any = None) -> None:
        super().__init__(size, _main, "rig-fleet")
        self._work = work
        self._payload = payload

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.end is None:  # killed before it hears of the end: it would leave behind what it started
                self.kill(member.number)
        super().__exit__()

    def start(self, deadline_s: float = 60.0) -> None:
        """Start all processes and wait until each is held at the barrier, has ended, or ``deadline_s`` has passed.

        Who is not held by then takes no part: it is killed, and ``collect`` reports it.
        """
        self.spawn()
        for member in self.members:
            # Not an argument of the process: work that cannot be imported there has to come back as an error.
            self.send(member, (member.number, self._work, self._payload))
        for member in self.listen(deadline_s, until_ready=True):
            self.kill(member.number)
            self.lose(member, f"was not ready within {deadline_s:g} s")

    def release(self) -> int:
        """Open the barrier; returns the instant (monotonic ns) at which all are to go, which is yet to come."""
        at_ns = time.monotonic_ns() + _LEAD_NS
        self.send_all(Go(at_ns))
        return at_ns

    def collect(self, deadline_s: float) -> list[Member]:
        """Wait until all members have ended, at most ``deadline_s``; every member's report, in order of number.

        Who is silent then is reported as such but left alone: ask again, or end the context.
        """
        self.listen(deadline_s)
        silent = MemberFailure(f"gave no result within {deadline_s:g} s")
        return [_report(member.number, member.process.pid, member.end or silent) for member in self.members]

    def poll(self) -> list[int]:
        """Take the messages that have come in; the numbers of the members that have not ended."""
        return [member.number for member in self.listen(0.0)]

    @property
    def skew_ns(self) -> int | None:
        """Last minus first instant at which a member went on from the barrier; None before two of them have said so."""
        instants = [member.end.released_ns for member in self.members if member.end is not None]
        released = [at_ns for at_ns in instants if at_ns is not None]
        return max(released) - min(released) if len(released) > 1 else None


def _report(number: int, pid: int | None, end: MemberResult | MemberFailure) -> Member:
    if isinstance(end, MemberFailure):
        return Member(number, pid, end.released_ns, None, end.reason)
    return Member(number, pid, end.released_ns, end.result, "")


# --- the member's side ------------------------------------------------------------------------------------------------


class _Gate:
    """The barrier as a member sees it. A thread listens to the fleet all the time, so that its death is noticed."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._go = threading.Event()
        self._at_ns = 0
        self.released_ns: int | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self) -> int:
        """Say that this member is ready; block until the release; the monotonic ns at which it went."""
        if self.released_ns is not None:
            raise RuntimeError("the barrier opens once")
        self._pipe.send(Ready())
        self._go.wait()
        # Sleeping, not spinning: with more members than cores the spinners would keep the others from the start.
        while (left_ns := self._at_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)
        self.released_ns = time.monotonic_ns()
        return self.released_ns

    def _listen(self) -> None:
        try:
            while True:
                message = self._pipe.recv()
                if isinstance(message, Go):
                    self._at_ns = message.at_ns
                    self._go.set()
        except (EOFError, OSError):
            os._exit(1)  # the fleet is gone: nobody waits for a result, and the work may block for ever


def _main(pipe: Pipe) -> None:
    ignore_interrupts()
    gate: _Gate | None = None
    end: MemberResult | MemberFailure
    try:
        number, work, payload = pipe.recv()
        gate = _Gate(pipe)
        result = work(number, payload, gate.wait)
        end = MemberResult(result, gate.released_ns)
    except EOFError:
        return
    except BaseException as error:  # whatever it is, the fleet reports it
        end = MemberFailure(f"{type(error).__name__}: {error}", gate.released_ns if gate else None)
    try:
        pipe.send(end)
    except OSError:
        return
    except Exception as error:  # pickle raises what it likes
        pipe.send(MemberFailure(f"its result cannot be pickled: {error}", end.released_ns))
