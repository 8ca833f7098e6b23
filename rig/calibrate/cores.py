"""Which cores the client, the server and the database run on: apart, if there are enough.

``plan_cores`` is pure arithmetic on the cores that this process may use. ``confine`` pins a process that runs already,
and its children. Client workers and stubs are pinned by the code that starts them; the rig's own process and the
samplers are not pinned. With fewer than four cores nothing is: each of the three needs a core of its own. The plan says
what it could not separate.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from rig.text import counted

LEAST_CORES = 4


@dataclass(frozen=True, slots=True)
class CorePlan:
    """The cores of each, empty where they share all; ``not_separated`` says what could not be separated."""

    client: tuple[int, ...] = ()
    server: tuple[int, ...] = ()
    database: tuple[int, ...] = ()
    not_separated: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """For the fingerprint."""
        return {
            "client": list(self.client),
            "server": list(self.server),
            "database": list(self.database),
            "not_separated": list(self.not_separated),
        }

    def without(self, what: str) -> CorePlan:
        """The same plan, with one more thing that could not be separated."""
        return CorePlan(self.client, self.server, self.database, (*self.not_separated, what))


def plan_cores(cores: Collection[int], workers: int) -> CorePlan:
    """Share out ``cores``: one for each of the client's ``workers``, at most half of all; half of the rest for the
    database; what is left for the server, whose processes have more to do.
    """
    ordered = sorted(cores)
    if len(ordered) < LEAST_CORES:
        return CorePlan(not_separated=(f"client, server and database share {counted(len(ordered), 'core')}",))
    client = min(workers, len(ordered) // 2)
    database = (len(ordered) - client) // 2
    server = len(ordered) - client - database
    shared = (f"{workers} client workers share {client} cores",) if workers > client else ()
    return CorePlan(
        tuple(ordered[:client]), tuple(ordered[client : client + server]), tuple(ordered[client + server :]), shared
    )


def plan_of_this_machine(workers: int) -> CorePlan:
    """The plan for the cores that this process may use; nothing is pinned where the system cannot do it."""
    if not hasattr(os, "sched_getaffinity"):
        return CorePlan(not_separated=("client, server and database: this system pins no process",))
    return plan_cores(os.sched_getaffinity(0), workers)


def confine(pid: int, cores: Collection[int]) -> bool:
    """Pin a process and its children, also later ones, to some cores; nothing happens where ``cores`` is empty.

    False where this user may not: for another user's process it takes CAP_SYS_NICE, which root in a container may lack.
    """
    if not cores:
        return True
    try:
        with suppress(psutil.NoSuchProcess):  # it has ended, which its owner will report
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    each.cpu_affinity(list(cores))
    except psutil.AccessDenied:
        return False
    return True
