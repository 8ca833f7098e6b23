"""matview-refresh: many callers ask for the same refresh at once, others read, and a scheduler refreshes by itself.

An event trigger is the ledger: it notes every refresh that really happened, with its beginning and end, whoever ran it.
A refresh that waits for another's lock has begun. A caller that was answered without a refresh in the ledger skipped.
A reader waits for a lock no longer than ``reader_wait_timeout_ms``. A refresh that takes longer than that and blocks
the reader shows as an error, not as a latency that a busy machine may have caused.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from rig.checks.race_tests.matview_refresh import RefreshFigures, ScheduledRefresh
from rig.errors import ConfigError
from rig.evidence.overlap import most_at_once
from rig.evidence.storm import StormEvent, StormReport
from rig.profile.storms import MatviewRefresh
from rig.storms import ddl_ledger
from rig.storms.command import run_in_background
from rig.storms.ddl_ledger import Note
from rig.storms.fleet import Barrier
from rig.storms.race_test import PreparedDatabase, RaceTest
from rig.storms.statements import error_text, first_line, is_mistake

PROCESSES = 8
_REFRESH = "REFRESH MATERIALIZED VIEW"
_DEADLINE_S = 60.0
_POLL_S = 0.02
_READ_PAUSE_S = 0.01


def matview_refresh(race: RaceTest[MatviewRefresh]) -> StormReport:
    """Run the test. ConfigError where a statement of the profile cannot be run."""
    section = race.section
    with race.database("view") as prepared:
        _try_to_read(race, prepared)
        ddl_ledger.install(prepared.admin_dsn)
        payload = _Caller(prepared.runtime_dsn, section.refresh_sql, section.tenants)
        with _Readers(prepared.runtime_dsn, section) as readers:
            run = race.run_fleet(race.options.processes or PROCESSES, _call, payload, _DEADLINE_S, before=readers.begin)
        answers = run.results(_Answered)
        # Not tried beforehand: the first caller would find a view that was refreshed a moment ago, and might skip.
        if mistakes := [answer.error for answer in answers if answer.is_mistake]:
            raise ConfigError(f"profile key {race.key('refresh_sql')} failed: {mistakes[0]}")
        figures = refresh_figures(answers, _read_refreshes(prepared), readers, _watch_scheduler(race, prepared))
        ledger = [note.row() for note in _read_refreshes(prepared)]
    events = [
        StormEvent("ask", f"process {number}", answer.began_ns, answer.done_ns, answer.tenant)
        for number, answer in run.results_by_number(_Answered)
    ]
    return race.report(run, figures, ledger, events)


def _parameters(tenant: str) -> dict[str, str] | None:
    """What a statement gets; without tenants nothing, so that a ``%`` in it is a ``%``."""
    return {"tenant": tenant} if tenant else None


def _try_to_read(race: RaceTest[MatviewRefresh], prepared: PreparedDatabase) -> None:
    """Run ``read_sql`` once as the readers will; ConfigError where it fails."""
    with psycopg.connect(prepared.runtime_dsn, application_name="rig-reader") as connection:
        for tenant in race.section.tenants or ("",):
            race.execute(connection, "read_sql", _parameters(tenant))


def _read_refreshes(prepared: PreparedDatabase) -> list[Note]:
    return [note for note in ddl_ledger.read_notes(prepared.admin_dsn) if note.tag == _REFRESH]


def _watch_scheduler(race: RaceTest[MatviewRefresh], prepared: PreparedDatabase) -> ScheduledRefresh | None:
    """Whether the target's own scheduler refreshes when nobody asks, and how soon; None where there is none."""
    if race.section.scheduler is None:
        return None
    before = len(_read_refreshes(prepared))
    log_file = race.environment.log_file(f"{race.name}-scheduler")
    began = time.monotonic()
    fired = False
    with run_in_background(race.command("scheduler"), prepared.environ, log_file, race.key("scheduler")):
        while not fired and time.monotonic() - began < race.section.scheduled_within_s:
            time.sleep(_POLL_S)
            fired = len(_read_refreshes(prepared)) > before
    return ScheduledRefresh(fired, round(time.monotonic() - began, 3))


# --- the callers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Caller:
    """What the members of the fleet do; they take the tenants in turn."""

    runtime_dsn: str = field(repr=False)
    refresh_sql: str
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Answered:
    """How one caller was answered: its backend, its tenant, and when it asked and had the answer (monotonic ns).

    ``is_mistake``: the error is of who wrote ``refresh_sql``, and ``error`` is its text alone.
    """

    backend_pid: int
    tenant: str
    began_ns: int
    done_ns: int
    error: str = ""
    is_mistake: bool = False


