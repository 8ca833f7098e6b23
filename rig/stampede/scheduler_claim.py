"""scheduler-claim: N replicas drain one queue, and one of them is killed in mid-job.

The ledger is the effects table: it has no unique key and tells what the jobs did, not what the queue believes. The
victim is stopped first and looked at: only when it holds a job while it stands still is it killed; otherwise it goes on
and is stopped again. So the repeat that a kill allows is one that it explains.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import psycopg

from rig.errors import ConfigError
from rig.profile.storms import SchedulerClaim
from rig.stampede.command import Ended, Replicas, be_replica, prepare
from rig.stampede.fleet import Fleet
from rig.stampede.ground import Ground, Order
from rig.stampede.model import SCHEDULER_CLAIM, Event, StormReport

PROCESSES = 8
VICTIM = 0
_KEY = "storms.scheduler-claim"
_POLL_S = 0.005
_SETTLE_S = 0.03
"""A statement that was under way when its client was stopped is over by then."""
_NAMED = 5


def scheduler_claim(ground: Ground, order: Order, subject: SchedulerClaim) -> StormReport:
    """Let the storm loose."""
    processes = order.processes or PROCESSES
    with ground.database("queue") as database:
        environ = ground.environment(subject.env, f"{_KEY}.env", database)
        if subject.prepare is not None:
            prepare(ground.command(subject.prepare, f"{_KEY}.prepare", order.without), environ, f"{_KEY}.prepare")
        with _Ledger(database.admin_dsn, subject) as ledger:
            ledger.enqueue()
            command = tuple(ground.command(subject.command, f"{_KEY}.command", order.without))
            with Fleet(processes, be_replica, Replicas(command, environ, subject.timeout_s)) as fleet:
                fleet.start()
                began_ns = fleet.release()
                killed_ns = _kill_in_mid_job(fleet, ledger, time.monotonic() + subject.timeout_s)
                members = fleet.collect(subject.timeout_s + 5.0)
                skew_ns = fleet.skew_ns
            effects = ledger.effects()
            unfinished = ledger.unfinished()
        ground.keep(SCHEDULER_CLAIM, [{"effect": [str(value) for value in row]} for row in effects])
    times = Counter(str(row[0]) for row in effects)
    repeated = {job: count for job, count in times.items() if count > 1}
    survivors = [member for member in members if killed_ns is None or member.number != VICTIM]
    codes = Counter(m.result.exit_code for m in survivors if isinstance(m.result, Ended))
    return StormReport(
        storm=SCHEDULER_CLAIM,
        case=SCHEDULER_CLAIM,
        without=order.without,
        processes=processes,
        skew_ns=skew_ns,
        missing=tuple(f"replica {m.number} {m.error}" for m in survivors if m.error),
        figures={
            "replicas": processes,
            "jobs": subject.jobs,
            "effects": len(effects),
            "jobs_without_effect": subject.jobs - len(times),
            "jobs_repeated": len(repeated),
            "repeats": sum(repeated.values()) - len(repeated),
            "repeated": dict(sorted(repeated.items())[:_NAMED]),
            "unfinished": unfinished,
            "killed": killed_ns is not None,
            "exit_codes": {str(code): count for code, count in codes.items()},
            "elapsed_s": round(max((m.result.elapsed_s for m in survivors if m.result), default=0.0), 3),
        },
        events=(
            Event("release", "fleet", began_ns),
            *([Event("kill", f"replica {VICTIM}", killed_ns)] if killed_ns is not None else []),
        ),
    )


class _Ledger:
    """The queue as its owner sees it, from outside."""

    def __init__(self, admin_dsn: str, subject: SchedulerClaim) -> None:
        self._subject = subject
        self._connection = psycopg.connect(admin_dsn, autocommit=True, application_name="rig-storm")

    def __enter__(self) -> _Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def enqueue(self) -> None:
        self._ask("enqueue_sql", self._subject.enqueue_sql, {"jobs": self._subject.jobs})

    def effects(self) -> list[tuple[Any, ...]]:
        return self._ask("effects_sql", self._subject.effects_sql)

    def unfinished(self) -> int:
        return self._number("unfinished_sql", self._subject.unfinished_sql)

    def holds_a_job(self, replica: int) -> bool:
        """Whether the replica works on a job; where the profile cannot tell, whether anything has happened yet."""
        if self._subject.running_sql is None:
            return bool(self.effects())
        return self._number("running_sql", self._subject.running_sql, {"replica": str(replica)}) > 0

    def _number(self, key: str, statement: str, parameters: dict[str, Any] | None = None) -> int:
        rows = self._ask(key, statement, parameters)
        try:
            return int(rows[0][0] or 0)
        except (IndexError, TypeError, ValueError):
            raise ConfigError(f"profile key {_KEY}.{key} must give one number") from None

    def _ask(self, key: str, statement: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []
        except (psycopg.ProgrammingError, KeyError) as error:
            raise ConfigError(f"profile key {_KEY}.{key} failed: {str(error).splitlines()[0]}") from None


def _kill_in_mid_job(fleet: Fleet, ledger: _Ledger, deadline: float) -> int | None:
    """Kill the victim while it holds a job; when that was (monotonic ns), None where it never could be caught at it."""
    while VICTIM in fleet.poll() and time.monotonic() < deadline:
        if ledger.holds_a_job(VICTIM):
            fleet.stop(VICTIM)
            time.sleep(_SETTLE_S)
            if ledger.holds_a_job(VICTIM) and ledger.unfinished():
                fleet.kill(VICTIM)
                return time.monotonic_ns()
            fleet.cont(VICTIM)
        time.sleep(_POLL_S)
    return None
