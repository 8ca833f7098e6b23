"""A fault as a value, and what it can strike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
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
        """The processes that take connections, without one that only looks after the others; by pid."""
        if self.live.pid is None:
            return []
        below = [process for process in children(self.live.pid, recursive=True) if alive(process)]
        listening = [process for process in below if _listens(process, self.live.endpoint.port)]
        if listening or self.live.service is None or self.live.service.has_ended:
            return sorted(listening, key=lambda process: process.pid)
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
    """What a fault has struck so far."""

    processes: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections("tcp")
        )
    except psutil.Error:
        return False
