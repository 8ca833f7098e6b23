"""Every gate against the seeded defects: of the service, the instrument, the evidence, the diagnosis, a crowd.

Flow: one server, one pool of workers and one certificate are shared. The reference service runs once whole and
healthy; then each defect runs on its stage (``rig.selftest.defects``), with a database and a lifeline of its own, and
leaves a pack, which is judged as any other. Defects of the evidence are copies of the healthy pack. Plots are left out
of these packs: ``rig report PACK`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rig.calibrate.cores import plan_of_this_machine
from rig.calibrate.latency import QUICK, calibrate_latency
from rig.calibrate.null import null_benchmark
from rig.engine.pool import Pool
from rig.evidence.certificate import Certificate
from rig.evidence.judgement import Judgement
from rig.evidence.pack import Pack
from rig.machine.extras import missing
from rig.machine.supervisor import Supervisor
from rig.model import Scenario
from rig.run.certify import certify, is_certified
from rig.run.conclude import conclude_on_error
from rig.run.job import Job
from rig.run.leak_check import look_after
from rig.run.load_target import load_target
from rig.run.open_run import OpenRun, open_run
from rig.run.record import Record
from rig.run.reporter import Reporter
from rig.selftest.bottlenecks import HEALTHY as SOUND
from rig.selftest.bottlenecks import Beside, seed_named
from rig.selftest.corruptions import SPOILERS, spoiled_copy
from rig.selftest.defects import DEFECTS, HEALTHY, HEALTHY_CROWD, HEALTHY_DIAGNOSIS, Defect, Stage
from rig.selftest.diagnosis import Bench
from rig.selftest.injections import STUTTER, sabotaged, stuttering
from rig.selftest.locust_run import crowd
from rig.selftest.matrix import Cell, Proof, cells_of, judge_pack
from rig.target.postgres import Cluster, open_cluster
from rig.target.store import new_store
from scenarios.ladder import Ladder, replay_storm, unique_storm
from scenarios.sustained import sustained

STEP = 1000
"""One ladder step: two processes share 1,000 valid events, so that one of them sees the 500 that a defect waits for."""
PERF_REQUESTS, PERF_LIMIT_S = 4_000, 6.5
"""S8 under the defects: the slow service takes 500/s at most, and is too late by a quarter; any other has time to
spare, as what is proven is that the gate leaves it green, not how fast this machine is.
"""
SHORT_UNIQUE = 4_000
SUSTAINED_RATE_PER_S, SUSTAINED_S = 700.0, 10.0
"""More than the slow service takes, 500/s, and less than a healthy one does; as long as the default profile, so that no
stall of a disk fills a fifth.
"""
SUSTAINED_P95_LIMIT_MS = 800.0
CUT_OFF_S = 1.5
STUTTER_LIMIT_MS = 60.0
_THROTTLE = {"running_s": 0.02, "stopped_s": 0.06}
_THROTTLED_FLOOR = 0.5
"""The throttled client gets a quarter of the time; its floor is half of what the whole client reached."""
_SAMPLED = (Stage.WHOLE, Stage.SHORT)
_CONVOY, _CHURN = seed_named("row-lock-convoy"), seed_named("no-pool")
_SEEDED = {
    HEALTHY_DIAGNOSIS.name: (_CONVOY, _CHURN),
    "diagnosis-blind": (_CONVOY,),
    "diagnosis-false-alarm": (replace(SOUND, beside=Beside.FOREIGN_LOAD),),
}
"""Bottlenecks that no neighbour on the machine can be mistaken for, and one that is none of the service's."""


def prove_defects(
    job: Job, chosen: Sequence[str], environ: Mapping[str, str], reporter: Reporter, repetition: int = 1
) -> Proof:
    """Run the healthy service and the defects of those names (none named: all); each leaves a pack.

    A client that is not certified proves nothing: the first run ends with its certificate, and the proof with that run.
    """
    defects = [defect for defect in DEFECTS if not chosen or defect.name in chosen]
    cells: list[Cell] = []
    packs: dict[str, Path] = {}
    with Supervisor() as supervisor:
        cores = plan_of_this_machine(job.settings.workers).client
        with Pool(job.settings.workers, cores) as pool, open_cluster(supervisor, environ=environ) as cluster:
            works = _Works(job, environ, reporter, cluster, pool)
            for defect in _in_order(defects):
                reporter.stage(f"defect: {defect.name}")
                record = works.run(defect)
                packs[defect.name] = record.path
                if works.refused is not None:
                    return Proof((), packs, refused=works.refused)
                cells += cells_of(defect.name, defect.cells(), judge_pack(record), repetition)
    proof = Proof(tuple(cells), packs)
    crowds = [defect for defect in defects if defect.stage is Stage.CROWD]
    return _with_crowds(proof, [HEALTHY_CROWD, *crowds] if crowds else [], job, environ, reporter, repetition)


