"""The leak check: what a run leaves behind (processes, directories, ports, connections), and whether the clock was set.

It only looks; ``rig.checks.surroundings`` judges.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

import psutil
import psycopg

from rig.errors import Unavailable
from rig.evidence.case import WALL_CLOCK, Finding
from rig.machine.abandoned import left_directories, leftovers
from rig.machine.orphans import may_be_adopted
from rig.machine.supervisor import Supervisor
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.target.postgres.connection import connect
from rig.truth.quiesce import AT_WORK

_log = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 1.0
_BACK_WITHIN_S = 2.0
_POLL_S = 0.05
_ENDING_S = 0.1
_STEP_S = 1.0
"""A difference that only setting the clock makes: slewing, 0.05 % at most, needs half an hour for it."""
_CONNECTIONS = """
SELECT a.pid, coalesce(a.state, '?') FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.application_name NOT LIKE 'rig-%'"""
"""Without ``pg_monitor`` a role does not see kind and state of other roles' sessions. It does see the sessions
themselves, and their locks."""
_OPEN = f"\nAND EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND {AT_WORK})"


def look_before() -> list[Finding]:
    """Processes that an earlier run left, and folders of one that was killed together with its reaper."""
    found, folders = leftovers(), left_directories()
    if folders:
        _log.warning("an earlier run was killed together with its reaper; remove %s", ", ".join(map(str, folders)))
    detail = ", ".join(f"{process.pid} ({process.name})" for process in found[:5])
    return [Finding("before", "processes of an earlier run", not found, detail)]


def look_after(supervisor: Supervisor, ports: Iterable[tuple[str, int]] = ()) -> list[Finding]:
    """What this run has left although everything was stopped. ``ports`` (what each is, its number) must be free."""
    running = supervisor.processes()
    zombies = [child.pid for child in psutil.Process().children() if _is_zombie(child)]
    return [
        _finding("processes of this run", [f"{process.pid} ({process.name})" for process in running]),
        _finding("zombies", [str(pid) for pid in zombies if not may_be_adopted(pid)]),
        _finding("temporary directories", [str(path) for path in supervisor.directories() if path.exists()]),
        _finding("shared memory", [f"segment {segment}" for segment in supervisor.shared_memory()]),
        *(_finding(what, [str(port)] if _is_listening(port) else []) for what, port in ports),
    ]


class Connections:
    """Counts the connections to a target's database before the target starts, and again when the run is over.

    ``launched``: the rig starts and stops the target, so no connection may be left. A running target may keep its pool,
    but no open transaction in it. Unavailable where the database cannot be asked at the start.
    """

    def __init__(self, dsn: str, *, launched: bool) -> None:
        self._dsn = dsn
        self._query = _CONNECTIONS if launched else _CONNECTIONS + _OPEN
        try:
            self._baseline = self._count_standing()
        except psycopg.Error as error:
            raise Unavailable(f"the database cannot be asked for its connections: {str(error).strip()}") from None

    def look_again(self) -> Finding:
        """Whether there are as many as before. A backend takes a moment to notice that its client is gone."""
        deadline = time.monotonic() + _BACK_WITHIN_S
        try:
            while len(left := self._sessions()) > self._baseline and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        except psycopg.Error:
            return Finding("after", "connections to the database", False, "the database does not answer")
        found = [f"{pid} ({state})" for pid, state in left]
        detail = f"{len(left)}, before {self._baseline}: {', '.join(found[:5])}" if left else ""
        return Finding("after", "connections to the database", len(left) <= self._baseline, detail)

    def _count_standing(self) -> int:
        """Sessions that stay. One that is just ending would hide one that the run leaves."""
        seen = {pid for pid, _ in self._sessions()}
        if seen:
            time.sleep(_ENDING_S)
            seen &= {pid for pid, _ in self._sessions()}
        return len(seen)

    def _sessions(self) -> list[tuple[int, str]]:
        with connect(self._dsn, "rig-hygiene", 5) as connection:
            return connection.execute(self._query).fetchall()


class WallClock:
    """Notices whether somebody set the wall clock during the run.

    Durations use the monotonic clock. But a signature carries the time of day, and a target refuses an old one: after
    the clock was set, its refusals say nothing about it.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._ahead_s = wall() - monotonic()

    def look_again(self) -> Finding:
        """Whether it advanced as the monotonic clock did."""
        step_s = self._wall() - self._monotonic() - self._ahead_s
        stepped = abs(step_s) >= _STEP_S
        return Finding("after", WALL_CLOCK, not stepped, f"stepped by {step_s:+.1f} s" if stepped else "")


def _finding(what: str, left: Sequence[str]) -> Finding:
    return Finding("after", what, not left, ", ".join(left[:5]))


def _is_listening(port: int) -> bool:
    return HttpProbe(Endpoint("127.0.0.1", port), _CONNECT_TIMEOUT_S).connect().status == 200


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
