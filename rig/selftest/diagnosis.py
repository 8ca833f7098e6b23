"""``rig prove --diagnosis``: bottlenecks of known place, and what the diagnosis says to them: the confusion matrix.

Flow: the client is certified once. Then every seed (``rig.selftest.bottlenecks``) has its turn, as often as asked for,
so that a machine that slowly changes meets all alike. Each turn is a short perf gate, which is judged as any other run
and diagnosed from its pack. The answers are compared with the seeds (``rig.evidence.confusion``). Matrix and picture
lie in a pack of their own. ``rig.selftest.stages`` proves the gate over the answers. Not for how a diagnosis is made
(``rig.diagnose``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rig.diagnose import diagnose
from rig.errors import ConfigError, UsageError
from rig.evidence.confusion import Confusion, SeedAnswer
from rig.evidence.pack import Pack
from rig.machine.quota import QuotaUnavailable
from rig.model import Scenario
from rig.report.plots import own_style, png
from rig.report.plots.confusion import confusion_matrix
from rig.run.job import Job
from rig.run.open_run import open_run
from rig.run.record import Record, conclude_on_error
from rig.run.reporter import Reporter
from rig.selftest.bench import Bench, load, open_bench
from rig.selftest.bottlenecks import HEALTHY, SEEDS, Seed
from rig.text import json_text
from scenarios.s8 import perf_gate, warm_up

REPETITIONS = 5
REQUESTS = 8_000
LIMIT_S = 4.0
"""Half of S8's load in less than half of its time. What a slow service has not been sent by then is not sent, so no run
takes longer. A healthy service is under load for long enough to look at every session fifty times."""


def prove_diagnosis(
    job: Job, repetitions: int, chosen: Sequence[str], environ: Mapping[str, str], reporter: Reporter
) -> Confusion:
    """Ask for a diagnosis of every seed, or of the healthy service and the ``chosen`` seeds; each run leaves a pack.

    A client that is not certified is asked nothing. UsageError for a seed that is not known, ConfigError for a profile
    whose service knows no switches.
    """
    if repetitions < 1:
        raise UsageError(f"--repetitions {repetitions}: give at least 1")
    if job.profile.launch is None:
        raise ConfigError("rig prove --diagnosis needs a profile with [launch]: bottlenecks are seeded by --defect")
    seeds = _choose(chosen)
    whole = open_run(replace(job, verb="prove-diagnosis", scenarios=()), environ, reporter)
    with conclude_on_error(whole.record, "proof"), open_bench(job, environ, reporter) as bench:
        interview = Interview(bench)
        fit = bench.certify(whole)
        for repetition in range(1, repetitions + 1) if fit else ():
            for seed in seeds:
                reporter.stage(f"seed: {seed.name}, {repetition} of {repetitions}")
                interview.ask(seed, repetition)
    return _write_proof(whole.record, interview, refused=not fit)


@dataclass(slots=True)
class Interview:
    """Questions to the diagnosis, and its answers."""

    bench: Bench
    answers: list[SeedAnswer] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    packs: list[Path] = field(default_factory=list)

    def ask(self, seed: Seed, repetition: int, *, samplers: bool = True) -> None:
        """One run under a bottleneck and its diagnosis. A seed that was unavailable once is not tried again."""
        if seed.name in self.not_run:
            return
        bench, scenarios = self.bench, self._scenarios()
        try:
            done = bench.run(seed.name, seed.apply, load, scenarios=scenarios, samplers=samplers, reports=True)
        except QuotaUnavailable as error:
            self.not_run[seed.name] = str(error)
            job = replace(bench.job, verb=f"prove-{seed.name}", scenarios=scenarios)
            record = open_run(job, bench.environ, bench.reporter).record
            record.pack.write_certificate(bench.valid_certificate)
            record.mark_cut_short(f"the bottleneck could not be seeded: {error}")
            record.judge()
            return
        self.packs.append(done.pack)
        diagnosis = diagnose(Pack.open(done.pack).load())
        observed = diagnosis.first or diagnosis.state
        self.answers.append(SeedAnswer(seed.name, repetition, seed.expected, observed, diagnosis.answer))

    def _scenarios(self) -> tuple[Scenario, ...]:
        route = self.bench.job.profile.routes[0].name
        gate = perf_gate(route, "S8-1", requests=REQUESTS, limit_s=LIMIT_S, deadline_limits=1.0)
        return warm_up(route, "warm-up"), gate


def _write_proof(record: Record, interview: Interview, *, refused: bool) -> Confusion:
    """The proof in its pack, which is sealed from here on, and with the judgement that refused its client."""
    confusion = Confusion(tuple(interview.answers), interview.not_run, tuple(interview.packs))
    record.pack.write_answers(confusion.answers)
    record.pack.write("diagnosis/confusion.json", (json_text(confusion.document()) + "\n").encode())
    with own_style():
        if (figure := confusion_matrix(confusion)) is not None:
            record.pack.write("plots/confusion.png", png(figure))
    for seed, reason in confusion.not_run.items():
        record.note(f"{seed} was not seeded: {reason}")
    record.mark_complete()
    finished = record.judge()
    return replace(confusion, pack=finished.pack, refused=finished.judgement if refused else None)


def _choose(names: Sequence[str]) -> tuple[Seed, ...]:
    known = {seed.name: seed for seed in SEEDS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{unknown[0]!r} is no seeded bottleneck; known are {', '.join(known)}")
    return tuple(seed for seed in SEEDS if not names or seed is HEALTHY or seed.name in names)
