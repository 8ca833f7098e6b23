"""Processes that prepare, wait for each other, start at one instant and report: spawned, listened to, surely ended.

Flow: a ``ProcessFleet`` spawns its members, each at the other end of a pipe. A member sends ``Ready`` once it has
prepared, waits for ``Go``, may send ``Progress``, and ends with ``MemberResult`` or ``MemberFailure``. A member that
dies, or that its user gives up, is lost: it has a reason in place of a result, and nobody waits for it any longer.

What a member does is its user's part: the engine's pool keeps its members for many scenario runs, a storm's fleet runs
one function once. Every member imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any, Self

_STOP_S = 5.0
"""How long a member may take to end once its pipe is closed."""
_REAP_S = 2.0
"""How long a member whose pipe has ended may take to end itself: its exit code says why it is lost."""


# --- what goes through the pipe ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """From a member: it has prepared and waits at the barrier."""


@dataclass(frozen=True, slots=True)
class Go:
    """To a member: start at this instant of the monotonic clock."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Abort:
    """To a member: stop at once and report."""


@dataclass(frozen=True, slots=True)
class Progress:
    """From a member: how much it has done so far."""

    count: int


@dataclass(frozen=True, slots=True)
class MemberResult:
    """From a member: its result. ``released_ns`` is when it went on from the barrier, where it says so."""

    result: Any
    released_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MemberFailure:
    """From a member, or about one that is lost: why there is no result."""

    reason: str
    released_ns: int | None = None


def ignore_interrupts() -> None:
    """For a member: Ctrl-C reaches every process of a terminal's group, but only the fleet's owner acts on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


# --- the fleet's side -------------------------------------------------------------------------------------------------


@dataclass
class FleetMember:
    """One member as its fleet sees it, wherever it runs."""

    number: int
    is_ready: bool = field(default=False, kw_only=True)
    progress: int = field(default=0, kw_only=True)
    end: MemberResult | MemberFailure | None = field(default=None, kw_only=True)


@dataclass
class FleetProcess(FleetMember):
    """A member that is a process of this machine."""

    process: SpawnProcess
    pipe: Pipe


class ProcessFleet:
    """``size`` spawned processes that run ``main(pipe)``; a context manager that ends them.

    ``cores``: the only ones that the members may run on; empty for all that this process may use.
    """

    def __init__(self, size: int, main: Callable[[Pipe], None], name: str, cores: Collection[int] = ()) -> None:
        if size < 1:
            raise ValueError(f"{name} needs at least one process")
        self.size = size
        self._main = main
        self._name = name
        self._cores = tuple(cores)
        self.members: list[FleetProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.pipe.close()
        deadline = time.monotonic() + _STOP_S
        for member in self.members:
            member.process.join(max(0.0, deadline - time.monotonic()))
            if member.process.is_alive():
                self.kill(member.number)
                member.process.join()
            member.process.close()
        self.members = []

    @property
    def pids(self) -> list[int]:
        """Process ids of the members, by number."""
        return [member.process.pid or 0 for member in self.members]

    def spawn(self) -> None:
        """Start all processes."""
        self.members = [self._spawn_member(number) for number in range(self.size)]

    def renew(self) -> dict[int, str]:
        """Make all members ready for another assignment. Who is dead or failed gets a fresh process in its place.

        Says, by number, how those died that nobody had lost yet.
        """
        died = {}
        for number, member in enumerate(self.members):
            if member.process.is_alive() and not isinstance(member.end, MemberFailure):
                self.members[number] = FleetProcess(number, member.process, member.pipe)
                continue
            member.pipe.close()
            self.kill(number)
            member.process.join()
            if not isinstance(member.end, MemberFailure):
                died[number] = _describe_exit(member.process.exitcode)
            self.members[number] = self._spawn_member(number)
        return died

    def send(self, member: FleetProcess, message: object) -> None:
        """Send a message to a member. It is lost where its pipe is closed."""
        try:
            member.pipe.send(message)
        except OSError:
            self.lose(member)

    def send_all(self, message: object) -> None:
        """Send a message to every member that has not ended."""
        for member in self.members:
            if member.end is None:
                self.send(member, message)

    def listen(
        self, timeout_s: float, *, until_ready: bool = False, on_message: Callable[[], None] = lambda: None
    ) -> list[FleetProcess]:
        """Take messages until every member has ended, or is ready where that is enough.

        Returns those that have not after ``timeout_s``. ``on_message`` is called after each round of messages.
        """
        deadline = time.monotonic() + timeout_s
        while pending := [m for m in self.members if m.end is None and not (until_ready and m.is_ready)]:
            left_s = max(0.0, deadline - time.monotonic())
            by_pipe: dict[Any, FleetProcess] = {member.pipe: member for member in pending}
            events: list[Any] = wait(list(by_pipe), left_s)
            for event in events:
                self._take(by_pipe[event])
            if events:
                on_message()
            elif left_s <= 0:
                break
        return pending

    def lose(self, member: FleetProcess, reason: str = "") -> None:
        """Wait for a member no longer. The reason is how its process ended, unless one is given."""
        member.process.join(_REAP_S)
        member.end = MemberFailure(reason or _describe_exit(member.process.exitcode))

    def kill(self, number: int) -> None:
        """SIGKILL the member and all that it started."""
        self._signal(number, signal.SIGKILL)

    def stop(self, number: int) -> None:
        """SIGSTOP the member and all that it started: they stand still and keep what they hold."""
        self._signal(number, signal.SIGSTOP)

    def cont(self, number: int) -> None:
        """SIGCONT the member and all that it started."""
        self._signal(number, signal.SIGCONT)

    def _spawn_member(self, number: int) -> FleetProcess:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=self._main, args=(theirs,), name=f"{self._name}-{number}", daemon=True)
        # Blocked across the spawn: a Ctrl-C meant for the rig must not reach a member before it can ignore it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        if self._cores and process.pid is not None:
            os.sched_setaffinity(process.pid, self._cores)
        return FleetProcess(number, process, ours)

    def _take(self, member: FleetProcess) -> None:
        """Receive one message. The end of the pipe is the end of the member: only it holds the other side."""
        try:
            message = member.pipe.recv()
        except (EOFError, OSError):
            self.lose(member)
            return
        match message:
            case Ready():
                member.is_ready = True
            case Progress(count=count):
                member.progress = count
            case MemberResult() | MemberFailure():
                member.end = message

    def _signal(self, number: int, what: signal.Signals) -> None:
        import psutil  # here, because every member imports this module and only the fleet needs this

        process = self.members[number].process
        if process.pid is None or not process.is_alive():  # not reaped before: the pid is still its own
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            member = psutil.Process(process.pid)
            family = [member, *member.children(recursive=True)]  # listed first: orphans are nobody's children
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(what)


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "fell silent and goes on"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code} and no result"
