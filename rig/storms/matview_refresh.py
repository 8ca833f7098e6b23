"""matview-refresh: many ask for the same refresh at once, others read, and a scheduler asks by itself.

The ledger is an event trigger: it has every refresh that really happened, with its beginning and end, whoever ran it. A
refresh that waits for another's lock has begun. Who skipped is who was answered without one in the ledger. A reader
waits for locks no longer than its patience; a refresh that takes longer than that and blocks it shows as an error, not
as a latency that a busy machine may have made.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from rig.errors import ConfigError
from rig.evidence.overlap import most_at_once
from rig.evidence.storm import MATVIEW_REFRESH, Event, StormReport
from rig.profile.storms import MatviewRefresh
from rig.storms import ddl_ledger
from rig.storms.command import prepare, standing
from rig.storms.ddl_ledger import Note
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.fleet import Barrier, Fleet, Member
from rig.storms.statements import execute, first_line, mistaken
from rig.target.postgres import Database

PROCESSES = 8
_KEY = "storms.matview-refresh"
_REFRESH = "REFRESH MATERIALIZED VIEW"
_DEADLINE_S = 60.0
_POLL_S = 0.02
_READ_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class _Plan:
    runtime_dsn: str = field(repr=False)
    refresh_sql: str
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One asker: who it was to the server, for whom it asked, and when it was answered (monotonic ns)."""

    backend_pid: int
    tenant: str
    began_ns: int
    done_ns: int
    error: str
    mistake: str = ""
    """The same error, where it is of who wrote ``refresh_sql``."""


def matview_refresh(environment: StormEnvironment, order: StormOptions, subject: MatviewRefresh) -> StormReport:
    """Let the storm loose. ConfigError where a statement of the profile cannot be run."""
    probes = order.processes or PROCESSES
    with environment.database("view") as database:
        environ = environment.environment(subject.env, f"{_KEY}.env", database)
        if subject.prepare is not None:
            prepare(environment.command(subject.prepare, f"{_KEY}.prepare", order.without), environ, f"{_KEY}.prepare")
        _try_to_read(database, subject)
        ddl_ledger.install(database.admin_dsn)
        with (
            _Readers(database.runtime_dsn, subject) as readers,
            Fleet(probes, _ask, _Plan(database.runtime_dsn, subject.refresh_sql, subject.tenants)) as fleet,
        ):
            fleet.start()
            readers.begin()
            began_ns = fleet.release()
            members = fleet.collect(_DEADLINE_S)
            skew_ns = fleet.skew_ns
        _require_no_mistake(members)
        asked_for = _refreshes(database)
        scheduled = _scheduled(environment, order, subject, database, environ)
        environment.keep(MATVIEW_REFRESH, [note.row() for note in _refreshes(database)])
    return StormReport(
        storm=MATVIEW_REFRESH,
        case=MATVIEW_REFRESH,
        without=order.without,
        processes=probes,
        skew_ns=skew_ns,
        missing=tuple(f"asker {member.number} {member.error}" for member in members if member.error),
        figures=_figures(members, asked_for, subject) | readers.figures() | {"scheduled": scheduled},
        events=(Event("release", "fleet", began_ns), *_events(members)),
    )


def _parameters(tenant: str) -> dict[str, str] | None:
    """What a statement gets; without tenants nothing, so that a ``%`` in it is a ``%``."""
    return {"tenant": tenant} if tenant else None


def _try_to_read(database: Database, subject: MatviewRefresh) -> None:
    """Run ``read_sql`` once as the readers will; ConfigError where it fails."""
    with psycopg.connect(database.runtime_dsn, application_name="rig-reader") as connection:
        for tenant in subject.tenants or ("",):
            execute(connection, f"{_KEY}.read_sql", subject.read_sql, _parameters(tenant))


def _require_no_mistake(members: Sequence[Member]) -> None:
    """ConfigError where the askers' statement cannot be run.

    It is not tried beforehand: the storm's first would find a view that was refreshed a moment ago, and might skip.
    """
    for member in members:
        if isinstance(member.result, _Asked) and member.result.mistake:
            raise ConfigError(f"profile key {_KEY}.refresh_sql failed: {member.result.mistake}")


def _figures(members: Sequence[Member], notes: Sequence[Note], subject: MatviewRefresh) -> dict[str, Any]:
    asked = [member.result for member in members if isinstance(member.result, _Asked)]
    refreshers = {note.pid for note in notes}
    by_view = Counter(note.object for note in notes)
    skipped = [one for one in asked if one.backend_pid not in refreshers and not one.error]
    waited = [one for one in skipped if not _at_once(one, asked, refreshers)]
    return {
        "askers": len(asked),
        "tenants": list(subject.tenants),
        "refreshes": len(notes),
        "refreshes_by_view": dict(sorted(by_view.items())),
        "concurrent_max": max((most_at_once(_stretches(notes, view)) for view in by_view), default=0),
        "refresh_longest_ms": max((_length_ms(note) for note in notes), default=0.0),
        "refreshed_in_turn": _refreshed_in_turn(asked, refreshers),
        "skipped": len(skipped),
        "skipped_late": len(waited),
        "skip_longest_ms": round(max(((one.done_ns - one.began_ns) / 1e6 for one in skipped), default=0.0), 1),
        "ask_errors": sorted({one.error for one in asked if one.error}),
    }


