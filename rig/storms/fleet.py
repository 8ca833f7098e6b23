"""A fleet: many processes held at a barrier and released together.

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

Not for load: there is no result before the end, and the barrier opens once. This module is imported by every member,
so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

Barrier = Callable[[], int]
Work = Callable[[int, Any, Barrier], Any]

_LEAD_NS = 50_000_000
"""From the release to its instant: long enough for every member to have heard of it and to sleep towards it."""
_STOP_S = 2.0


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


# --- what goes through the pipe ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """Member to fleet: prepared, waiting at the barrier."""


@dataclass(frozen=True, slots=True)
class _Go:
    """Fleet to member: go at this instant."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class _Over:
    """Member to fleet: the end of its work."""

    released_ns: int | None
    result: Any | None
    error: str


# --- the fleet's side -------------------------------------------------------------------------------------------


@dataclass
class _Process:
    number: int
    process: SpawnProcess
    pipe: Pipe
    held: bool = False
    over: _Over | None = field(default=None)


class Fleet:
    """``size`` processes that run ``work``. A context manager: whatever still lives at its end is killed."""

    def __init__(self, size: int, work: Work, payload: Any = None) -> None:
        if size < 1:
            raise ValueError("a fleet needs at least one process")
        self.size = size
        self._work = work
        self._payload = payload
        self._processes: list[_Process] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._processes:
            if member.over is None:  # killed before it hears of the end: it would leave behind what it started
                self.kill(member.number)
        for member in self._processes:
            member.pipe.close()
        deadline = time.monotonic() + _STOP_S
        for member in self._processes:
            member.process.join(max(0.0, deadline - time.monotonic()))
            if member.process.is_alive():
                self.kill(member.number)
                member.process.join()
            member.process.close()
        self._processes = []

    def start(self, deadline_s: float = 60.0) -> None:
        """Start all processes and wait until each is held at the barrier, is over, or ``deadline_s`` has passed.

        Who is not held by then takes no part: it is ended, and ``collect`` reports it.
        """
        context = multiprocessing.get_context("spawn")
        # Blocked across the spawn: a Ctrl-C meant for the rig must not hit a member before it can ignore it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for number in range(self.size):
                self._processes.append(self._spawn(context, number))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._listen(deadline_s, lambda member: member.held)
        for member in self._processes:
            if not member.held and member.over is None:
                self.kill(member.number)
                member.over = _Over(None, None, f"was not ready within {deadline_s:g} s")

    def release(self) -> int:
        """Open the barrier; returns the instant (monotonic ns) at which all are to go, which is yet to come."""
        at_ns = time.monotonic_ns() + _LEAD_NS
        for member in self._processes:
            if member.over is None:
                self._send(member, _Go(at_ns))
        return at_ns

    def collect(self, deadline_s: float) -> list[Member]:
        """Wait until all members are over, at most ``deadline_s``; every member's report, in order of number.

        Who is silent then is reported as such but left alone: ask again, or end the context.
        """
        self._listen(deadline_s, lambda member: False)
        return [self._report(member, f"gave no result within {deadline_s:g} s") for member in self._processes]

    def poll(self) -> list[int]:
        """Hear what has come in; the numbers of the members that are not over."""
        self._listen(0.0, lambda member: False)
        return [member.number for member in self._processes if member.over is None]

    @property
    def pids(self) -> list[int]:
        """Process ids, by number."""
        return [member.process.pid or 0 for member in self._processes]

    @property
    def skew_ns(self) -> int | None:
        """Last minus first instant at which a member went on from the barrier; None before two of them have said so."""
        told = [member.over.released_ns for member in self._processes if member.over is not None]
        released = [at_ns for at_ns in told if at_ns is not None]
        return max(released) - min(released) if len(released) > 1 else None

    def kill(self, number: int) -> None:
        """SIGKILL to the member and all that it started: gone without a word."""
        self._signal(number, signal.SIGKILL)

    def stop(self, number: int) -> None:
        """SIGSTOP: the member and all that it started stand still and keep what they hold."""
        self._signal(number, signal.SIGSTOP)

    def cont(self, number: int) -> None:
        """SIGCONT: the member goes on as if nothing had been."""
        self._signal(number, signal.SIGCONT)

    def _spawn(self, context: multiprocessing.context.SpawnContext, number: int) -> _Process:
        ours, theirs = context.Pipe()
        process = context.Process(target=_main, args=(number, theirs), name=f"rig-fleet-{number}", daemon=True)
        process.start()
        theirs.close()
        member = _Process(number, process, ours)
        # Not an argument of the process: what cannot be imported there must come back as an error, not as a traceback.
        self._send(member, (self._work, self._payload))
        return member

    def _send(self, member: _Process, message: object) -> None:
        try:
            member.pipe.send(message)
        except OSError:
            self._lose(member)

    def _signal(self, number: int, what: signal.Signals) -> None:
        import psutil  # here, because every member imports this module and only the fleet needs this

        process = self._processes[number].process
        if process.pid is None or not process.is_alive():  # not reaped before: the pid is still its own
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            member = psutil.Process(process.pid)
            family = [member, *member.children(recursive=True)]  # listed first: orphans are nobody's children
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(what)

    def _listen(self, deadline_s: float, enough: Callable[[_Process], bool]) -> None:
        """Hear the members until each is over or ``enough``, at most ``deadline_s``."""
        deadline = time.monotonic() + deadline_s
        while pending := [member for member in self._processes if member.over is None and not enough(member)]:
            left_s = max(0.0, deadline - time.monotonic())
            if not self._hear(pending, left_s) and left_s <= 0:
                return

    def _hear(self, pending: Iterable[_Process], timeout_s: float) -> Collection[object]:
        by_pipe: dict[object, _Process] = {member.pipe: member for member in pending}
        events = wait(list(by_pipe), timeout_s)  # type: ignore[arg-type]  # typeshed wants its own union of waitables
        for event in events:
            self._take(by_pipe[event])
        return events

    def _take(self, member: _Process) -> None:
        """One message. The pipe's end is the member's: only it holds the other side."""
        try:
            message = member.pipe.recv()
        except (EOFError, OSError):
            self._lose(member)
            return
        match message:
            case _Held():
                member.held = True
            case _Over():
                member.over = message

    def _lose(self, member: _Process) -> None:
        member.process.join(_STOP_S)
        match member.process.exitcode:
            case None:
                what = "fell silent and goes on"
            case code if code < 0:
                what = f"died of {signal.Signals(-code).name}"
            case code:
                what = f"ended with exit code {code} and no result"
        member.over = _Over(None, None, what)

    def _report(self, member: _Process, silent: str) -> Member:
        over = member.over or _Over(None, None, silent)
        return Member(member.number, member.process.pid, over.released_ns, over.result, over.error)


