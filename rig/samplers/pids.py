"""What every process of a role costs, five times a second: ``python -m rig.samplers.pids``.

Flow: once a second the machine's processes are searched for new ones with a role (``roles``). At every tick the
counters of the known ones are read (``procfs``), and the machine's own. The CPU that a process used between its last
tick and its end is in its parent's counters of waited-for children, so these are written down, too
(``rig.diagnose.cpu`` adds it up). Processes without a role are read once a second, for their names only.

PostgreSQL's processes are found through the backend that serves the other sampler: its parent is the postmaster. This
also finds a server in another PID namespace (NSpid). A server on another machine is reported as unseen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rig.evidence.journal import Journal
from rig.evidence.sample_names import Role
from rig.machine.cgroup import CpuGroup
from rig.samplers import procfs
from rig.samplers.loop import NS, main
from rig.samplers.procfs import Birth, Gone, ProcessFiles
from rig.samplers.roles import Roles, Rule, rules_from
from rig.samplers.sockets import count_connections, inodes_of

_LOOKS = 3
"""How often a process without a role is examined: it may not have replaced its parent's program yet."""
_SAME_START_S = 2.0
_OTHERS_COST = 100
"""Reading the processes without a role may take one part in this many of the time."""


@dataclass(slots=True)
class _WatchedProcess:
    pid: int
    role: str
    files: ProcessFiles
    over: bool = False


class Pids:
    """The sampler (``rig.samplers.loop.Sampler``)."""

    def __init__(self, roles: Roles, server: PostgresProcesses | None, hz: float, journal: Journal) -> None:
        self._roles = roles
        self._server = server
        self._ticks_a_second = max(1, round(hz))
        self._journal = journal
        self._watched: dict[int, _WatchedProcess] = {}
        self._looked_at: dict[int, int] = {}
        self._ever: set[str] = set()
        self._unseen: dict[str, None] = {}
        self._machine = procfs.MachineFile()
        self._group = CpuGroup.of_this_process()
        self._throttled_s = 0.0
        self._boot_ns = time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._others: dict[Birth, float] = {}
        self._others_ns = self._others_due_ns = 0
        self._scan()

    @property
    def facts(self) -> Mapping[str, Any]:
        quota = self._group.quota_cores()
        return {
            "cores": os.cpu_count(),
            "quota_cores": quota,
            "postgres_found": bool(self._server and self._server.found),
        }

    @property
    def unseen(self) -> tuple[str, ...]:
        missing = [f"processes of the role {role!r}: none was found" for role in self._wanted_roles() - self._ever]
        if self._server is not None and not self._server.found:
            missing.append(
                "CPU of the database: its processes are not among those of this machine (it runs on another one, or in "
                "a container whose processes are hidden)"
            )
        return (*missing, *self._unseen)

    def tick(self, number: int) -> None:
        if number % self._ticks_a_second == 0 and number:
            self._scan()
            self._count_sockets()
            self._throttled_s = max(self._throttled_s, self._group.throttled_s())  # 0 where it cannot be read
        self._read()

    def finish(self) -> None:
        with suppress(OSError):
            self._read_others(procfs.pids())
        self._read()

    # --- every tick ---

    def _read(self) -> None:
        at_ns = time.monotonic_ns()
        self._journal.add("machine", at_ns, [(*self._machine.read(), self._throttled_s)])
        rows = []
        for watched in list(self._watched.values()):
            try:
                reading = watched.files.read()
            except Gone:
                self._forget(watched)
                continue
            if not watched.over:
                watched.over = reading.zombie  # its counters are final: they are written once
                rows.append((watched.pid, watched.role, *reading))
        self._journal.add("pids", at_ns, rows)

    def _forget(self, watched: _WatchedProcess) -> None:
        watched.files.close()
        self._roles.forget(watched.pid)
        del self._watched[watched.pid]

    # --- once a second ---

    def _scan(self) -> None:
        """Find new processes. Where that fails, the known ones are still followed."""
        try:
            present = procfs.pids()
            self._find(present)
            self._read_others(present)
        except OSError as error:
            self._unseen[f"processes that started during the run: {error.strerror or error}"] = None

    def _read_others(self, present: set[int]) -> None:
        """Write by how much the CPU time of the processes without a role grew, so that a busy stranger has a name."""
        at_ns = time.monotonic_ns()
        if at_ns < self._others_due_ns:
            return
        before, self._others = self._others, {}
        for pid in present - self._watched.keys():
            with suppress(Gone, OSError):
                birth, cpu_s = procfs.birth_and_cpu_s(pid)
                self._others[birth] = cpu_s
        # One that began since the last reading used all of its CPU since then.
        grown = {birth: cpu_s - before.get(birth, 0.0) for birth, cpu_s in self._others.items()} if before else {}
        rows = [(self._others_ns, birth.pid, birth.name, cpu_s) for birth, cpu_s in grown.items() if cpu_s > 0]
        self._journal.add("others", at_ns, rows)
        self._others_ns = at_ns
        self._others_due_ns = at_ns + _OTHERS_COST * (time.monotonic_ns() - at_ns)

    def _find(self, present: set[int]) -> None:
        """Find new processes, the oldest first: a child's role is its parent's."""
        self._looked_at = {pid: looks for pid, looks in self._looked_at.items() if pid in present}
        births = []
        for pid in present - self._watched.keys():
            looks = self._looked_at.get(pid, 0)
            if looks < _LOOKS:
                self._looked_at[pid] = looks + 1
                try:
                    births.append(procfs.birth(pid))
                except Gone:
                    continue
        if self._server is not None and not self._server.alive:
            for rule in self._server.look(births, self._boot_ns):
                self._roles.add(rule)
        for birth in sorted(births, key=lambda birth: (birth.started_s, birth.pid)):
            try:
                self._follow(birth)
            except Gone:
                continue

    def _follow(self, birth: Birth) -> None:
        role = self._roles.assign(birth.pid, birth.ppid, birth.session, procfs.command(birth.pid))
        if role is None:
            if self._roles.awaits(birth.ppid):
                self._looked_at.pop(birth.pid, None)
            return
        try:
            files = ProcessFiles(birth.pid, writes=role == Role.SERVER)
        except PermissionError:
            self._unseen[f"processes of the role {role!r}: this user may not read their counters"] = None
            return
        except OSError as error:
            self._unseen[f"some processes of the role {role!r}: {error.strerror or error}"] = None
            return
        self._watched[birth.pid] = _WatchedProcess(birth.pid, role, files)
        self._looked_at.pop(birth.pid, None)
        self._ever.add(role)
        started_ns = int(birth.started_s * NS) + self._boot_ns
        row = (birth.pid, procfs.innermost_pid(birth.pid), birth.ppid, role, birth.name, started_ns)
        self._journal.add("processes", time.monotonic_ns(), [row])

    def _count_sockets(self) -> None:
        holders = {}
        try:
            for watched in self._watched.values():
                if watched.role == Role.SERVER and not watched.over:
                    try:
                        holders[watched.pid] = inodes_of(watched.pid)
                    except (FileNotFoundError, ProcessLookupError):
                        continue
            if holders:
                self._journal.add("sockets", time.monotonic_ns(), list(count_connections(holders).items()))
        except OSError as error:
            self._unseen[f"how connections spread over the server's processes: {error.strerror or error}"] = None

    def _wanted_roles(self) -> set[str]:
        return {rule.role for rule in self._roles.rules}