def _at_once(one: _Asked, asked: Sequence[_Asked], refreshers: set[int]) -> bool:
    """Whether a skipper was answered before the refresh that it skipped for was. Who came after that had no choice."""
    ends = [other.done_ns for other in asked if other.backend_pid in refreshers and other.tenant == one.tenant]
    return not any(one.began_ns < end <= one.done_ns for end in ends)


def _stretches(notes: Sequence[Note], view: str) -> list[tuple[datetime, datetime]]:
    return [(note.began or note.ended, note.ended) for note in notes if note.object == view]


def _refreshed_in_turn(asked: Sequence[_Asked], refreshers: set[int]) -> int:
    """Askers that refreshed although another was at it when they asked. Who asked after its end had reason to."""
    in_turn = 0
    for tenant in {one.tenant for one in asked}:
        own = [one for one in asked if one.tenant == tenant and one.backend_pid in refreshers]
        first_done_ns = min((one.done_ns for one in own), default=0)
        in_turn += max(0, sum(one.began_ns <= first_done_ns for one in own) - 1)
    return in_turn


def _length_ms(note: Note) -> float:
    return round((note.ended - note.began).total_seconds() * 1e3, 1) if note.began else 0.0


def _events(members: Sequence[Member]) -> list[Event]:
    asked = [(member.number, member.result) for member in members if isinstance(member.result, _Asked)]
    return [Event("ask", f"process {number}", one.began_ns, one.done_ns, one.tenant) for number, one in asked]


def _refreshes(database: Database) -> list[Note]:
    return [note for note in ddl_ledger.notes(database.admin_dsn) if note.tag == _REFRESH]


def _scheduled(
    environment: StormEnvironment,
    order: StormOptions,
    subject: MatviewRefresh,
    database: Database,
    environ: dict[str, str],
) -> dict[str, Any] | None:
    """Whether the target's own scheduler refreshes when nobody asks, and how soon; None where there is none."""
    if subject.scheduler is None:
        return None
    before = len(_refreshes(database))
    command = environment.command(subject.scheduler, f"{_KEY}.scheduler", order.without)
    began = time.monotonic()
    with standing(command, environ, environment.log_file(f"{MATVIEW_REFRESH}-scheduler"), f"{_KEY}.scheduler"):
        while time.monotonic() - began < subject.scheduled_within_s:
            if len(_refreshes(database)) > before:
                return {"fired": True, "after_s": round(time.monotonic() - began, 3)}
            time.sleep(_POLL_S)
    return {"fired": False, "after_s": round(time.monotonic() - began, 3)}


def _ask(number: int, plan: _Plan, barrier: Barrier) -> _Asked:
    """A fleet's work: one request for a refresh over a connection that stands already."""
    tenant = plan.tenants[number % len(plan.tenants)] if plan.tenants else ""
    with psycopg.connect(plan.runtime_dsn, autocommit=True, application_name="rig-asker") as connection:
        pid = connection.info.backend_pid
        began_ns = barrier()
        try:
            connection.execute(plan.refresh_sql.encode(), _parameters(tenant))
        except psycopg.Error as error:
            said = first_line(error)
            mistake = said if mistaken(error) else ""
            return _Asked(pid, tenant, began_ns, time.monotonic_ns(), f"{type(error).__name__}: {said}", mistake)
        return _Asked(pid, tenant, began_ns, time.monotonic_ns(), "")


class _Readers:
    """One thread for each view that reads it again and again, from ``begin`` to the end of the context."""

    def __init__(self, runtime_dsn: str, subject: MatviewRefresh) -> None:
        self._dsn = runtime_dsn
        self._subject = subject
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._read, args=(t,)) for t in subject.tenants or ("",)]
        self._reads = 0
        self._blocked = 0
        self._longest_ms = 0.0
        self._errors: set[str] = set()

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def begin(self) -> None:
        """Start to read."""
        for thread in self._threads:
            thread.start()

    def figures(self) -> dict[str, Any]:
        """What the readers saw, all together."""
        return {
            "reads": self._reads,
            "reads_blocked": self._blocked,
            "read_longest_ms": round(self._longest_ms, 1),
            "read_errors": sorted(self._errors),
            "reader_patience_ms": self._subject.reader_patience_ms,
        }

    def _read(self, tenant: str) -> None:
        options = f"-c lock_timeout={self._subject.reader_patience_ms}"
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, application_name="rig-reader", options=options
            ) as connection:
                while not self._over.wait(_READ_PAUSE_S):
                    self._read_once(connection, tenant)
        except psycopg.Error as error:
            with self._lock:
                self._errors.add(f"{type(error).__name__}: {error}".splitlines()[0])

    def _read_once(self, connection: psycopg.Connection[Any], tenant: str) -> None:
        began = time.monotonic()
        blocked = 0
        try:
            connection.execute(self._subject.read_sql.encode(), _parameters(tenant)).fetchall()
        except psycopg.errors.LockNotAvailable:
            blocked = 1
        with self._lock:
            self._reads += 1
            self._blocked += blocked
            self._longest_ms = max(self._longest_ms, (time.monotonic() - began) * 1e3)