# --- the member's side ------------------------------------------------------------------------------------------


class _Gate:
    """The barrier as a member sees it. A thread listens to the fleet all the time, so that its death is noticed."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._go = threading.Event()
        self._at_ns = 0
        self.released_ns: int | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self) -> int:
        """Say that this member is held; block until the release; the monotonic ns at which it went."""
        if self.released_ns is not None:
            raise RuntimeError("the barrier opens once")
        self._pipe.send(_Held())
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
                if isinstance(message, _Go):
                    self._at_ns = message.at_ns
                    self._go.set()
        except (EOFError, OSError):
            os._exit(1)  # the fleet is gone: nobody waits for a result, and the work may block for ever


def _main(number: int, pipe: Pipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    gate: _Gate | None = None
    try:
        work, payload = pipe.recv()
        gate = _Gate(pipe)
        over = _Over(None, work(number, payload, gate.wait), "")
    except EOFError:
        return
    except BaseException as error:  # whatever it is, it is the fleet that says what became of its member
        over = _Over(None, None, f"{type(error).__name__}: {error}")
    released_ns = gate.released_ns if gate else None
    try:
        pipe.send(_Over(released_ns, over.result, over.error))
    except OSError:
        return
    except Exception as error:  # pickle raises what it likes
        pipe.send(_Over(released_ns, None, f"its result cannot be pickled: {error}"))
