"""What the samplers saw, as frames: names, columns, units. No I/O.

Every time is a monotonic nanosecond, the clock of the history. A frame is empty where nothing was gathered. A text that
is not there is ``""``, a number ``NaN`` (or 0 for ``query_id``). Rows lie in the order of ``at_ns``.

What one tick saw is a look, not a duration: count sessions with ``rig.diagnose.aas`` (average active sessions) and
processors' time with ``rig.diagnose.cpu``; shares of samples mislead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

COLUMNS: Mapping[str, Mapping[str, str]] = {
    # One row per tick of a sampler. ``missed``: ticks that had to be left out before this one.
    "ticks": {"sampler": "text", "at_ns": "int64", "took_ns": "int64", "missed": "int64"},
    # Times in which a sampler saw nothing, and why: the database restarted, refused, did not answer.
    "gaps": {"sampler": "text", "at_ns": "int64", "until_ns": "int64", "reason": "text"},
    # One row per tick of pg_activity: sessions of the target's database by what they did. ``background``: processes of
    # the server itself that did something; ``hidden``: sessions whose state this role may not see; ``elsewhere``:
    # sessions at work in other databases of the server.
    "sessions": {
        "at_ns": "int64",
        "active": "int64",
        "idle": "int64",
        "idle_in_transaction": "int64",
        "background": "int64",
        "hidden": "int64",
        "elsewhere": "int64",
    },
    # One row per tick and session that is not idle, and per background process that did something. ``wait_event`` is
    # empty for one that waits for nothing: it is on a processor, or wants to be.
    "activity": {
        "at_ns": "int64",
        "pid": "int64",
        "backend_type": "text",
        "application_name": "text",
        "usename": "text",
        "state": "text",
        "wait_event_type": "text",
        "wait_event": "text",
        "query_id": "int64",
        "xact_age_s": "float64",
    },
    # Once a second: connections to the server by role, application and state; idle ones too.
    "connections": {
        "at_ns": "int64",
        "usename": "text",
        "application_name": "text",
        "state": "text",
        "count": "int64",
    },
    # Who waits for a lock that whom holds, asked (at most five times a second) when something waits for one.
    # ``waited_s``: how long so far; queries without their literals.
    "blocking": {
        "at_ns": "int64",
        "pid": "int64",
        "blocking_pid": "int64",
        "waited_s": "float64",
        "locktype": "text",
        "mode": "text",
        "relation": "text",
        "query": "text",
        "blocking_query": "text",
        "blocking_state": "text",
        "blocking_application_name": "text",
        "blocking_xact_age_s": "float64",
    },
    # Once a second: locks of the target's database by kind and mode.
    "locks": {"at_ns": "int64", "locktype": "text", "mode": "text", "granted": "bool", "count": "int64"},
    # Once a second (statements: every fifth): by how much a counter of a statistics view grew; what stood still is left
    # out. ``item`` is what a view has several rows of: backend type/object/context (pg_stat_io), the query id
    # (pg_stat_statements). Units are the view's: times in milliseconds.
    "counters": {"at_ns": "int64", "source": "text", "item": "text", "counter": "text", "delta": "float64"},
    # The text of the statements that took the most time, without literals; written at the end.
    "statements": {"at_ns": "int64", "query_id": "int64", "query": "text"},
    # Once per process of a role: ``ns_pid`` is its pid as itself sees it (the one that PostgreSQL speaks of),
    # ``started_ns`` when it was started. It ended when its rows in ``pids`` end before the sampler's ticks do.
    "processes": {
        "at_ns": "int64",
        "pid": "int64",
        "ns_pid": "int64",
        "ppid": "int64",
        "role": "text",
        "name": "text",
        "started_ns": "int64",
    },
    # Five times a second and process. CPU seconds since its start, its own (``cpu_s`` is finer than the sum of user and
    # system, which count in hundredths, where it has one thread) and (``reaped_…``) of children that it has waited for;
    # ``run_delay_s``: how long its main thread was ready and got no core. ``fds`` is -1 where they may not be counted,
    # ``written_bytes`` (to files, at the moment when the pages became dirty) where it may not be read or no one asked.
    # ``state`` is the kernel's letter at that moment: R runs or wants to, S sleeps, D is blocked on a disk.
    "pids": {
        "at_ns": "int64",
        "pid": "int64",
        "role": "text",
        "cpu_s": "float64",
        "user_s": "float64",
        "system_s": "float64",
        "reaped_user_s": "float64",
        "reaped_system_s": "float64",
        "run_delay_s": "float64",
        "rss_bytes": "int64",
        "threads": "int64",
        "fds": "int64",
        "voluntary": "int64",
        "involuntary": "int64",
        "written_bytes": "int64",
        "state": "text",
    },
    # Once a second: connections that a process of the target holds on the target's port.
    "sockets": {"at_ns": "int64", "pid": "int64", "established": "int64"},
    # Five times a second: seconds since boot, summed over all cores; ``throttled_s`` was taken by a CPU quota.
    "machine": {
        "at_ns": "int64",
        "user_s": "float64",
        "system_s": "float64",
        "idle_s": "float64",
        "iowait_s": "float64",
        "steal_s": "float64",
        "throttled_s": "float64",
    },
}
"""Every frame, its columns and their types."""


def empty(table: str) -> pd.DataFrame:
    """A frame without rows."""
    return with_types(table, [])


def with_types(table: str, rows: list[tuple[Any, ...]] | pd.DataFrame) -> pd.DataFrame:
    """Rows of raw values as a frame of the right types. ValueError where they are not of this table."""
    columns = COLUMNS[table]
    frame = pd.DataFrame(rows, columns=list(columns))
    for name, kind in columns.items():
        if kind == "text":
            frame[name] = frame[name].fillna("").astype(str)
        elif kind == "int64":
            frame[name] = frame[name].fillna(0).astype("int64")
        else:
            frame = frame.astype({name: kind})
    return frame


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerReport:
    """What a sampler says of itself.

    ``failure`` is empty for one that came to its own end; ``unseen`` names what it could not see; ``facts`` what it
    found out once (limits of the server, cores). CPU in seconds over ``wall_s``; PostgreSQL's own work for it is not in
    it.
    """

    name: str
    hz: float = 0.0
    ticks: int = 0
    missed: int = 0
    wall_s: float = 0.0
    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    max_rss_bytes: int = 0
    unseen: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def missed_share(self) -> float:
        """Share of the ticks that were due and had to be left out."""
        due = self.ticks + self.missed
        return self.missed / due if due else 0.0

    @property
    def cores(self) -> float:
        """Share of one core that it used."""
        return (self.cpu_user_s + self.cpu_system_s) / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True)
class Samples:
    """All frames of a run (columns: ``COLUMNS``) and a report of each sampler; empty where nothing was sampled."""

    ticks: pd.DataFrame = field(default_factory=partial(empty, "ticks"))
    gaps: pd.DataFrame = field(default_factory=partial(empty, "gaps"))
    sessions: pd.DataFrame = field(default_factory=partial(empty, "sessions"))
    activity: pd.DataFrame = field(default_factory=partial(empty, "activity"))
    connections: pd.DataFrame = field(default_factory=partial(empty, "connections"))
    blocking: pd.DataFrame = field(default_factory=partial(empty, "blocking"))
    locks: pd.DataFrame = field(default_factory=partial(empty, "locks"))
    counters: pd.DataFrame = field(default_factory=partial(empty, "counters"))
    statements: pd.DataFrame = field(default_factory=partial(empty, "statements"))
    processes: pd.DataFrame = field(default_factory=partial(empty, "processes"))
    pids: pd.DataFrame = field(default_factory=partial(empty, "pids"))
    sockets: pd.DataFrame = field(default_factory=partial(empty, "sockets"))
    machine: pd.DataFrame = field(default_factory=partial(empty, "machine"))
    reports: tuple[SamplerReport, ...] = ()

    def report(self, name: str) -> SamplerReport | None:
        """The report of one sampler, None where it was not started."""
        return next((report for report in self.reports if report.name == name), None)
