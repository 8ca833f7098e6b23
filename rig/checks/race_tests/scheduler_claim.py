"""scheduler-claim: N replicas drain one queue, and some are killed in the middle of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.checks.race_tests.race_kind import RaceFigures, RaceGates, RaceKind, when
from rig.evidence.gate import Gate
from rig.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFigures(RaceFigures):
    """``repeats`` counts the effects beyond the first of each job.

    ``held`` are jobs that the killed replicas held. It and what follows from it (``repeats_unexplained``,
    ``unexplained``) are None where the profile has no ``held_sql``. ``recovered_after_s`` is from the last kill to the
    end of the last job, None where the profile has no ``lease_s`` or not all were done. ``killed``: a replica at least
    in each race; ``kills`` says which and when, None in packs of a time when each race had one. In
    ``races_cut_short`` jobs were still being done when the time was up. ``jobs_beyond`` are effects of more jobs than
    were made: some are of jobs that nobody made, and may stand for those of jobs that had none.
    """

    replicas: int
    jobs: int
    effects: int
    jobs_without_effect: int
    jobs_beyond: int = 0
    jobs_repeated: int
    repeats: int
    repeated: Mapping[str, int]
    held: list[str] | None = None
    repeats_unexplained: int | None = None
    unexplained: Mapping[str, int] | None = None
    unfinished: int
    lease_s: float | None = None
    recovered_after_s: float | None = None
    killed: bool
    kills: list[str] | None = None
    races_cut_short: int = 0
    exit_codes: Mapping[str, int]
    elapsed_s: float

    @property
    def summary(self) -> str:
        done_s = self.recovered_after_s
        recovered = "" if done_s is None else f", all done {done_s:g} s after the last kill"
        did = f"{counted(self.effects, 'effect')} of {counted(self.jobs, 'job')}, {counted(self.repeats, 'repeat')}"
        return f"{did}, {self.unfinished} not done{recovered}"


def _judge(gates: RaceGates[ClaimFigures]) -> list[Gate]:
    it = gates.it
    late = when(
        it.races_cut_short,
        f"in {counted(it.races_cut_short, 'race')} jobs were still being done when timeout_s was over",
    )
    failed = {code: count for code, count in it.exit_codes.items() if code != "0" and not (late and code == "timeout")}
    is_incomplete = gates.is_whole and (it.unfinished or it.jobs_without_effect) and not late
    strange = when(it.jobs_beyond, f"there are effects of {counted(it.jobs_beyond, 'job')} more than were made")
    left = f"{counted(it.unfinished, 'job is', 'jobs are')} not done, {it.jobs_without_effect} had no effect"
    if it.lease_s is not None:
        left = f"never done: {left}, and none was done for {it.lease_s:g} s"
    elif it.held and it.unfinished:
        left += f" (the killed replicas held {len(it.held)}; if they come back after a time, say so in lease_s)"
    return [
        _once(gates),
        gates.gate(
            "all",
            *("jobs", "jobs_without_effect", "jobs_beyond", "unfinished", "killed", "kills"),
            *("recovered_after_s", "exit_codes", "elapsed_s"),
            wrong=when(is_incomplete, left) or strange or when(failed, f"replicas ended with {failed}"),
            weak=when(not it.jobs, "there was no job")
            or when(late, f"{late}: raise it, or give fewer jobs")
            or when(it.replicas < 2, "one replica has nobody to do the job that it dies in")
            or when(
                not it.killed,
                "in a race no replica was seen holding a job, so none was killed in the middle of one: "
                "give more or longer jobs",
            ),
        ),
    ]


def _once(gates: RaceGates[ClaimFigures]) -> Gate:
    it = gates.it
    shown = ("replicas", "jobs", "effects", "jobs_repeated", "repeats", "repeated", "killed", "kills")
    weak = when(not it.effects, "no effect was seen")
    if it.unexplained is None:  # the profile cannot tell whose job was repeated
        allowed = int(it.killed) if it.kills is None else len(it.kills)
        message = f"{counted(it.repeats, 'repeat')} of {counted(it.jobs_repeated, 'job')}, {allowed} allowed"
        return gates.gate("once", *shown, wrong=when(it.repeats > allowed, message), weak=weak)
    message = f"{it.repeats_unexplained} repeats that no kill explains, of {', '.join(it.unexplained)}"
    shown_too = ("held", "repeats_unexplained", "unexplained")
    return gates.gate("once", *shown, *shown_too, wrong=when(it.repeats_unexplained, message), weak=weak)


SCHEDULER_CLAIM = RaceKind(
    "scheduler-claim",
    {"claim": ("once",), "lease": ("all",)},
    ClaimFigures,
    {
        "once": "each job's effect happens exactly once; a job that a killed replica held may be repeated once "
        "(where the profile has no held_sql, each kill allows one repeat of any job)",
        "all": "every job has its effect and is done, also those that a killed replica had taken",
    },
    _judge,
)