def _call(number: int, caller: _Caller, barrier: Barrier) -> _Answered:
    """A fleet's work: ask for one refresh over a connection that was opened before."""
    tenant = caller.tenants[number % len(caller.tenants)] if caller.tenants else ""
    with psycopg.connect(caller.runtime_dsn, autocommit=True, application_name="rig-asker") as connection:
        pid = connection.info.backend_pid
        began_ns = barrier()
        try:
            connection.execute(caller.refresh_sql.encode(), _parameters(tenant))
        except psycopg.Error as error:
            answer = _Answered(pid, tenant, began_ns, time.monotonic_ns())
            if is_mistake(error):
                return replace(answer, error=first_line(error), is_mistake=True)
            return replace(answer, error=error_text(error))
        return _Answered(pid, tenant, began_ns, time.monotonic_ns())


def refresh_figures(
    answers: Sequence[_Answered], notes: Sequence[Note], readers: _Readers, scheduled: ScheduledRefresh | None
) -> RefreshFigures:
    """What the callers, the event trigger and the readers saw, in numbers."""
    refreshers = {note.pid for note in notes}
    contested = _find_contested_callers(answers, notes, readers.section.reader_wait_timeout_ms)
    views = Counter(note.object for note in notes)
    skipped = [answer for answer in answers if answer.backend_pid not in refreshers and not answer.error]
    stretches = {view: [(n.began or n.ended, n.ended) for n in notes if n.object == view] for view in views}
    return RefreshFigures(
        askers=len(answers),
        tenants=list(readers.section.tenants),
        refreshes=len(notes),
        refreshes_by_view=dict(sorted(views.items())),
        concurrent_max=max(map(most_at_once, stretches.values()), default=0),
        refresh_longest_ms=max((note.length_ms for note in notes), default=0.0),
        refreshed_in_turn=_count_refreshed_in_turn(contested, refreshers),
        skipped=len(skipped),
        skipped_late=sum(_was_late(answer, answers, refreshers) for answer in skipped if answer in contested),
        skip_longest_ms=round(max(((one.done_ns - one.began_ns) / 1e6 for one in skipped), default=0.0), 1),
        ask_errors=sorted({answer.error for answer in answers if answer.error}),
        reads=readers.reads,
        reads_blocked=readers.blocked,
        read_longest_ms=round(readers.longest_ms, 1),
        read_errors=sorted(readers.errors),
        reader_wait_timeout_ms=readers.section.reader_wait_timeout_ms,
        scheduled=scheduled,
    )


def _find_contested_callers(answers: Sequence[_Answered], notes: Sequence[Note], least_ms: float) -> list[_Answered]:
    """The callers of tenants whose refresh took longer than that.

    The callers' own start is spread over as long as a shorter one takes: who came late would look like one who waited.
    """
    long = {note.pid for note in notes if note.length_ms > least_ms}
    tenants = {answer.tenant for answer in answers if answer.backend_pid in long}
    return [answer for answer in answers if answer.tenant in tenants]


def _was_late(skipper: _Answered, answers: Sequence[_Answered], refreshers: set[int]) -> bool:
    """Whether a caller that skipped was answered only after a refresh that ended while it waited."""
    ends = [one.done_ns for one in answers if one.backend_pid in refreshers and one.tenant == skipper.tenant]
    return any(skipper.began_ns < end <= skipper.done_ns for end in ends)


def _count_refreshed_in_turn(answers: Sequence[_Answered], refreshers: set[int]) -> int:
    """Callers that refreshed although another was at it when they asked. A caller after its end had reason to."""
    in_turn = 0
    for tenant in {answer.tenant for answer in answers}:
        own = [answer for answer in answers if answer.tenant == tenant and answer.backend_pid in refreshers]
        first_done_ns = min((answer.done_ns for answer in own), default=0)
        in_turn += max(0, sum(answer.began_ns <= first_done_ns for answer in own) - 1)
    return in_turn


# --- the readers --------------------------------------------------------------------------------------------------


class _Readers:
    """One thread for each view that reads it again and again, from ``begin`` to the end of the context."""

    def __init__(self, runtime_dsn: str, section: MatviewRefresh) -> None:
        self.section = section
        self.reads = 0
        self.blocked = 0
        self.longest_ms = 0.0
        self.errors: set[str] = set()
        self._dsn = runtime_dsn
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._read, args=(t,)) for t in section.tenants or ("",)]

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def _read(self, tenant: str) -> None:
        options = f"-c lock_timeout={self.section.reader_wait_timeout_ms}"
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, application_name="rig-reader", options=options
            ) as connection:
                while not self._over.wait(_READ_PAUSE_S):
                    self._read_once(connection, tenant)
        except psycopg.Error as error:
            with self._lock:
                self.errors.add(error_text(error))

    def _read_once(self, connection: psycopg.Connection[Any], tenant: str) -> None:
        began = time.monotonic()
        blocked = 0
        try:
            connection.execute(self.section.read_sql.encode(), _parameters(tenant)).fetchall()
        except psycopg.errors.LockNotAvailable:
            blocked = 1
        with self._lock:
            self.reads += 1
            self.blocked += blocked
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1e3)
