"""The stages on which defects run: what is sent there, which gates are judged, and how a run under a defect goes.

Flow: ``prove_defects`` gets defects in their order, each stage's healthy run first. One server, one pool of workers
and one certificate are shared (``rig.selftest.bench``). Each defect runs on its stage with its ``apply`` in force, and
leaves a pack, which is judged as any other. Plots are left out of these packs: ``rig report PACK`` draws them.

No defect is named here: ``rig.selftest.defects`` lists them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Generic

from rig.calibrate.latency import QUICK, calibrate_latency
from rig.checks.judge import EXIT_GATES
from rig.errors import EvidenceError
from rig.evidence.gate import Verdict
from rig.evidence.hashes import SUMS
from rig.evidence.pack import VERDICTS, Pack
from rig.machine.extras import missing
from rig.model import FORGED, Scenario
from rig.profile import Profile
from rig.requests.forgeries import forgeries_of
from rig.run.certify import certify
from rig.run.job import Job
from rig.run.open_run import OpenRun
from rig.run.record import Record
from rig.run.reporter import Reporter
from rig.selftest.bench import Apply, Bench, PlannedRun, T, load, open_bench
from rig.selftest.bottlenecks import NO_POOL, ROW_LOCK_CONVOY, Seed
from rig.selftest.diagnosis import Interview
from rig.selftest.lane import Lane
from rig.selftest.locust_run import MixTrial, run_mix
from rig.selftest.matrix import Cell, Proof, cells_of, join_proofs, read_gates
from scenarios.ladder import Ladder, forged, malformed_storm, personal_storm, replay_storm, unique_storm
from scenarios.s10 import MAIN, shapes
from scenarios.sustained import sustained_load

STEP = 1000
"""One ladder step: two processes share 1,000 valid events, so that one of them sees the 500 that a defect waits for."""
PERF_REQUESTS, PERF_LIMIT_S = 4_000, 6.5
"""S8 under the defects. The slow service takes 500/s at most, and is too late by a quarter. Any other has time to
spare: it is proven that the gate leaves it green, not how fast this machine is.
"""
SHORT_UNIQUE = 4_000
FEW = 200
_FORGED = 3_000
SUSTAINED_RATE_PER_S, SUSTAINED_S = 700.0, 10.0
"""More than the slow service takes, 500/s, and less than a healthy one does. As long as the default profile, so that no
stall of a disk fills a fifth.
"""
SUSTAINED_P95_LIMIT_MS = 800.0
_THROTTLED_FLOOR = 0.5
"""The client of the null benchmark is throttled to a quarter of the time; its floor is half of what it reached."""


@dataclass(frozen=True)
class Stage(Generic[T]):
    """What is sent, and to whom; ``run`` makes the pack of a defect.

    The first run of the stage ``healthy`` shows which gates are green without a defect. Those of them that match
    ``gates`` and not ``apart`` (patterns, ``*`` for any characters) are judged on this stage. ``extra`` is the optional
    dependency that the stage needs. ``is_shared``: no gate is of speed here, so other lanes may work meanwhile.
    """

    name: str
    run: Callable[[Bench, Defect[T]], Path]
    healthy: str = "whole"
    gates: tuple[str, ...] = ("*",)
    apart: tuple[str, ...] = ()
    extra: str = ""
    is_shared: bool = False

    def judges(self, gate: str) -> bool:
        """Whether a gate that is green in the healthy run must be green here."""
        return matches(gate, self.gates) and not matches(gate, self.apart)

    def missing_extra(self) -> str:
        """Why the stage cannot run, with the remedy; empty where it can."""
        return missing(self.extra, self.extra) if self.extra else ""


@dataclass(frozen=True)
class Defect(Generic[T]):
    """What is wrong, how that is done, and what it must do to the gates of its stage.

    ``red`` must be FAIL, ``invalid`` INVALID, ``not_run`` NOT-RUN. ``open`` ones (patterns) may turn either way: chance
    or order decides. All others that are green in the healthy run must stay so, and ``green`` ones must be in any case.
    Exit gates follow from their members.
    """

    name: str
    stage: Stage[T]
    apply: Apply[T] = nullcontext
    red: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    green: tuple[str, ...] = ()
    part: str = ""
    """The option of ``rig prove`` (``truth``, …) that alone tries it; empty: it is tried without any."""

    def cells(self, healthy: Iterable[str] = ()) -> dict[str, Verdict]:
        """Expected verdict of every declared gate, and of those that were green in the ``healthy`` run."""
        named = {
            **dict.fromkeys(self.red, Verdict.FAIL),
            **dict.fromkeys(self.invalid, Verdict.INVALID),
            **dict.fromkeys(self.not_run, Verdict.NOT_RUN),
            **dict.fromkeys(self.green, Verdict.PASS),
        }
        touched = {*self.red, *self.invalid, *self.not_run}
        composed = {
            gate.id
            for gate in EXIT_GATES
            if any(part in touched or matches(part, self.open) for part in (*gate.members, *gate.besides))
        }
        green = [gate for gate in healthy if self.stage.judges(gate) and not matches(gate, self.open)]
        return dict.fromkeys([gate for gate in green if gate not in composed], Verdict.PASS) | named


def matches(gate: str, patterns: Iterable[str]) -> bool:
    """Whether the id of a gate is one of these, or matches a pattern among them."""
    return any(fnmatchcase(gate, pattern) for pattern in patterns)


def prove_defects(
    job: Job,
    defects: Sequence[Defect[Any]],
    environ: Mapping[str, str],
    reporter: Reporter,
    repetition: int = 1,
    lanes: Sequence[Lane[Proof]] = (),
) -> Proof:
    """Run defects in their order; each leaves a pack.

    Other ``lanes`` begin with the first shared stage, and the proof is that of all.
    The first defect of a stage must be its healthy run: every gate that it has must be green there.
    A client that is not certified proves nothing: the first run ends with its certificate, and the proof with that run.
    """
    cells: list[Cell] = []
    packs: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    green: dict[str, list[str]] = {}
    with open_bench(job, environ, reporter) as bench, ExitStack() as beside:
        for lane in lanes:
            beside.enter_context(lane)
        for defect in defects:
            if why := defect.stage.missing_extra():
                skipped[defect.name] = why
                continue
            for lane in lanes if defect.stage.is_shared else ():
                lane.begin()
            reporter.stage(f"defect: {defect.name}")
            try:
                packs[defect.name] = pack = defect.stage.run(bench, defect)
            except EvidenceError as error:
                if defect.stage.healthy not in green:
                    raise
                skipped[defect.name] = f"its evidence cannot be judged: {error}"
                continue
            if bench.refused is not None:
                return Proof((), packs, refused=bench.refused)
            bench.healthy.setdefault(defect.stage.name, pack)
            seen = read_gates(pack)
            cells += cells_of(defect.name, defect.cells(green.get(defect.stage.healthy, seen)), seen, repetition)
            passed = [gate.id for gate in seen.values() if gate.verdict is Verdict.PASS]
            green.setdefault(defect.stage.healthy, passed)
        proof = Proof(tuple(cells), packs, skipped)
        if lanes:
            reporter.stage("waiting for the storms")
        return join_proofs([proof, *(lane.finish() for lane in lanes)])


def _run_live(
    bench: Bench,
    defect: Defect[PlannedRun],
    scenarios: Callable[[Profile], Iterator[Scenario]] = lambda _: iter(()),
    act: Callable[[Bench, OpenRun, PlannedRun], None] = load,
    *,
    samplers: bool = False,
    last_look: bool = False,
) -> Path:
    planned = tuple(scenarios(bench.job.profile))
    finished = bench.run(defect.name, defect.apply, act, scenarios=planned, samplers=samplers, last_look=last_look)
    return finished.pack


def _plan_ladder(profile: Profile, **perf: Any) -> Iterator[Scenario]:
    ladder = Ladder((profile.routes[0].name,), profile.sources, (STEP,), spread=0, perf_trials=1, **perf)
    yield from ladder.scenarios()


def _plan_forged(profile: Profile) -> Iterator[Scenario]:
    route = profile.routes[0]
    yield unique_storm(STEP, route.name, ("A",))
    yield forged(_FORGED, route.name, (FORGED, f"{FORGED}-2"), forgeries_of(profile, route))


def _plan_steady_rate(profile: Profile) -> Iterator[Scenario]:
    yield sustained_load(
        profile.routes[0].name,
        ("A",),
        rate_per_s=SUSTAINED_RATE_PER_S,
        seconds=SUSTAINED_S,
        p95_limit_ms=SUSTAINED_P95_LIMIT_MS,
    )


def _plan_whole(profile: Profile) -> Iterator[Scenario]:
    yield from _plan_ladder(profile)
    *_, storm = _plan_forged(profile)
    yield storm
    yield from _plan_steady_rate(profile)
    yield from _plan_shapes(profile)


def _plan_short(profile: Profile) -> Iterator[Scenario]:
    route = profile.routes[0].name
    yield replay_storm(STEP, route, ("A",))
    yield unique_storm(SHORT_UNIQUE, route, ("A",))


def _plan_keeping(profile: Profile) -> Iterator[Scenario]:
    route = profile.routes[0].name
    yield unique_storm(FEW, route, ("A", "B"))
    yield malformed_storm(FEW, route, ("A", "B"))


def _plan_content(profile: Profile) -> Iterator[Scenario]:
    route = profile.routes[0].name
    yield replay_storm(FEW, route, ("A",))
    yield personal_storm(FEW, route, ("B",))
    yield unique_storm(FEW, route, ("A",))


def _plan_shapes(profile: Profile) -> Iterator[Scenario]:
    yield shapes(profile.routes[0].name, ("shapes",), MAIN)


def _measure_rate(bench: Bench, opened: OpenRun, run: PlannedRun) -> None:
    """A short null benchmark with a floor that the client reaches only where it gets its time."""
    floor_rps = _THROTTLED_FLOOR * bench.valid_certificate.rps
    settings = replace(
        run.job.settings, floor_rps=floor_rps, null_trials=1, null_seconds=0.5, latency_calibration="none"
    )
    certify(replace(opened, job=replace(run.job, settings=settings)), run.pool)


def _measure_latencies(bench: Bench, opened: OpenRun, run: PlannedRun) -> None:
    """The good null benchmark, and the latencies that the client measures now."""
    calibration, rows = calibrate_latency(opened.client(run.pool), QUICK)
    opened.record.pack.write_latency_calibration(rows)
    opened.record.pack.write_certificate(replace(bench.valid_certificate, latency_calibration=calibration))


@dataclass(slots=True)
class Questions:
    """Bottlenecks that are seeded on the stage of the diagnosis: two that nothing else on the machine looks like."""

    seeds: Sequence[Seed] = (ROW_LOCK_CONVOY, NO_POOL)
    samplers: bool = True


def _diagnose(bench: Bench, defect: Defect[Questions]) -> Path:
    """Ask the diagnosis of runs with a known bottleneck, each of which leaves a pack of its own."""
    questions = Questions()

    def ask(bench: Bench, opened: OpenRun, _: PlannedRun) -> None:
        interview = Interview(bench)
        for seed in questions.seeds:
            interview.ask(seed, 1, samplers=questions.samplers)
        for name, reason in interview.not_run.items():
            opened.record.note(f"{name} was not seeded: {reason}")
        opened.record.pack.write_answers(interview.answers)

    with defect.apply(questions):
        return bench.run(defect.name, nullcontext, ask, samplers=False, verb="prove-diagnosis").pack


def _mix(bench: Bench, defect: Defect[MixTrial]) -> Path:
    return run_mix(bench.job, defect.name, defect.apply, bench.environ)


def _judge_copy(bench: Bench, defect: Defect[Pack], of: str) -> Path:
    """Copy the healthy pack of a stage, change the copy, and judge it anew."""
    pack = Pack.create(bench.job.settings.out, f"prove-{defect.name}", bench.job.settings.seed, datetime.now(UTC))
    left_out = shutil.ignore_patterns(SUMS, VERDICTS)
    shutil.copytree(bench.healthy[of], pack.path, dirs_exist_ok=True, ignore=left_out)
    with defect.apply(pack):
        return Record.reopen(pack).judge(reports=False).pack


def _evidence_of(stage: Stage[Any]) -> Stage[Pack]:
    """Nothing is sent: the healthy pack of the stage is copied, changed and judged again."""
    return Stage(
        f"{stage.name}-evidence",
        partial(_judge_copy, of=stage.name),
        stage.healthy,
        stage.gates,
        stage.apart,
        stage.extra,
        is_shared=True,
    )


_BESIDE = ("totals", "duplicates", "copies", "transactions", "accounting", "hygiene")
"""Gates that every stage with a load can have."""
_OF_WHOLE_RUN = (
    *("S10.*", "isolation", "lasting", "forged*", "warm-up.*"),
    *("privacy.*", "calibration.*", "littles_law", "EG*"),
)
"""Gates that a run of a few scenarios does not have, or has too little for."""

WHOLE = Stage("whole", partial(_run_live, scenarios=_plan_whole, samplers=True, last_look=True))
"""Every scenario, the samplers beside them: the healthy run that all others are held against."""
LADDER = Stage(
    "ladder",
    partial(_run_live, scenarios=partial(_plan_ladder, perf_requests=STEP, perf_limit_s=PERF_LIMIT_S)),
    apart=("S10.*", "sustained.*", "warm-up.*", "forged*", "lasting", "samplers*", "littles_law", "EG*"),
    is_shared=True,
)
"""S1 to S9; S8 no larger than the others, as its time is not what shows here."""
LONG_LADDER = replace(
    LADDER,
    run=partial(_run_live, scenarios=partial(_plan_ladder, perf_requests=PERF_REQUESTS, perf_limit_s=PERF_LIMIT_S)),
)
"""The same for a service that is too slow."""
LADDER_ALONE = replace(LONG_LADDER, is_shared=False)
"""The same for defects that show in milliseconds."""
LETTING_IN = Stage(
    "letting-in",
    partial(_run_live, scenarios=_plan_forged),
    gates=("forged*", "S2.*", "bodies", "probes", *_BESIDE),
    is_shared=True,
)
"""S2, and forged requests among valid ones."""
KEEPING = Stage(
    "keeping",
    partial(_run_live, scenarios=_plan_keeping),
    gates=("S2.rows", "S2.answers", "S3.*", "isolation", "durable_tables", "probes", *_BESIDE),
    is_shared=True,
)
"""A few rows of two tenants: how the database keeps them."""
CONTENT = Stage(
    "content",
    partial(_run_live, scenarios=_plan_content),
    gates=("S[124].*", "privacy.*", "probes", *_BESIDE),
    is_shared=True,
)
"""A replayed event and a few of each kind: what their rows hold, and what else holds it."""
SHAPES = Stage("shapes", partial(_run_live, scenarios=_plan_shapes), gates=("S10.*", "hygiene"), is_shared=True)
"""Events of many shapes, alone."""
LASTING = replace(
    CONTENT,
    name="lasting",
    run=partial(_run_live, scenarios=_plan_content, last_look=True),
    gates=(*CONTENT.gates, "lasting"),
)
"""The same rows, read twice."""
SHORT = Stage(
    "short",
    partial(_run_live, scenarios=_plan_short, samplers=True),
    apart=("S[3-9].*", "sustained.*", *_OF_WHOLE_RUN),
)
"""S1 and S2, the samplers beside them."""
SUSTAINED = Stage(
    "sustained",
    partial(_run_live, scenarios=_plan_steady_rate),
    apart=("S[1-9].*", "probes", "samplers*", *_OF_WHOLE_RUN),
)
"""An open loop."""
CHAOS = Stage("chaos", _run_live, healthy="chaos", gates=("S11.*", *_BESIDE))
"""S11 under faults that each defect names."""
NULL = Stage("null", partial(_run_live, act=_measure_rate), gates=())
"""The null benchmark alone."""
LATENCY = Stage("latency_calibration", partial(_run_live, act=_measure_latencies), gates=("calibration.*",))
"""The calibration of latencies alone."""
EVIDENCE = Stage("evidence", partial(_judge_copy, of=WHOLE.name), is_shared=True)
"""Nothing is sent: the healthy run's pack is copied, changed and judged again."""
DIAGNOSIS = Stage("diagnosis", _diagnose, healthy="diagnosis", gates=("diagnosis.*", "calibration.*"))
"""Seeded bottlenecks, and what the diagnosis says to them."""
CHAOS_EVIDENCE = _evidence_of(CHAOS)
CAPACITY = Stage("capacity", _run_live, healthy="capacity", gates=("capacity.*", *_BESIDE))
"""A search for the capacity."""
CAPACITY_EVIDENCE = _evidence_of(CAPACITY)
MIX = Stage("mix", _mix, healthy="mix", gates=("locust.*",), extra="locust", is_shared=True)
"""The mix that locust leads, by two native workers."""
MIX_EVIDENCE = _evidence_of(MIX)
