"""scheduler-claim: N replicas drain one queue, and some of them are killed in the middle of a job.

The table of effects is the ledger: it has no unique key, and shows what the jobs did, not what the queue believes.
Which replica is killed, and after how many jobs, is drawn by lot (from the seed): what a kill loses depends on both.
When that many jobs are done, the rig stops a replica and looks. If it holds a job while it stands still, it is killed;
otherwise it goes on, and the next one is looked at. So the kill explains a repeat: one of each job that the replica
held. Where the profile has ``held_sql``, these jobs are known by name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg

from rig.checks.race_tests.scheduler_claim import ClaimFigures
from rig.errors import ConfigError
from rig.evidence.storm import StormEvent, StormReport
from rig.machine.supervisor import temporary_folder
from rig.profile.storms import SchedulerClaim
from rig.storms.command import Ended, Workers, be_replica, be_worker, prepare
from rig.storms.fleet import Fleet, Member
from rig.storms.race_test import REPORTING_S, FleetRun, PreparedDatabase, RaceTest

PROCESSES = 8
KILLS = 2
"""Replicas that are killed in a race; where that is more than half of them, half."""
_KILLED_UNTIL = 0.8
"""Share of the jobs after which none is killed any more: the replicas run out of jobs."""
_POLL_S = 0.005
_STANDSTILL_S = 0.03
"""A statement that was under way when its client was stopped has ended by then."""
_STILL_S = 2.0
"""Who did a job so short a time before the end of all time was still at it."""
_SHOWN = 5


def scheduler_claim(race: RaceTest[SchedulerClaim]) -> StormReport:
    """Run the test as often as the profile says, each time in a new database. The figures are those of all races."""
    races = [_race(race, number) for number in range(1, race.section.races + 1)]
    repeated = sum((one.repeats() for one in races), Counter[str]())
    unexplained = sum((one.repeats(explained=one.held) for one in races), Counter[str]())
    tells_holder = race.section.held_sql is not None
    survivors = [member for one in races for member in one.survivors]
    ended = [member.result for member in survivors if isinstance(member.result, Ended)]
    recovered = [one.recovered_s for one in races if one.recovered_s is not None]
    figures = ClaimFigures(
        replicas=len(races[0].run.members),
        jobs=race.section.jobs * len(races),
        effects=sum(one.times.total() for one in races),
        jobs_without_effect=sum(max(0, race.section.jobs - len(one.times)) for one in races),
        jobs_beyond=sum(max(0, len(one.times) - race.section.jobs) for one in races),
        jobs_repeated=sum(len(one.repeats()) for one in races),
        repeats=repeated.total(),
        repeated=dict(sorted(repeated.items())[:_SHOWN]),
        held=sorted({job for one in races for job in one.held})[:_SHOWN] if tells_holder else None,
        repeats_unexplained=unexplained.total() if tells_holder else None,
        unexplained=dict(sorted(unexplained.items())[:_SHOWN]) if tells_holder else None,
        unfinished=sum(one.unfinished for one in races),
        lease_s=race.section.lease_s,
        recovered_after_s=max(recovered) if len(recovered) == len(races) else None,
        killed=all(one.kills for one in races),
        kills=[f"race {number}: {kill}" for number, one in enumerate(races, 1) for kill in one.kills],
        exit_codes=dict(Counter(one.code for one in ended)),
        races_cut_short=sum(one.is_cut_short for one in races),
        elapsed_s=round(max((one.elapsed_s for one in ended), default=0.0), 3),
    )
    ledger: list[Mapping[str, Any]] = []
    for number, one in enumerate(races, 1):
        ledger += [{"race": number, "effect": [str(value) for value in row]} for row in one.effects]
        for replica, end in one.run.results_by_number(Ended):
            if end.exit_code != 0:
                said = {"exit": end.code, "lines": race.blanked(end.lines)}
                ledger.append({"race": number, "replica": replica, **said})
    events = [StormEvent("kill", f"replica {kill.replica}", kill.at_ns) for one in races for kill in one.kills]
    return race.report(races[0].run, figures, ledger, events, missing=survivors)


@dataclass(frozen=True, slots=True)
class _ClaimRace:
    """What was seen of one race; ``recovered_ns`` (monotonic) is when all jobs were done.

    ``is_cut_short``: jobs were still being done when the time was up.
    """

    run: FleetRun
    effects: Sequence[tuple[Any, ...]]
    unfinished: int
    kills: Sequence[_Kill]
    recovered_ns: int | None
    is_cut_short: bool

    @property
    def times(self) -> Counter[str]:
        """How many effects each job had."""
        return Counter(str(row[0]) for row in self.effects)

    @property
    def held(self) -> frozenset[str]:
        """The jobs that the killed replicas held."""
        return frozenset().union(*(kill.held or () for kill in self.kills))

    @property
    def survivors(self) -> list[Member]:
        killed = {kill.replica for kill in self.kills}
        return [member for member in self.run.members if member.number not in killed]

    @property
    def recovered_s(self) -> float | None:
        """From the last kill to the end of the last job."""
        return round((self.recovered_ns - self.kills[-1].at_ns) / 1e9, 3) if self.kills and self.recovered_ns else None

    def repeats(self, *, explained: Collection[str] = ()) -> Counter[str]:
        """By job, the effects beyond the first, and beyond one more of each job that is ``explained``."""
        return Counter(unexplained_repeats(self.times, explained))


def _race(race: RaceTest[SchedulerClaim], number: int) -> _ClaimRace:
    with race.database("queue") as prepared, prepared.connect() as connection:
        _enqueue(race, prepared, connection)
        lot = Random(f"{race.environment.seed} {number}")
        drawn = draw_kills(lot, race.options.processes or PROCESSES, race.section.jobs)
        killer = _Killer(queue := _Queue(race, connection), drawn)
        queue.require_fresh()
        queue.held_by(0)  # a mistake in the statement is one also where nobody comes to be killed
        run, drain = _run(race, prepared, killer, queue)
        recovered_ns = None if race.section.lease_s is None else drain.done_ns
        left = queue.count_open_jobs()
        return _ClaimRace(run, queue.effects(), left, killer.kills, recovered_ns, drain.is_cut_short and left > 0)


def _enqueue(race: RaceTest[SchedulerClaim], prepared: PreparedDatabase, connection: psycopg.Connection[Any]) -> None:
    """Make the jobs, by the statement or the program of the profile."""
    if race.section.enqueue is None:
        race.execute(connection, "enqueue_sql", {"jobs": race.section.jobs})
    else:
        prepare(race.command("enqueue", jobs=str(race.section.jobs)), prepared.environ, race.key("enqueue"))


def _run(
    race: RaceTest[SchedulerClaim], prepared: PreparedDatabase, killer: _Killer, queue: _Queue
) -> tuple[FleetRun, _Drain]:
    """Run the fleet, and how the drain ended."""
    timeout_s, lease_s = race.section.timeout_s, race.section.lease_s
    replicas = race.replicas(prepared, timeout_s)
    processes, deadline_s = race.options.processes or PROCESSES, timeout_s + REPORTING_S
    drain = _Drain()
    with temporary_folder("rig-queue-") as folder:
        stop_file = folder / "stop"

        def watch(fleet: Fleet) -> None:
            _watch(fleet, queue, killer, race.section, drain)
            stop_file.touch()

        work, payload = (be_replica, replicas) if lease_s is None else (be_worker, Workers(replicas, stop_file))
        run = race.run_fleet(processes, work, payload, deadline_s, during=watch)
    return run, drain


@dataclass(slots=True)
class _Drain:
    """How a drain ended: when all jobs were done (monotonic ns), or whether some still were when the time was up."""

    done_ns: int | None = None
    is_cut_short: bool = False


def _watch(fleet: Fleet, queue: _Queue, killer: _Killer, section: SchedulerClaim, drain: _Drain) -> None:
    """Kill as drawn; until all jobs are done, the fleet has ended, the time is up, or none is done any more.

    That is after a kill, where none was done for ``lease_s``.
    """
    deadline_s = time.monotonic() + section.timeout_s
    least, done_s, killed_s = section.jobs, 0.0, 0.0
    while (living := fleet.poll()) and time.monotonic() < deadline_s:
        if (left := queue.count_open_jobs()) == 0:
            drain.done_ns = time.monotonic_ns()
            return
        if killer.kill_if_due(fleet, living, section.jobs - left):
            killed_s = time.monotonic()
        if left < least:
            least, done_s = left, time.monotonic()
        if section.lease_s is not None and killer.kills and time.monotonic() > max(done_s, killed_s) + section.lease_s:
            return
        time.sleep(_POLL_S)
    # Replicas without a lease end by themselves at about the same time.
    drain.is_cut_short = deadline_s - _STILL_S < time.monotonic() < done_s + 2 * _STILL_S


def unexplained_repeats(times: Mapping[str, int], held: Collection[str]) -> dict[str, int]:
    """By job, the effects beyond the first, and beyond one more of each job that the killed replica ``held``."""
    beyond = {job: count - 1 - (job in held) for job, count in times.items()}
    return {job: count for job, count in beyond.items() if count > 0}


class _Queue:
    """The queue as its owner sees it, from outside."""

    def __init__(self, race: RaceTest[SchedulerClaim], connection: psycopg.Connection[Any]) -> None:
        self._race = race
        self._connection = connection

    def effects(self) -> list[tuple[Any, ...]]:
        return self._race.execute(self._connection, "effects_sql")

    def count_open_jobs(self) -> int:
        rows = self._race.execute(self._connection, "unfinished_sql")
        try:
            return int(rows[0][0] or 0)
        except (IndexError, TypeError, ValueError):
            raise ConfigError(f"profile key {self._race.key('unfinished_sql')} must give one number") from None

    def require_fresh(self) -> None:
        """ConfigError unless the statements say of a queue that nobody has touched that nothing of it is done."""
        if effects := len(self.effects()):
            key = self._race.key("effects_sql")
            raise ConfigError(f"profile key {key} finds {effects} effects before any replica was started")
        if self.count_open_jobs() == 0:
            key = self._race.key("unfinished_sql")
            raise ConfigError(f"profile key {key} says that no job is left before any replica was started")

    def held_by(self, replica: int) -> frozenset[str] | None:
        """The jobs that the replica works on; None where the profile has no statement for it."""
        if self._race.section.held_sql is None:
            return None
        return frozenset(
            str(row[0]) for row in self._race.execute(self._connection, "held_sql", {"replica": str(replica)})
        )


@dataclass(frozen=True, slots=True)
class _Kill:
    """Which replica was killed, after how many jobs, when (monotonic ns), and what it held; None: nobody can tell."""

    replica: int
    after_jobs: int
    at_ns: int
    held: frozenset[str] | None

    def __str__(self) -> str:
        return f"replica {self.replica} after {self.after_jobs} jobs"


@dataclass(frozen=True, slots=True)
class DrawnKills:
    """After how many done jobs each kill is due, and in which order the replicas are looked at for one to kill."""

    after_jobs: tuple[int, ...]
    order: tuple[int, ...]


def draw_kills(lot: Random, replicas: int, jobs: int) -> DrawnKills:
    """Draw the kills of a race. Each has a part of the drain: the first ``_KILLED_UNTIL`` of it in equal parts."""
    count = min(KILLS, replicas // 2)
    after = tuple(int(jobs * _KILLED_UNTIL * (part + lot.random()) / count) for part in range(count))
    return DrawnKills(after, tuple(lot.sample(range(replicas), replicas)))


class _Killer:
    """Kills replicas while they hold a job. ``kills`` stays shorter than drawn where none was seen holding one."""

    def __init__(self, queue: _Queue, drawn: DrawnKills) -> None:
        self.kills: list[_Kill] = []
        self._queue = queue
        self._drawn = drawn

    def kill_if_due(self, fleet: Fleet, living: Collection[int], done: int) -> bool:
        """Whether the next kill was due after so many ``done`` jobs, and one of the ``living`` held a job and died."""
        if done < min(self._drawn.after_jobs[len(self.kills) :], default=done + 1):
            return False
        killed = {kill.replica for kill in self.kills}
        return any(
            self._kill_in_mid_job(fleet, number, done)
            for number in self._drawn.order
            if number in living and number not in killed
        )

    def _kill_in_mid_job(self, fleet: Fleet, number: int, done: int) -> bool:
        """Stop, look, then kill or let go on."""
        # Where the profile cannot tell, the first effect shows that somebody works.
        held = self._queue.held_by(number)
        if not held and not (held is None and self._queue.effects()):
            return False
        fleet.stop(number)
        time.sleep(_STANDSTILL_S)
        held = self._queue.held_by(number)
        if (held is None or self._is_new(held)) and self._queue.count_open_jobs():
            fleet.kill(number)
            self.kills.append(_Kill(number, done, time.monotonic_ns(), held))
            return True
        fleet.cont(number)
        return False

    def _is_new(self, held: frozenset[str]) -> bool:
        """Whether it holds jobs, none of which was a killed one's: a queue may give a job up that killed two."""
        return bool(held) and not any(held & (kill.held or frozenset()) for kill in self.kills)
