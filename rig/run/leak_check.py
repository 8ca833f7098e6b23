"""What lies around before a run and after it: processes, directories, connections; and whether its clock went on.

It looks and writes down; ``rig.checks.surroundings`` judges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil
import psycopg

from rig.errors import Unavailable
from rig.evidence.case import WALL_CLOCK, Finding
from rig.machine.supervisor import Supervisor, leftovers
from rig.target.endpoint import Endpoint
from rig.target.http_probe import HttpProbe
from rig.truth.quiesce import AT_WORK

_CONNECT_TIMEOUT_S = 1.0
_BACK_WITHIN_S = 2.0
_POLL_S = 0.05
_STEP_S = 1.0
"""Between two looks at the clock: slewing, 0.05 % at most, needs half an hour for it."""
_CONNECTIONS = """
SELECT a.pid, coalesce(a.state, '?') FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.application_name NOT LIKE 'rig-%'"""
"""The server hides kind and state of other roles' sessions from a role without ``pg_monitor``, but not that they are
there, nor their locks."""
_OPEN = f"\nAND EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND {AT_WORK})"


def look_before() -> list[Finding]:
    """Processes that an earlier run left."""
    found = leftovers()
    detail = ", ".join(f"{process.pid} ({process.name})" for process in found[:5])
    return [Finding("before", "processes of an earlier run", not found, detail)]


def look_after(supervisor: Supervisor, endpoint: Endpoint | None, database_port: int | None = None) -> list[Finding]:
    """What this run has left although everything was stopped.

    ``endpoint`` is a target that the rig launched, ``database_port`` that of a server of its own.
    """
    running = supervisor.processes()
    zombies = [child.pid for child in psutil.Process().children() if _is_zombie(child)]
    findings = [
        _finding("processes of this run", [f"{process.pid} ({process.name})" for process in running]),
        _finding("zombies", [str(pid) for pid in zombies]),
        _finding("temporary directories", [str(path) for path in supervisor.directories() if path.exists()]),
    ]
    if endpoint is not None:
        findings.append(_finding("the target's port", [str(endpoint.port)] if _listens(endpoint) else []))
    if database_port is not None:
        listens = _listens(Endpoint("127.0.0.1", database_port))
        findings.append(_finding("the database's port", [str(database_port)] if listens else []))
    return findings


class Connections:
    """Looks at the connections of a target to its database before it starts, and again when it is over.

    ``launched``: the rig starts and stops the target, so none may be left; one that goes on may keep a pool, but
    nothing open in it. Unavailable where the database cannot be asked at first.
    """

    def __init__(self, dsn: str, *, launched: bool) -> None:
        self._dsn = dsn
        self._query = _CONNECTIONS if launched else _CONNECTIONS + _OPEN
        try:
            self._baseline = len(self._sessions())
        except psycopg.Error as error:
            raise Unavailable(f"the database cannot be asked for its connections: {str(error).strip()}") from None

    def look_again(self) -> Finding:
        """Whether they are back at the baseline; a backend takes a moment to notice that its client is gone."""
        deadline = time.monotonic() + _BACK_WITHIN_S
        try:
            while len(left := self._sessions()) > self._baseline and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        except psycopg.Error:
            return Finding("after", "connections to the database", False, "the database does not answer")
        found = [f"{pid} ({state})" for pid, state in left]
        detail = f"{len(left)}, before {self._baseline}: {', '.join(found[:5])}" if left else ""
        return Finding("after", "connections to the database", len(left) <= self._baseline, detail)

    def _sessions(self) -> list[tuple[int, str]]:
        with psycopg.connect(self._dsn, connect_timeout=5, application_name="rig-hygiene") as connection:
            return connection.execute(self._query).fetchall()


class WallClock:
    """Looks at the wall clock when it is made, and again when the run is over: was it stepped meanwhile?

    Durations are the monotonic clock's. But a signature carries the time of day, and a target refuses an old one: what
    it answers after a step says nothing of it.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._ahead_s = wall() - monotonic()

    def look_again(self) -> Finding:
        """Whether it went on as the monotonic clock did."""
        step_s = self._wall() - self._monotonic() - self._ahead_s
        stepped = abs(step_s) >= _STEP_S
        return Finding("after", WALL_CLOCK, not stepped, f"stepped by {step_s:+.1f} s" if stepped else "")


def _finding(what: str, left: Sequence[str]) -> Finding:
    return Finding("after", what, not left, ", ".join(left[:5]))


def _listens(endpoint: Endpoint) -> bool:
    return HttpProbe(endpoint, _CONNECT_TIMEOUT_S).connect().status == 200


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