def _in_order(defects: Sequence[Defect]) -> Iterator[Defect]:
    """Those that are no crowd's, each stage's healthy run before them."""
    yield HEALTHY
    yield from (defect for defect in defects if defect.stage not in (Stage.DIAGNOSIS, Stage.CROWD))
    if diagnosed := [defect for defect in defects if defect.stage is Stage.DIAGNOSIS]:
        yield from (HEALTHY_DIAGNOSIS, *diagnosed)


def _with_crowds(
    proof: Proof,
    defects: Sequence[Defect],
    job: Job,
    environ: Mapping[str, str],
    reporter: Reporter,
    repetition: int,
) -> Proof:
    if why := missing("locust", "locust"):
        return replace(proof, skipped=dict.fromkeys((defect.name for defect in defects), why))
    for defect in defects:
        reporter.stage(f"defect: {defect.name}")
        if defect.name in SPOILERS:
            record = spoiled(job, proof.packs[HEALTHY_CROWD.name], defect)
            pack, gates = record.path, judge_pack(record)
        else:
            pack, gates = crowd(job, defect, environ)
        cells = cells_of(defect.name, defect.cells(), gates, repetition)
        proof = Proof((*proof.cells, *cells), {**proof.packs, defect.name: pack})
    return proof


def spoiled(job: Job, healthy: Path, defect: Defect) -> Record:
    """A copy of a healthy pack, spoilt by a defect of the evidence and judged again."""
    pack = Pack.create(job.settings.out, f"prove-{defect.name}", job.settings.seed, datetime.now(UTC))
    spoiled_copy(healthy, pack, defect.name)
    record = Record.reopen(pack)
    record.judge(reports=False)
    return record


