"""A fault as a value, and what it can strike."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from random import Random

import psutil
from psycopg.conninfo import conninfo_to_dict

from rig.machine.processes import alive, children
from rig.machine.supervisor import Supervisor
from rig.profile import Profile
from rig.target.launch import LiveTarget
from rig.target.relay import Relay
from rig.target.store import Store

_LOOKS, _LOOK_S = 32, 0.5
"""Connections that are opened to see which processes get them, and how long that may take."""


@dataclass(frozen=True)
class ChaosTarget:
    """What the rig has a hand on: processes, database, the ways between them. The ways may be missing.

    ``launch_env`` is the environment to start the service with. ``allowed``: faults that may strike what the rig did
    not start, because profile and command line both name them.
    """

    profile: Profile
    store: Store
    live: LiveTarget
    supervisor: Supervisor
    words: Mapping[str, str]
    """What the placeholders of commands mean."""
    launch_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowed: frozenset[str] = frozenset()
    sender_way: Relay | None = None
    database_way: Relay | None = None

    @property
    def runtime_role(self) -> str:
        """The role whose sessions are the service's; empty where nobody said which."""
        return str(conninfo_to_dict(self.store.runtime_dsn).get("user", "")) if self.store.runtime_dsn else ""

    def serving(self) -> list[psutil.Process]:
        """The processes that get connections, without one that only looks after the others; by pid.

        They listen at the port. Under some servers (Node's cluster) only the first process does, and hands connections
        on to others.
        """
        if self.live.pid is None:
            return []
        below = [process for process in children(self.live.pid, recursive=True) if alive(process)]
        at_port = [process for process in below if 0 in _peers(process, self.live.endpoint.port)]
        if below and not at_port:
            at_port = _find_by_connecting(self.live.endpoint.connect_to[0], below)
        if at_port or self.live.service is None or self.live.service.has_ended:
            return sorted(at_port, key=lambda process: process.pid)
        return [psutil.Process(self.live.pid)]

    def all_processes(self) -> list[psutil.Process]:
        """Every process of the service."""
        if self.live.service is None or self.live.service.has_ended:
            return []
        return [psutil.Process(self.live.service.pid), *children(self.live.service.pid, recursive=True)]

    def revive(self) -> str:
        """Start the service again where it has ended; what was done, in words."""
        if self.live.service is None or not self.live.service.has_ended:
            return ""
        self.live.service.start(self.launch_env)
        return "the service had ended and was started again"


@dataclass
class Struck:
    """What a fault has struck so far. ``has_crashed``: the kernel killed a process, which not every such fault does.

    ``is_relaunched``: the service did not come back from it by itself, and the rig launched it again.
    """

    processes: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_crashed: bool = False
    is_relaunched: bool = False


Strike = Callable[[ChaosTarget, Random], AbstractContextManager[Struck]]
"""Entering strikes, leaving heals. What outlives the rig is registered with the supervisor before it is changed."""


@dataclass(frozen=True)
class Fault:
    """One fault: ``strike`` says how; ``missing`` why the rig has no hand on it, empty where it has.

    ``for_s``: how long it lasts, shortest and longest. ``is_crash``: memory that was not on disk is lost.
    """

    name: str
    story: str
    missing: Callable[[ChaosTarget], str]
    strike: Strike
    for_s: tuple[float, float] = (0.5, 1.5)
    is_crash: bool = False


def _find_by_connecting(address: tuple[str, int], processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that get connections to the address: many are opened until each is with one of them."""
    found: list[psutil.Process] = []
    with ExitStack() as stack:
        ours = set()
        with suppress(OSError):  # it takes no more of them
            for _ in range(_LOOKS):
                ours.add(stack.enter_context(socket.create_connection(address, _LOOK_S)).getsockname()[1])
        deadline = time.monotonic() + _LOOK_S
        while ours and time.monotonic() < deadline:
            held = {process: _peers(process, address[1]) & ours for process in processes}
            found = [process for process, peers in held.items() if peers]
            if set().union(*held.values()) == ours:
                break
    return found


def _peers(process: psutil.Process, port: int) -> set[int]:
    """The far ports of the connections that came in at a port of a process; 0 for one that listens there."""
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return set()
    return {each.raddr.port if each.raddr else 0 for each in found if each.laddr.port == port}
