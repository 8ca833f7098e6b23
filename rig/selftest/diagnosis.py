"""``rig prove --diagnosis``: bottlenecks of known place, and what the diagnosis says to them: the confusion matrix.

Flow: one calibration for all; then, as often as asked for, every seed (``rig.selftest.bottlenecks``) in turn, so that
what drifts on the machine meets all alike: a short perf gate, judged as any other run, diagnosed from its pack. The
answers are compared with the seeds (``rig.evidence.confusion``); matrix and picture lie in a pack of their own. The
gate over the answers is proved as all others are (``rig.selftest.stages``). Not for how a diagnosis comes about
(``rig.diagnose``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rig.calibrate.cores import plan_of_this_machine
from rig.diagnose import diagnose
from rig.engine.pool import Pool
from rig.errors import ConfigError, UsageError
from rig.evidence.certificate import Certificate
from rig.evidence.confusion import Answer, Confusion
from rig.machine.supervisor import Supervisor
from rig.model import Scenario
from rig.report.plots import png
from rig.report.plots.confusion import confusion_matrix
from rig.run.certify import certify, is_certified
from rig.run.conclude import conclude_on_error
from rig.run.job import Job
from rig.run.load_target import load_target
from rig.run.open_run import open_run
from rig.run.record import Record
from rig.run.reporter import Reporter
from rig.selftest.bottlenecks import HEALTHY, SEEDS, Driving, NotPlantable, Seed, planted
from rig.target.postgres import Cluster, open_cluster
from rig.target.store import new_store
from scenarios.s8 import perf_gate, warm_up

REPETITIONS = 5
REQUESTS = 8_000
LIMIT_S = 4.0
"""Half of S8's load in less than half of its time. What a slow service has not been sent by then is not sent: no run
takes longer, and a sound one lasts long enough for fifty looks at every session."""


def prove_diagnosis(
    job: Job, repetitions: int, chosen: Sequence[str], environ: Mapping[str, str], reporter: Reporter
) -> Confusion:
    """Ask for a diagnosis of every seed, or of the ``chosen`` ones beside the sound service; each run leaves a pack.

    A client that is not certified is asked nothing. UsageError for a seed that is not known, ConfigError for a profile
    whose service knows no switches.
    """
    if repetitions < 1:
        raise UsageError(f"--repetitions {repetitions}: give at least 1")
    if job.profile.launch is None:
        raise ConfigError("rig prove --diagnosis needs a profile with [launch]: bottlenecks are seeded by --defect")
    seeds = _chosen(chosen)
    whole = open_run(replace(job, verb="prove-diagnosis", scenarios=()), environ, reporter)
    with (
        conclude_on_error(whole.record, "proof"),
        Supervisor() as supervisor,
        Pool(job.settings.workers, plan_of_this_machine(job.settings.workers).client) as pool,
        open_cluster(supervisor, environ=environ) as cluster,
    ):
        certificate = certify(whole, pool)
        bench = Bench(job, environ, reporter, pool, cluster, certificate)
        fit = is_certified(whole, certificate)
        for repetition in range(1, repetitions + 1) if fit else ():
            for seed in seeds:
                reporter.stage(f"seed: {seed.name}, {repetition} of {repetitions}")
                bench.ask(seed, repetition)
    return _kept(whole.record, bench.confusion, refused=not fit)


@dataclass(slots=True)
class Bench:
    """What all runs share, and what they leave."""

    job: Job
    environ: Mapping[str, str]
    reporter: Reporter
    pool: Pool
    cluster: Cluster
    certificate: Certificate
    name: str = "diagnose"
    """What the databases of its runs are called after."""
    answers: list[Answer] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    packs: list[Path] = field(default_factory=list)

    @property
    def confusion(self) -> Confusion:
        """What was asked so far, and what was answered."""
        return Confusion(tuple(self.answers), self.not_run, tuple(self.packs))

    def ask(self, seed: Seed, repetition: int, *, samplers: bool = True) -> None:
        """One run and its diagnosis."""
        if seed.name in self.not_run:
            return
        settings = replace(self.job.settings, defects=seed.service, samplers=samplers)
        driving = Driving(self.reporter, "S8")
        store = new_store(self.cluster, f"{self.name}_{seed.name}_{repetition}".replace("-", "_"))
        job = replace(self.job, verb=f"prove-{seed.name}", settings=settings, scenarios=self._scenarios())
        opened = open_run(job, self.environ, driving)
        record = opened.record
        record.pack.write_certificate(self.certificate)
        with conclude_on_error(record, "run"):
            try:
                with planted(seed, store, self.pool, driving):
                    load_target(opened, self.pool, store).raise_if_interrupted()
            except NotPlantable as error:
                self.not_run[seed.name] = str(error)
                record.mark_cut_short(f"the bottleneck could not be seeded: {error}")
            else:
                record.mark_complete()
            judged = record.judge()
        if seed.name in self.not_run:
            return
        self.packs.append(judged.pack)
        diagnosis = diagnose(record.pack.load())
        observed = diagnosis.first or diagnosis.state
        self.answers.append(Answer(seed.name, repetition, seed.expected, observed, diagnosis.answer))

    def _scenarios(self) -> tuple[Scenario, ...]:
        route = self.job.profile.routes[0].name
        gate = perf_gate(route, "S8-1", requests=REQUESTS, limit_s=LIMIT_S, deadline_limits=1.0)
        return warm_up(route, "warm-up"), gate


def _kept(record: Record, confusion: Confusion, *, refused: bool) -> Confusion:
    """The proof with its pack, which is sealed from here on, and with the judgement that refused its client."""
    record.pack.write_answers(confusion.answers)
    record.pack.write("diagnosis/confusion.json", json.dumps(confusion.document(), indent=2).encode() + b"\n")
    if (figure := confusion_matrix(confusion)) is not None:
        record.pack.write("plots/confusion.png", png(figure))
    for seed, reason in confusion.not_run.items():
        record.note(f"{seed} was not seeded: {reason}")
    record.mark_complete()
    judged = record.judge()
    return replace(confusion, pack=judged.pack, refused=judged.judgement if refused else None)


def _chosen(names: Sequence[str]) -> tuple[Seed, ...]:
    known = {seed.name: seed for seed in SEEDS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{unknown[0]!r} is no seeded bottleneck; known are {', '.join(known)}")
    return tuple(seed for seed in SEEDS if not names or seed is HEALTHY or seed.name in names)