class _Works:
    """What the runs share, and how each is made."""

    def __init__(self, job: Job, environ: Mapping[str, str], reporter: Reporter, cluster: Cluster, pool: Pool) -> None:
        self._job = job
        self._environ = environ
        self._reporter = reporter
        self._cluster = cluster
        self._pool = pool
        self._certificate: Certificate | None = None
        self._healthy: Path | None = None
        self.refused: Judgement | None = None
        """Of the healthy run, where its client was not certified."""

    def run(self, defect: Defect) -> Record:
        """Run one defect on its stage; its record, judged. The healthy one comes first."""
        if defect.stage is Stage.EVIDENCE:
            assert self._healthy is not None, "the healthy run goes first"
            return spoiled(self._job, self._healthy, defect)
        opened = open_run(self._job_of(defect), self._environ, self._reporter)
        with conclude_on_error(opened.record, "run"):
            fit = self._certified(opened) if defect is HEALTHY else True
            if fit:
                self._evidence(defect, opened)
            opened.record.mark_complete()
            finished = opened.record.judge(reports=False)
        if defect is HEALTHY:
            self._healthy = opened.record.path
            self.refused = None if fit else finished.judgement
        return opened.record

    def _certified(self, opened: OpenRun) -> bool:
        """Certify the client that all runs share; False where it may judge nobody."""
        self._certificate = certify(opened, self._pool)
        return is_certified(opened, self._certificate)

    def _evidence(self, defect: Defect, opened: OpenRun) -> None:
        """What the stage of a defect leaves in the pack."""
        if defect.stage is Stage.DIAGNOSIS:
            opened.record.pack.write_certificate(self._good)
            self._diagnose(defect, opened)
        elif defect.stage is Stage.NULL:
            opened.record.pack.write_certificate(self._throttled(opened))
        elif defect.stage is Stage.LATENCY:
            opened.record.pack.write_certificate(self._mismeasured(opened))
        else:
            opened.record.pack.write_certificate(self._good)
            self._storm(defect, opened)

    @property
    def _good(self) -> Certificate:
        assert self._certificate is not None, "the healthy run goes first"
        return self._certificate

    def _job_of(self, defect: Defect) -> Job:
        settings = replace(self._job.settings, defects=defect.service, samplers=defect.stage in _SAMPLED, storms=False)
        scenarios = tuple(self._scenarios(defect))
        verb = "prove-diagnosis" if defect.stage is Stage.DIAGNOSIS else f"prove-{defect.name}"
        return replace(self._job, verb=verb, settings=settings, scenarios=scenarios)

    def _scenarios(self, defect: Defect) -> Iterator[Scenario]:
        profile = self._job.profile
        route = profile.routes[0].name
        whole = defect.stage is Stage.WHOLE
        if whole or defect.stage is Stage.LADDER:
            ladder = Ladder((route,), profile.sources, (STEP,), spread=0, perf_trials=1)
            if not whole:
                ladder = replace(ladder, perf_requests=PERF_REQUESTS, perf_limit_s=PERF_LIMIT_S)
            yield from ladder.scenarios()
        if whole or defect.stage is Stage.SUSTAINED:
            steady = sustained(
                route,
                ("A",),
                rate_per_s=SUSTAINED_RATE_PER_S,
                seconds=SUSTAINED_S,
                p95_limit_ms=SUSTAINED_P95_LIMIT_MS,
            )
            if defect.name == "slow-and-cut-off":
                steady = replace(steady, deadline_s=CUT_OFF_S)
            if defect.name == "stuttering-client":
                steady = replace(steady, p95_limit_ms=STUTTER_LIMIT_MS)
            yield steady
        if defect.stage is Stage.SHORT:
            yield replay_storm(STEP, route, ("A",))
            yield unique_storm(SHORT_UNIQUE, route, ("A",))

    def _storm(self, defect: Defect, opened: OpenRun) -> None:
        """One run with a lifeline of its own, so that what it leaves is told apart from what all runs share."""
        with (
            self._pool_for(defect, opened) as pool,
            ExitStack() as afterwards,
            Supervisor() as supervisor,
            sabotaged(defect.name, opened, pool, supervisor, afterwards) as run,
        ):
            use = load_target(run, pool, new_store(self._cluster, f"prove_{defect.name.replace('-', '_')}"))
            use.raise_if_interrupted()
            run.record.pack.write_leak_findings([*use.findings, *look_after(supervisor, use.ports)])

    def _diagnose(self, defect: Defect, opened: OpenRun) -> None:
        """Ask the diagnosis of runs with a known bottleneck, each of which leaves a pack of its own."""
        name = f"asked_{list(_SEEDED).index(defect.name)}"
        bench = Bench(self._job, self._environ, self._reporter, self._pool, self._cluster, self._good, name=name)
        for seed in _SEEDED[defect.name]:
            bench.ask(seed, 1, samplers=defect.name != "diagnosis-blind")
        for seed_name, reason in bench.not_run.items():
            opened.record.note(f"{seed_name} was not seeded: {reason}")
        opened.record.pack.write_answers(bench.answers)

    def _pool_for(self, defect: Defect, opened: OpenRun) -> AbstractContextManager[Pool]:
        """The shared workers, unless one of them is to die."""
        if defect.name == "worker-killed":
            return Pool(self._pool.size, opened.cores.client)
        return nullcontext(self._pool)

    def _throttled(self, opened: OpenRun) -> Certificate:
        """The null benchmark of a client that gets a quarter of the time."""
        with stuttering(self._pool.pids, **_THROTTLE):
            return null_benchmark(
                self._pool,
                self._job.profile,
                opened.key,
                opened.record.path / "calibration",
                floor_rps=_THROTTLED_FLOOR * self._good.rps,
                trials=1,
                seconds=0.5,
                stub_cores=opened.cores.server,
            )

    def _mismeasured(self, opened: OpenRun) -> Certificate:
        """The good null benchmark, and latencies as a client measures them that stands still now and then."""
        with stuttering(self._pool.pids, **STUTTER):
            latency_calibration, rows = calibrate_latency(
                self._pool,
                self._job.profile,
                opened.key,
                opened.record.path / "calibration",
                QUICK,
                stub_cores=opened.cores.server,
            )
        opened.record.pack.write_latency_calibration(rows)
        return replace(self._good, latency_calibration=latency_calibration)
