"""scheduler-claim: N replicas drain one queue, and one of them is killed in the middle of a job.

The table of effects is the ledger: it has no unique key, and shows what the jobs did, not what the queue believes. The
rig stops one replica and looks: if it holds a job while it stands still, it is killed; otherwise it goes on, and the
rig tries again. So the kill explains a repeat: one of each job that the replica held. Where the profile has
``held_sql``, these jobs are known by name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from rig.errors import ConfigError
from rig.evidence.race_figures import ClaimFigures
from rig.evidence.storm import StormEvent, StormReport
from rig.machine.supervisor import temporary_folder
from rig.profile.storms import SchedulerClaim
from rig.storms.command import Ended, Workers, be_replica, be_worker, prepare
from rig.storms.fleet import Fleet, Member
from rig.storms.race_test import REPORTING_S, FleetRun, PreparedDatabase, RaceTest

PROCESSES = 8
VICTIM = 0
"""The replica that is killed."""
_POLL_S = 0.005
_STANDSTILL_S = 0.03
"""A statement that was under way when its client was stopped has ended by then."""
_SHOWN = 5


def scheduler_claim(race: RaceTest[SchedulerClaim]) -> StormReport:
    """Run the test as often as the profile says, each time in a new database. The figures are those of all races."""
    races = [_race(race) for _ in range(race.section.races)]
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
        jobs_without_effect=sum(race.section.jobs - len(one.times) for one in races),
        jobs_repeated=sum(len(one.repeats()) for one in races),
        repeats=repeated.total(),
        repeated=dict(sorted(repeated.items())[:_SHOWN]),
        held=sorted({job for one in races for job in one.held})[:_SHOWN] if tells_holder else None,
        repeats_unexplained=unexplained.total() if tells_holder else None,
        unexplained=dict(sorted(unexplained.items())[:_SHOWN]) if tells_holder else None,
        unfinished=sum(one.unfinished for one in races),
        lease_s=race.section.lease_s,
        recovered_after_s=max(recovered) if len(recovered) == len(races) else None,
        killed=all(one.kill is not None for one in races),
        exit_codes=dict(Counter(one.code for one in ended)),
        elapsed_s=round(max((one.elapsed_s for one in ended), default=0.0), 3),
    )
    ledger: list[Mapping[str, Any]] = []
    for number, one in enumerate(races, 1):
        ledger += [{"race": number, "effect": [str(value) for value in row]} for row in one.effects]
        for replica, end in one.run.results_by_number(Ended):
            if end.exit_code != 0:
                said = {"exit": end.code, "lines": race.blanked(end.lines)}
                ledger.append({"race": number, "replica": replica, **said})
    events = [StormEvent("kill", f"replica {VICTIM}", one.kill.at_ns) for one in races if one.kill]
    return race.report(races[0].run, figures, ledger, events, missing=survivors)


@dataclass(frozen=True, slots=True)
class _ClaimRace:
    """What was seen of one race; ``recovered_ns`` (monotonic) is when all jobs were done."""

    run: FleetRun
    effects: Sequence[tuple[Any, ...]]
    unfinished: int
    kill: _Kill | None
    recovered_ns: int | None

    @property
    def times(self) -> Counter[str]:
        """How many effects each job had."""
        return Counter(str(row[0]) for row in self.effects)

    @property
    def held(self) -> frozenset[str]:
        """The jobs that the killed replica held."""
        return (self.kill and self.kill.held) or frozenset()

    @property
    def survivors(self) -> list[Member]:
        return [member for member in self.run.members if self.kill is None or member.number != VICTIM]

    @property
    def recovered_s(self) -> float | None:
        """From the kill to the end of the last job."""
        return round((self.recovered_ns - self.kill.at_ns) / 1e9, 3) if self.kill and self.recovered_ns else None

    def repeats(self, *, explained: Collection[str] = ()) -> Counter[str]:
        """By job, the effects beyond the first, and beyond one more of each job that is ``explained``."""
        return Counter(unexplained_repeats(self.times, explained))


def _race(race: RaceTest[SchedulerClaim]) -> _ClaimRace:
    with race.database("queue") as prepared, prepared.connect() as connection:
        _enqueue(race, prepared, connection)
        killer = _Killer(queue := _Queue(race, connection), race.section.timeout_s)
        run, recovered_ns = _run(race, prepared, killer, queue)
        return _ClaimRace(run, queue.effects(), queue.count_open_jobs(), killer.kill, recovered_ns)


def _enqueue(race: RaceTest[SchedulerClaim], prepared: PreparedDatabase, connection: psycopg.Connection[Any]) -> None:
    """Make the jobs, by the statement or the program of the profile."""
    if race.section.enqueue is None:
        race.execute(connection, "enqueue_sql", {"jobs": race.section.jobs})
    else:
        prepare(race.command("enqueue", jobs=str(race.section.jobs)), prepared.environ, race.key("enqueue"))


def _run(
    race: RaceTest[SchedulerClaim], prepared: PreparedDatabase, killer: _Killer, queue: _Queue
) -> tuple[FleetRun, int | None]:
    """Run the fleet; and when (monotonic ns) all jobs were done, where the profile has ``lease_s``."""
    timeout_s, lease_s = race.section.timeout_s, race.section.lease_s
    replicas = race.replicas(prepared, timeout_s)
    processes, deadline_s = race.options.processes or PROCESSES, timeout_s + REPORTING_S
    if lease_s is None:
        return race.run_fleet(processes, be_replica, replicas, deadline_s, during=killer.kill_in_mid_job), None
    done_ns: int | None = None
    with temporary_folder("rig-queue-") as folder:
        stop_file = folder / "stop"

        def watch(fleet: Fleet) -> None:
            nonlocal done_ns
            killer.kill_in_mid_job(fleet)
            done_ns = queue.wait_until_done(fleet, lease_s, timeout_s)
            stop_file.touch()

        run = race.run_fleet(processes, be_worker, Workers(replicas, stop_file), deadline_s, during=watch)
    return run, done_ns


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

    def wait_until_done(self, fleet: Fleet, lease_s: float, timeout_s: float) -> int | None:
        """When all were done; None where none was done for ``lease_s``, or not all within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        left, since_s = self.count_open_jobs(), time.monotonic()
        while fleet.poll() and time.monotonic() < min(deadline, since_s + lease_s):
            if (now_left := self.count_open_jobs()) == 0:
                return time.monotonic_ns()
            if now_left < left:
                left, since_s = now_left, time.monotonic()
            time.sleep(_POLL_S)
        return None

    def held_by(self, replica: int) -> frozenset[str] | None:
        """The jobs that the replica works on; None where the profile has no statement for it."""
        if self._race.section.held_sql is None:
            return None
        return frozenset(
            str(row[0]) for row in self._race.execute(self._connection, "held_sql", {"replica": str(replica)})
        )


