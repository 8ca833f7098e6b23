"""scheduler-claim: N replicas drain one queue, and one of them is killed in mid-job.

The ledger is the effects table: it has no unique key and tells what the jobs did, not what the queue believes. The
victim is stopped first and looked at: only when it holds a job while it stands still is it killed; otherwise it goes on
and is stopped again. So a kill explains a repeat: one of each job that the victim held, by name where the profile can
tell it (``held_sql``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from rig.errors import ConfigError
from rig.evidence.storm import SCHEDULER_CLAIM, Event, StormReport
from rig.profile.storms import SchedulerClaim
from rig.storms.command import Ended, Replicas, be_replica, prepare
from rig.storms.environment import StormEnvironment, StormOptions
from rig.storms.fleet import Fleet
from rig.storms.statements import execute

PROCESSES = 8
VICTIM = 0
_KEY = "storms.scheduler-claim"
_POLL_S = 0.005
_SETTLE_S = 0.03
"""A statement that was under way when its client was stopped is over by then."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Kill:
    """When the victim was killed (monotonic ns), and the jobs that it held; None where the profile cannot tell them."""

    at_ns: int
    held: frozenset[str] | None


def scheduler_claim(environment: StormEnvironment, order: StormOptions, subject: SchedulerClaim) -> StormReport:
    """Let the storm loose."""
    processes = order.processes or PROCESSES
    with environment.database("queue") as database:
        environ = environment.environment(subject.env, f"{_KEY}.env", database)
        if subject.prepare is not None:
            prepare(environment.command(subject.prepare, f"{_KEY}.prepare", order.without), environ, f"{_KEY}.prepare")
        with _Ledger(database.admin_dsn, subject) as ledger:
            ledger.enqueue()
            command = tuple(environment.command(subject.command, f"{_KEY}.command", order.without))
            with Fleet(processes, be_replica, Replicas(command, environ, subject.timeout_s)) as fleet:
                fleet.start()
                began_ns = fleet.release()
                kill = _kill_in_mid_job(fleet, ledger, time.monotonic() + subject.timeout_s)
                members = fleet.collect(subject.timeout_s + 5.0)
                skew_ns = fleet.skew_ns
            effects = ledger.effects()
            unfinished = ledger.unfinished()
        environment.keep(SCHEDULER_CLAIM, [{"effect": [str(value) for value in row]} for row in effects])
    times = Counter(str(row[0]) for row in effects)
    survivors = [member for member in members if kill is None or member.number != VICTIM]
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
            **_repeats(times),
            **(explained(times, kill.held or () if kill else ()) if subject.held_sql else {}),
            "unfinished": unfinished,
            "killed": kill is not None,
            "exit_codes": {str(code): count for code, count in codes.items()},
            "elapsed_s": round(max((m.result.elapsed_s for m in survivors if m.result), default=0.0), 3),
        },
        events=(
            Event("release", "fleet", began_ns),
            *([Event("kill", f"replica {VICTIM}", kill.at_ns)] if kill is not None else []),
        ),
    )


def _repeats(times: Mapping[str, int]) -> dict[str, Any]:
    """Jobs whose effect happened more than once, and how often too many, of its ``times`` by job."""
    repeated = {job: count for job, count in times.items() if count > 1}
    return {
        "jobs_repeated": len(repeated),
        "repeats": sum(repeated.values()) - len(repeated),
        "repeated": dict(sorted(repeated.items())[:_NAMED]),
    }


def explained(times: Mapping[str, int], held: Collection[str]) -> dict[str, Any]:
    """The jobs that the killed replica held, and the repeats beyond the one of each of them that its death explains."""
    beyond = {job: count - 1 - (job in held) for job, count in times.items()}
    unexplained = {job: count for job, count in beyond.items() if count > 0}
    return {
        "held": sorted(held)[:_NAMED],
        "repeats_unexplained": sum(unexplained.values()),
        "unexplained": dict(sorted(unexplained.items())[:_NAMED]),
    }


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
        rows = self._ask("unfinished_sql", self._subject.unfinished_sql)
        try:
            return int(rows[0][0] or 0)
        except (IndexError, TypeError, ValueError):
            raise ConfigError(f"profile key {_KEY}.unfinished_sql must give one number") from None

    def held(self, replica: int) -> frozenset[str] | None:
        """The jobs that the replica works on; None where the profile cannot tell."""
        if self._subject.held_sql is None:
            return None
        rows = self._ask("held_sql", self._subject.held_sql, {"replica": str(replica)})
        return frozenset(str(row[0]) for row in rows)

    def holds_a_job(self, replica: int) -> bool:
        """Whether the replica works on a job; where the profile cannot tell, whether anything has happened yet."""
        held = self.held(replica)
        return bool(self.effects()) if held is None else bool(held)

    def _ask(self, key: str, statement: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return execute(self._connection, f"{_KEY}.{key}", statement, parameters)


def _kill_in_mid_job(fleet: Fleet, ledger: _Ledger, deadline: float) -> _Kill | None:
    """Kill the victim while it holds a job; None where it never could be caught at it."""
    while VICTIM in fleet.poll() and time.monotonic() < deadline:
        if ledger.holds_a_job(VICTIM):
            fleet.stop(VICTIM)
            time.sleep(_SETTLE_S)
            held = ledger.held(VICTIM)
            if (held or held is None) and ledger.unfinished():
                fleet.kill(VICTIM)
                return _Kill(time.monotonic_ns(), held)
            fleet.cont(VICTIM)
        time.sleep(_POLL_S)
    return None
