"""``rig chaos``: S11 for some minutes, and the fewest faults of a schedule that still fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rig.chaos.minimise import minimise
from rig.chaos.schedule import ChaosPlan, repeat, seconds_for
from rig.checks.aftermath import aftermaths, rank_faults
from rig.errors import EvidenceError, ExitCode, UsageError
from rig.evidence.chaos import S11, ChaosSchedule, PlannedFault
from rig.evidence.gate import Verdict
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.run.chaos import add_chaos
from rig.run.job import Job
from rig.run.record import FinishedRun
from rig.run.reporter import Reporter
from rig.verbs.run import run
from scenarios.s11 import RATE_PER_S, SHORT_S, chaos

_TRIES = 3
"""So often a part of a schedule may pass before it counts as harmless: chance decides what is under way."""


_SUSPECTS_MOST = 2
"""So many faults are tried alone before parts of the schedule are."""


@dataclass(frozen=True, slots=True)
class Minimised:
    """The fewest faults that still fail; ``runs`` are the packs of the runs that it took, in their order.

    ``was_interrupted``: fewer may do.
    """

    faults: tuple[PlannedFault, ...]
    finished: FinishedRun
    runs: tuple[Path, ...]
    was_interrupted: bool = False


def add_short_chaos(job: Job) -> Job:
    """The job with the three faults of a whole run, where the rig launches what they strike."""
    if job.profile.launch is None:
        why = "the rig did not start the target; rig chaos breaks the way to it, and what the profile allows"
        return replace(job, left_out={**job.left_out, S11: why})
    try:
        return add_chaos(job, ChaosPlan(SHORT_S), chaos, RATE_PER_S)
    except UsageError as error:  # it was not asked for: what is too much leaves it out
        return replace(job, left_out={**job.left_out, S11: str(error)})


def schedule_of(path: Path) -> ChaosSchedule:
    """The schedule of a pack; EvidenceError where it has none, or was changed."""
    chaos = Pack.open_intact(path).chaos()
    if chaos is None:
        raise EvidenceError(f"{path} holds no schedule of faults; give the pack of a chaos")
    return chaos.schedule


def find_fewest(job: Job, finished: FinishedRun, environ: Mapping[str, str], reporter: Reporter) -> Minimised:
    """Run parts of a schedule that has failed until no fault can be left out. Each run leaves a pack.

    An interrupt ends it, with the fewest so far.
    """
    assert job.chaos is not None
    guilty = failed_gates(finished.judgement)
    packs: dict[tuple[PlannedFault, ...], FinishedRun] = {}
    runs: list[Path] = []
    rest_s = job.chaos.rest_s

    def fails(part: tuple[PlannedFault, ...]) -> bool:
        faults = repeat(part, rest_s)
        for _ in range(_TRIES):
            reporter.stage(f"with {len(part)} of the faults: {', '.join(fault.fault for fault in part)}")
            tried = run(_shorten(job, faults), environ, reporter)
            runs.append(tried.pack)
            if tried.judgement.exit_code == ExitCode.INTERRUPTED:
                raise KeyboardInterrupt
            if guilty & failed_gates(tried.judgement):
                packs[part] = tried
                return True
        return False

    faults = schedule_of(finished.pack).faults
    by_number = {fault.number: fault for fault in faults}
    worst = rank_faults(aftermaths(Pack.open(finished.pack).load()))[:_SUSPECTS_MOST]
    was_interrupted = False
    try:
        found = minimise(faults, fails, [by_number[record.number] for record in worst])
    except KeyboardInterrupt:
        found, was_interrupted = min(packs, key=len, default=faults), True
    return Minimised(repeat(found, rest_s), packs.get(found, finished), tuple(runs), was_interrupted)


def failed_gates(judgement: Judgement) -> frozenset[str]:
    """The gates of S11 that are FAIL."""
    return frozenset(
        gate.id for gate in judgement.gates if gate.verdict is Verdict.FAIL and gate.id.startswith(f"{S11}.")
    )


def _shorten(job: Job, faults: tuple[PlannedFault, ...]) -> Job:
    """The same chaos with these faults. Its client was certified before."""
    assert job.chaos is not None
    (before,) = (each for each in job.scenarios if each.id == S11)
    rest_s = job.chaos.rest_s
    plan = ChaosPlan(seconds_for(faults, rest_s), allowed=job.chaos.allowed, given=faults, rest_s=rest_s)
    settings = replace(
        job.settings, null_seconds=0.2, null_trials=1, latency_calibration="none", certificate=None, last_look_s=0.0
    )
    rate_per_s = before.pace.rate_per_s or 1.0
    return add_chaos(replace(job, settings=settings, scenarios=(), chaos=None), plan, chaos, rate_per_s)