@dataclass(frozen=True, slots=True)
class _Kill:
    """When the victim was killed (monotonic ns), and the jobs that it held; None where the profile cannot tell."""

    at_ns: int
    held: frozenset[str] | None


class _Killer:
    """Kills the victim while it holds a job. ``kill`` stays None where it was never seen holding one."""

    def __init__(self, queue: _Queue, timeout_s: float) -> None:
        self.kill: _Kill | None = None
        self._queue = queue
        self._timeout_s = timeout_s

    def kill_in_mid_job(self, fleet: Fleet) -> None:
        """Stop, look, then kill or let go on; until it is killed, is over, or the time is up."""
        deadline = time.monotonic() + self._timeout_s
        while VICTIM in fleet.poll() and time.monotonic() < deadline:
            held = self._queue.held_by(VICTIM)
            # Where the profile cannot tell, the first effect shows that somebody works.
            if held or (held is None and self._queue.effects()):
                fleet.stop(VICTIM)
                time.sleep(_STANDSTILL_S)
                held = self._queue.held_by(VICTIM)
                if (held or held is None) and self._queue.count_open_jobs():
                    fleet.kill(VICTIM)
                    self.kill = _Kill(time.monotonic_ns(), held)
                    return
                fleet.cont(VICTIM)
            time.sleep(_POLL_S)
