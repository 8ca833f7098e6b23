"""The order of a run, and the only place that knows it.

prepare → certify the client → start the target → drive the scenarios → quiesce → read the rows → stop the target →
search the logs → stop everything → look around → judge → seal the pack. Each step has a module of its own; this one
only brings them together, and sees to it that whatever happens in between, what was gathered is judged and kept, and
what was started is ended.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from rig.calibrate.cores import CorePlan, confine, plan_of_this_machine
from rig.calibrate.fingerprint import fingerprint
from rig.calibrate.latency import FULL, QUICK, calibrate_latency
from rig.calibrate.null import null_benchmark
from rig.calibrate.watched import run_watched
from rig.checks.judge import certified
from rig.engine.pool import Load, Pool
from rig.errors import ConfigError, EvidenceError, RigError
from rig.evidence.case import Case, Finding
from rig.evidence.certificate import Certificate
from rig.evidence.key_storm import KeyStorm
from rig.evidence.scenario_runs import ScenarioRun
from rig.evidence.storm import UNKNOWN_KID, absent
from rig.evidence.truth import TruthReport
from rig.machine.supervisor import Supervisor
from rig.model import RunKey, Scenario, tenants_of
from rig.profile import WebhookRoute
from rig.requests.targeter import Targeter
from rig.run.job import Job
from rig.run.leak_check import Connections, WallClock, look_after, look_before
from rig.run.record import Finished, Record
from rig.run.short_storms import SHORT, short_storms
from rig.samplers.sampling import plan_of_run, sampling
from rig.storms.environment import StormEnvironment
from rig.storms.unknown_kid.cases import CASES
from rig.target.endpoint import Endpoint
from rig.target.launch import Target, open_target, require_free_port
from rig.target.postgres import Cluster, open_cluster
from rig.target.prober import Prober
from rig.target.store import Store, open_store
from rig.target.tenants import Tenancy, provision
from rig.truth.reader import TruthReader

_REFUSALS = (401, 403)


class Reporter(Protocol):
    """Who is told how far a run has come."""

    def stage(self, what: str) -> None:
        """A new stage begins."""

    def run_scenario(self, scenario: Scenario, number: int, scenario_runs: int) -> None:
        """A drive begins."""

    def progress(self, requests: int) -> None:
        """So many requests of the drive have ended."""


@dataclass(slots=True)
class Scene:
    """What the steps of one run share; ``endpoint``, ``findings``, ``to_be_settled`` are what they leave for the end.

    ``cores``: who runs where. ``endpoint``: of a target that the rig launched; ``database_port``: of its own server.
    """

    job: Job
    environ: Mapping[str, str]
    reporter: Reporter
    record: Record
    key: RunKey
    cores: CorePlan
    endpoint: Endpoint | None = None
    database_port: int | None = None
    findings: list[Finding] = field(default_factory=list)
    to_be_settled: bool = False


def begin(job: Job, environ: Mapping[str, str], reporter: Reporter) -> Scene:
    """Name the run and make its pack."""
    key = RunKey(job.settings.seed, uuid.uuid4().hex[:12], int(time.time()))
    cores = plan_of_this_machine(job.settings.workers)
    about = fingerprint(environ, job.profile.target.commit)
    record = Record.begin(job, key, time.monotonic_ns(), {**about, "core_planning": cores.described()})
    record.secrets.learn_from(job.profile, environ)
    return Scene(job, environ, reporter, record, key, cores)


def run(job: Job, environ: Mapping[str, str], reporter: Reporter) -> Finished:
    """Do a whole run. RigError when it cannot begin; from the first request on everything ends in a judged pack."""
    scene = begin(job, environ, reporter)
    record = scene.record
    leak_findings, clock = look_before(), WallClock()
    interrupted = False
    with concluded(record, "run", lambda: scene.to_be_settled):
        with Supervisor() as supervisor:
            try:
                _certify_and_load(scene, supervisor)
            except KeyboardInterrupt:
                interrupted = True
                record.cut_short("the run was interrupted")
            leak_findings += [*scene.findings, clock.look_again()]
            leak_findings += look_after(supervisor, scene.endpoint, scene.database_port)
        record.pack.write_leak_findings(leak_findings)
        if not interrupted:
            record.all_done()
        reporter.stage("judging and writing the evidence")
        return record.judged(interrupted=interrupted, seal=not scene.to_be_settled)


@contextmanager
def concluded(record: Record, what: str, to_be_settled: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """When ``what`` (the run, the storm) cannot go on, judge what there is, and say why without the run's secrets.

    What was cut short passes nothing, however sound it was so far.
    A pack that is ``to_be_settled`` stays open: its truth can still be read.
    """
    try:
        yield
    except RigError as error:
        said = record.secrets.blanked(str(error))  # it may quote the target's last words
        with suppress(EvidenceError):  # the disk that takes no more may be what ended it
            record.cut_short(f"the {what} could not go on: {said}")
            record.judged(seal=not to_be_settled())
        if not record.pack.sealed:
            room = "make room, then " if isinstance(error, EvidenceError) else ""
            said = f"{said}; what was gathered is kept; {room}finish it: rig settle {record.path}"
        raise type(error)(said) from None
    except BaseException:  # interrupted, or a fault of the rig itself: not judged, but no secret is left behind
        with suppress(EvidenceError):
            record.secrets.clean(record.pack.logs_folder)
        raise


def _certify_and_load(scene: Scene, supervisor: Supervisor) -> None:
    """What can be known to be wrong is found before the client is certified, which takes its time."""
    job = scene.job
    with ExitStack() as stack:
        store = None
        if job.scenarios:
            if job.profile.launch is None:
                allowed = job.settings.allowed_host(job.profile.target.allow_host)
                Endpoint.parse(job.profile.target.base_url or "").require_allowed(allowed)
            scene.reporter.stage("preparing the database")
            logs = scene.record.pack.logs_folder
            store = stack.enter_context(open_store(job.profile, supervisor, scene.environ, logs))
            require_free_port(job.settings.port)
        pool = stack.enter_context(Pool(job.settings.workers, scene.cores.client))
        certificate = certify(scene, pool)
        if store is not None and not certificate.reason:
            put_under_load(scene, pool, store)
    if job.verb == "run" and job.settings.storms and not certificate.reason:
        _short_storms(scene, supervisor)


def _short_storms(scene: Scene, supervisor: Supervisor) -> None:
    """On a server of their own: the target's may be gone by now, and is not theirs to fill with connections.

    What keeps a storm from starting takes nothing from what the run has shown so far: the storm alone is INVALID.
    """
    job, record = scene.job, scene.record
    if not job.profile.storms.unknown_kid:
        record.pack.write_storm(absent(UNKNOWN_KID))
        return
    scene.reporter.stage("storms")
    log_file = record.pack.logs_folder / "postgresql-storms.log"
    left = set(SHORT[UNKNOWN_KID].cases)
    try:
        with open_cluster(supervisor, environ=scene.environ, log_file=log_file) as cluster:
            for report in short_storms(storm_environment_of(scene, cluster)):
                record.pack.write_storm(report)
                left.discard(report.case)
    except EvidenceError:  # nothing more can be written down
        raise
    except RigError as error:
        said = record.secrets.blanked(str(error))  # it may quote what the storm started
        record.note(f"the storms could not go on: {said}")
        for case in left:
            story = CASES[case](None).story
            record.pack.write_storm(KeyStorm(case=case, story=story, not_run=said, asked=True))


def storm_environment_of(scene: Scene, cluster: Cluster) -> StormEnvironment:
    """What the storms of a run stand on."""
    job = scene.job
    allowed = job.settings.allowed_host(job.profile.target.allow_host)
    return StormEnvironment(
        cluster, job.profile, job.profile_dir, scene.environ, scene.record.path, allowed, scene.record.secrets
    )


def certify(scene: Scene, pool: Pool) -> Certificate:
    """Null benchmark, then ruler: is this client good enough to judge anybody, and are its latencies right?"""
    settings, pack, profile = scene.job.settings, scene.record.pack, scene.job.profile
    folder = pack.path / "calibration"
    certificate = null_benchmark(
        pool,
        profile,
        scene.key,
        folder,
        floor_rps=settings.floor_rps,
        trials=settings.null_trials,
        seconds=settings.null_seconds,
        stub_cores=scene.cores.server,
        progress=scene.reporter.stage,
    )
    pack.write_certificate(certificate)
    if not certificate.reason and settings.latency_calibration != "none":
        form = FULL if settings.latency_calibration == "full" else QUICK
        latency_calibration, rows = calibrate_latency(
            pool, profile, scene.key, folder, form, stub_cores=scene.cores.server, progress=scene.reporter.stage
        )
        pack.write_latency_calibration(rows)
        certificate = replace(certificate, latency_calibration=latency_calibration)
        pack.write_certificate(certificate)
    return certificate


def is_certified(scene: Scene, certificate: Certificate) -> bool:
    """Whether the client may judge anybody, as the gates of its calibration see it: what is proved rests on it."""
    return certified(Case(settings=scene.job.settings.described(), certificate=certificate))


def put_under_load(scene: Scene, pool: Pool, store: Store) -> None:
    """Start the target, drive every scenario against it, read the rows, stop the target, search the logs.

    KeyboardInterrupt where a drive was interrupted, once all of that is done: nothing more is to begin.
    """
    job, record = scene.job, scene.record
    record.amend(fingerprint={**record.manifest.fingerprint, "database": dict(store.facts)})
    scene.reporter.stage("starting the target" if job.profile.launch else "reaching the target")
    logs = record.pack.logs_folder
    connections = Connections(store.truth_dsn, launched=job.profile.launch is not None)
    record.secrets.learn_from(job.profile, scene.environ, store)
    opened = open_target(job.profile, job.profile_dir, store, logs, scene.environ, job.settings)
    with ExitStack() as afterwards, opened as target:
        scene.endpoint = target.endpoint if target.pid is not None else None
        scene.database_port = store.port if store.pid is not None else None
        _set_apart(scene, target, store)
        tenancy = provision(
            job.profile, scene.key, tenants_of(job.scenarios), store.truth_dsn, scene.environ, record.secrets
        )
        record.amend(tenants=tenancy.tenants)
        targeter = Targeter(job.profile, scene.key)
        reader = TruthReader(job.profile, store.truth_dsn)
        record.keep_baseline(reader.preflight(targeter, job.scenarios, tenancy.tenants, store.runtime_dsn))
        with _sampled(scene, pool, target, store), Prober(job.profile.probes, target.endpoint) as prober:
            _run_scenarios(scene, pool, target, tenancy, targeter)
        record.pack.write_probes(prober.frame())
        record.pack.write_pool(prober.pool())
        truth = _read_rows(scene, reader, store)
        # Once the target was stopped, however that went: its last words may come only then.
        afterwards.callback(_search_logs, scene, reader, store, target, truth)
    scene.findings.append(connections.look_again())
    if any(scenario_run.interrupted for scenario_run in record.manifest.scenario_runs):
        raise KeyboardInterrupt


def _set_apart(scene: Scene, target: Target, store: Store) -> None:
    """Put server and database on cores of their own where there are any, and write down what is not apart."""
    plan, record = scene.cores, scene.record
    for what, pid, cores in (("server", target.pid, plan.server), ("database", store.pid, plan.database)):
        if cores and pid is None:
            plan = plan.without(f"{what}: the rig did not start it")
        elif pid is not None and not confine(pid, cores):
            plan = plan.without(f"{what}: this user may not pin the process of another")
    record.amend(fingerprint={**record.manifest.fingerprint, "core_planning": plan.described()})


def _sampled(scene: Scene, pool: Pool, target: Target, store: Store) -> AbstractContextManager[object]:
    """The samplers, unless they are switched off."""
    if not scene.job.settings.samplers:
        return nullcontext()
    match = scene.job.profile.target.process_match
    plan = plan_of_run(store.truth_dsn, target.pid, match, pool.pids)
    return sampling(plan, scene.record.pack.samples_folder)


def _run_scenarios(scene: Scene, pool: Pool, target: Target, tenancy: Tenancy, targeter: Targeter) -> None:
    scenarios = scene.job.scenarios
    for number, scenario in enumerate(scenarios, 1):
        scene.reporter.run_scenario(scenario, number, len(scenarios))
        report = _run_scenario(scene, pool, target, tenancy, scenario)
        rows = scene.record.complete(report, targeter)
        if number == 1 and len(rows) and rows["status"].isin(_REFUSALS).all():
            raise ConfigError(_refused(scene.job.profile.route(scenario.route), int(rows["status"].iloc[0])))
        if report.interrupted:
            rest = ", ".join(left.label for left in scenarios[number:])
            scene.record.note(f"interrupted in {scenario.label}" + (f"; not run: {rest}" if rest else ""))
            return


def _refused(route: WebhookRoute, status: int) -> str:
    source = f"${route.secret_env}" if route.secret_env else f"the secret {route.secret!r} of the tenant"
    return (
        f"the target answers {status} to every request of the first drive: check the webhook secret of route "
        f"{route.name!r} ({source}), its scheme and signature_header, and the tenant's API key (headers.tenant_key)"
    )


def _run_scenario(scene: Scene, pool: Pool, target: Target, tenancy: Tenancy, scenario: Scenario) -> ScenarioRun:
    scene.record.announce(scenario, pool.size)
    load = Load(
        scenario,
        scene.job.profile,
        scene.key,
        {name: tenancy.credentials[name] for name in scenario.tenants},
        target.endpoint,
        lambda worker: scene.record.history.rows_file(scenario, worker),
    )
    return run_watched(pool, load, progress=scene.reporter.progress)


def read_truth(scene: Scene, reader: TruthReader, store: Store, target: Target) -> None:
    """Read the truth once, of a target that goes on."""
    _search_logs(scene, reader, store, target, _read_rows(scene, reader, store))


def _read_rows(scene: Scene, reader: TruthReader, store: Store) -> TruthReport | None:
    """What lies in the database; None where it cannot be read."""
    scene.reporter.stage("waiting until the database is quiet, then reading the truth")
    record = scene.record
    with _else_settled(scene, store):
        if not (quiet := reader.quiesce()):
            raise EvidenceError(f"the truth was not read: the database was {quiet}")
        targeter = Targeter(scene.job.profile, scene.key)
        return reader.read_rows(targeter, record.outcomes(), record.manifest.tenants, record.baseline())
    return None


def _search_logs(scene: Scene, reader: TruthReader, store: Store, target: Target, truth: TruthReport | None) -> None:
    """Complete the truth by what lies in the logs, and write it down; nothing where the rows could not be read."""
    if truth is None:
        return
    with _else_settled(scene, store):
        targeter = Targeter(scene.job.profile, scene.key)
        scenarios = [scenario_run.scenario for scenario_run in scene.record.manifest.scenario_runs]
        files = (*store.log_files, *target.log_files)
        scene.record.pack.write_truth(reader.search_logs(truth, targeter, scenarios, files))


@contextmanager
def _else_settled(scene: Scene, store: Store) -> Iterator[None]:
    """Where the truth cannot be read or kept, the verdicts are INVALID until ``rig settle`` has read it."""
    try:
        yield
    except EvidenceError as error:
        scene.record.note(str(error))
        scene.to_be_settled = store.lasting