class PostgresProcesses:
    """Finds PostgreSQL's processes: first through one backend, after a restart by the postmaster's command line."""

    def __init__(self, backend_pid: int, backend_started_unix: float) -> None:
        self._backend_pid = backend_pid
        self._started_unix = backend_started_unix
        self._postmaster: int | None = None
        self._command = ""

    @property
    def found(self) -> bool:
        return self._postmaster is not None

    @property
    def alive(self) -> bool:
        """Whether the postmaster lives."""
        try:
            return self._postmaster is not None and procfs.command(self._postmaster) == self._command
        except Gone:
            return False

    def look(self, births: list[Birth], boot_ns: int) -> list[Rule]:
        """Rules for the postmaster and the sampler's own backend, empty where they are not among the processes."""
        for birth in births:
            if not birth.name.startswith("postgres"):
                continue
            try:
                if self._command and procfs.command(birth.pid) == self._command:
                    self._postmaster = birth.pid
                    return [Rule(Role.AUXILIARY, (birth.pid,))]
                if not self._command and self._is_backend(birth, boot_ns):
                    self._postmaster, self._command = birth.ppid, procfs.command(birth.ppid)
                    return [Rule(Role.SAMPLER_BACKEND, (birth.pid,)), Rule(Role.AUXILIARY, (birth.ppid,))]
            except Gone:
                continue
        return []

    def _is_backend(self, birth: Birth, boot_ns: int) -> bool:
        """A pid may belong to another process in another namespace, so the start must be the same, too."""
        to_unix_ns = time.time_ns() - time.monotonic_ns()
        started_unix = (birth.started_s * NS + boot_ns + to_unix_ns) / NS
        same_start = abs(started_unix - self._started_unix) < _SAME_START_S
        return same_start and procfs.innermost_pid(birth.pid) == self._backend_pid


def make(options: Mapping[str, Any], journal: Journal) -> Pids:
    """From the options of ``rig.samplers.sampling``."""
    rules = (*rules_from(options["rules"]), Rule(Role.SAMPLER, (os.getpid(), *options["samplers"])))
    backend = options["backend"]
    server = PostgresProcesses(int(backend["pid"]), float(backend["started_unix"])) if backend else None
    aside = frozenset(options["aside"])
    return Pids(Roles(rules, aside), server, float(options["hz"]), journal)


if __name__ == "__main__":
    sys.exit(main(make))
