"""The samplers' tables: names, columns, units. No I/O.

Every time is in nanoseconds on the monotonic clock of the history. A frame is empty where nothing was sampled. A
missing text is ``""``, a missing number ``NaN`` (0 for ``query_id``). Rows are in the order of ``at_ns``.

A tick sees a moment and no duration. Count sessions with ``rig.diagnose.aas`` (average active sessions) and CPU time
with ``rig.diagnose.cpu``: shares of samples mislead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd


def _columns(spec: str) -> Mapping[str, str]:
    """``name type, name type`` as a mapping."""
    return dict(column.split() for column in spec.split(", "))


COLUMNS: Mapping[str, Mapping[str, str]] = {
    # One row per tick of a sampler. ``missed``: ticks that were left out before this one.
    "ticks": _columns("sampler text, at_ns int64, took_ns int64, missed int64"),
    # Times in which a sampler saw nothing, and why: the database restarted, refused, did not answer.
    "gaps": _columns("sampler text, at_ns int64, until_ns int64, reason text"),
    # One row per tick of pg_activity: sessions of the target's database by state. ``background``: the server's own
    # processes that did something; ``hidden``: sessions whose state this role may not see; ``elsewhere``: active
    # sessions in other databases of the server.
    "sessions": _columns(
        "at_ns int64, active int64, idle int64, idle_in_transaction int64, background int64, hidden int64, "
        "elsewhere int64"
    ),
    # One row per tick and session that is not idle, and per background process that did something. ``wait_event`` is
    # empty where it waits for nothing: it runs on a core, or is ready to.
    "activity": _columns(
        "at_ns int64, pid int64, backend_type text, application_name text, usename text, state text, "
        "wait_event_type text, wait_event text, query_id int64, xact_age_s float64"
    ),
    # Once a second: connections to the server by role, application and state, idle ones included.
    "connections": _columns("at_ns int64, usename text, application_name text, state text, count int64"),
    # Who waits for a lock, and who holds it. Read at most five times a second, while somebody waits. ``waited_s``:
    # how long so far. Queries are without their literals.
    "blocking": _columns(
        "at_ns int64, pid int64, blocking_pid int64, waited_s float64, locktype text, mode text, relation text, "
        "query text, blocking_query text, blocking_state text, blocking_application_name text, "
        "blocking_xact_age_s float64"
    ),
    # Once a second: locks of the target's database by kind and mode.
    "locks": _columns("at_ns int64, locktype text, mode text, granted bool, count int64"),
    # Once a second (statements: every five seconds): how much a counter of a statistics view grew. Counters that did
    # not change are left out. ``item`` names the view's row: backend type/object/context (pg_stat_io), query id
    # (pg_stat_statements). Times are in milliseconds, as in the views.
    "counters": _columns("at_ns int64, source text, item text, counter text, delta float64"),
    # The text of the statements that took the most time, without literals; written at the end.
    "statements": _columns("at_ns int64, query_id int64, query text"),
    # Once per process of a role. ``ns_pid`` is the pid in its own namespace, which PostgreSQL reports too. A process
    # has ended where its rows in ``pids`` end before the sampler's ticks do.
    "processes": _columns("at_ns int64, pid int64, ns_pid int64, ppid int64, role text, name text, started_ns int64"),
    # Five times a second and process. CPU seconds since its start: its own, and (``reaped_…``) those of children that
    # it has waited for. ``user_s`` and ``system_s`` count in hundredths; ``cpu_s`` is finer where it has one thread.
    # ``run_delay_s``: how long its main thread was ready and got no core. ``written_bytes``: to files, counted when
    # the pages became dirty. It and ``fds`` are -1 where they may not be read or were not asked for. ``state`` is the
    # kernel's letter: R runs or is ready to, S sleeps, D is blocked on a disk.
    "pids": _columns(
        "at_ns int64, pid int64, role text, cpu_s float64, user_s float64, system_s float64, reaped_user_s float64, "
        "reaped_system_s float64, run_delay_s float64, rss_bytes int64, threads int64, fds int64, "
        "voluntary int64, involuntary int64, written_bytes int64, state text"
    ),
    # Once a second, or less often on a machine with thousands of processes: CPU seconds that a process without a role
    # used since ``since_ns``. ``name`` is the kernel's, without arguments, which may be secret.
    "others": _columns("at_ns int64, since_ns int64, pid int64, name text, cpu_s float64"),
    # Once a second: connections that a process of the target holds on the target's port.
    "sockets": _columns("at_ns int64, pid int64, established int64"),
    # Five times a second: seconds since boot, summed over all cores; ``throttled_s`` was taken by a CPU quota.
    "machine": _columns(
        "at_ns int64, user_s float64, system_s float64, idle_s float64, iowait_s float64, steal_s float64, "
        "throttled_s float64"
    ),
}
"""Every table, its columns and their types."""


def empty(table: str) -> pd.DataFrame:
    """A frame without rows."""
    return with_types(table, [])


def with_types(table: str, rows: list[tuple[Any, ...]] | pd.DataFrame) -> pd.DataFrame:
    """Raw values as a frame with the types of ``table``. ValueError where they do not fit it."""
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
    """What a sampler reports about itself.

    ``failure`` says why it ended early, ``unseen`` what it could not see. ``facts`` is what it looked up once, such as
    limits of the server. Its CPU, in seconds over ``wall_s``, does not include PostgreSQL's work for its queries.
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
        """The share of the due ticks that it left out."""
        due = self.ticks + self.missed
        return self.missed / due if due else 0.0

    @property
    def cores(self) -> float:
        """The share of one core that it used."""
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
    others: pd.DataFrame = field(default_factory=partial(empty, "others"))
    sockets: pd.DataFrame = field(default_factory=partial(empty, "sockets"))
    machine: pd.DataFrame = field(default_factory=partial(empty, "machine"))
    reports: tuple[SamplerReport, ...] = ()

    def report(self, name: str) -> SamplerReport | None:
        """The report of one sampler, None where it was not started."""
        return next((report for report in self.reports if report.name == name), None)
