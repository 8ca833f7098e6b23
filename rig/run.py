"""The order of a run, and the only place that knows it.

prepare → certify the client → start the target → drive the scenarios → quiesce → read the truth → stop everything →
look around → judge → seal the pack. Each step has a module of its own; this one only brings them together, and sees
to it that whatever happens in between, what was gathered is judged and kept, and what was started is ended.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from rig.calibrate.fingerprint import fingerprint
from rig.calibrate.null import null_benchmark
from rig.engine.endpoint import Endpoint
from rig.engine.pool import Load, Pool
from rig.engine.targeter import Targeter
from rig.errors import ConfigError, EvidenceError, RigError
from rig.hygiene import look_after, look_before
from rig.lifeline import Lifeline
from rig.model import Certificate, DriveReport, RunKey, Scenario
from rig.prober import Prober
from rig.profile import WebhookRoute
from rig.record import Finished, Record
from rig.settings import Job
from rig.store import Store, open_store
from rig.target import Target, open_target, require_free_port
from rig.tenants import Tenancy, provision
from rig.truth.reader import TruthReader
from scenarios.ladder import tenants_of

_REFUSALS = (401, 403)


class Reporter(Protocol):
    """Who is told how far a run has come."""

    def stage(self, what: str) -> None:
        """A new stage begins."""

    def drive(self, scenario: Scenario, number: int, drives: int) -> None:
        """A drive begins."""

    def progress(self, requests: int) -> None:
        """So many requests of the drive have ended."""


@dataclass(slots=True)
class Scene:
    """What the steps of one run share; ``endpoint`` and ``to_be_settled`` are what they leave for its end."""

    job: Job
    environ: Mapping[str, str]
    reporter: Reporter
    record: Record
    key: RunKey
    endpoint: Endpoint | None = None
    to_be_settled: bool = False


def begin(job: Job, environ: Mapping[str, str], reporter: Reporter) -> Scene:
    """Name the run and make its pack."""
    key = RunKey(job.settings.seed, uuid.uuid4().hex[:12], int(time.time()))
    return Scene(job, environ, reporter, Record.begin(job, key, time.monotonic_ns(), fingerprint(environ)), key)


def run(job: Job, environ: Mapping[str, str], reporter: Reporter) -> Finished:
    """Do a whole run. RigError when it cannot begin; from the first request on everything ends in a judged pack."""
    scene = begin(job, environ, reporter)
    record = scene.record
    hygiene = look_before()
    interrupted = False
    try:
        with Lifeline() as lifeline:
            try:
                _certify_and_storm(scene, lifeline)
            except KeyboardInterrupt:
                interrupted = True
                record.note("the run was interrupted")
            hygiene += look_after(lifeline, scene.endpoint)
    except RigError as error:
        record.note(f"the run could not go on: {error}")
        record.judged()
        raise
    record.pack.write_hygiene(hygiene)
    reporter.stage("judging and writing the evidence")
    return record.judged(interrupted=interrupted, seal=not scene.to_be_settled)


def _certify_and_storm(scene: Scene, lifeline: Lifeline) -> None:
    """What can be known to be wrong is found before the client is certified, which takes its time."""
    job = scene.job
    with ExitStack() as stack:
        store = None
        if job.scenarios:
            if job.profile.launch is None:
                Endpoint.parse(job.profile.target.base_url or "").require_allowed(_allowed_host(job))
            scene.reporter.stage("preparing PostgreSQL")
            logs = scene.record.pack.logs_folder
            store = stack.enter_context(open_store(job.profile, lifeline, scene.environ, logs))
            require_free_port(job.settings.port)
        pool = stack.enter_context(Pool(job.settings.workers))
        certificate = certify(scene, pool)
        if store is not None and not certificate.reason:
            storm(scene, pool, store)


def certify(scene: Scene, pool: Pool) -> Certificate:
    """The null benchmark: is this client good enough to judge anybody?"""
    settings = scene.job.settings
    certificate = null_benchmark(
        pool,
        scene.job.profile,
        scene.key,
        scene.record.path / "calibration",
        floor_rps=settings.floor_rps,
        trials=settings.null_trials,
        seconds=settings.null_seconds,
        progress=scene.reporter.stage,
    )
    scene.record.pack.write_certificate(certificate)
    return certificate


def storm(scene: Scene, pool: Pool, store: Store) -> None:
    """Start the target, drive every scenario against it, read the truth, stop the target."""
    job, record = scene.job, scene.record
    record.amend(fingerprint={**record.manifest.fingerprint, "database": dict(store.facts)})
    scene.reporter.stage("starting the target")
    logs = record.pack.logs_folder
    with open_target(job.profile, job.profile_dir, store, logs, scene.environ, job.settings) as target:
        scene.endpoint = target.endpoint
        tenancy = provision(job.profile, scene.key, tenants_of(job.scenarios), store.truth_dsn, scene.environ)
        record.amend(tenants=tenancy.tenants)
        targeter = Targeter(job.profile, scene.key)
        reader = TruthReader(job.profile, store.truth_dsn)
        record.keep_baseline(reader.preflight(targeter, job.scenarios, tenancy.tenants, store.runtime_dsn))
        with Prober(job.profile.probes, target.endpoint) as prober:
            _drive_all(scene, pool, target, tenancy, targeter)
        record.pack.write_probes(prober.frame())
        _read_truth(scene, reader, store, target)


def _allowed_host(job: Job) -> str | None:
    """The host beside loopback that may be loaded: named by the profile and repeated on the command line."""
    named = job.profile.target.allow_host
    return named if named == job.settings.allow_host else None


def _drive_all(scene: Scene, pool: Pool, target: Target, tenancy: Tenancy, targeter: Targeter) -> None:
    scenarios = scene.job.scenarios
    for number, scenario in enumerate(scenarios, 1):
        scene.reporter.drive(scenario, number, len(scenarios))
        report = _drive(scene, pool, target, tenancy, scenario)
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


def _drive(scene: Scene, pool: Pool, target: Target, tenancy: Tenancy, scenario: Scenario) -> DriveReport:
    scene.record.announce(scenario, pool.size)
    load = Load(
        scenario,
        scene.job.profile,
        scene.key,
        {name: tenancy.credentials[name] for name in scenario.tenants},
        target.endpoint,
        lambda worker: scene.record.history.rows_file(scenario, worker),
    )
    return pool.drive(load, progress=scene.reporter.progress)


def _read_truth(scene: Scene, reader: TruthReader, store: Store, target: Target) -> None:
    """Read the truth once; where that fails, the verdicts are INVALID until ``rig settle`` has read it."""
    scene.reporter.stage("waiting until the database is quiet, then reading the truth")
    record = scene.record
    targeter = Targeter(scene.job.profile, scene.key)
    try:
        if not (quiet := reader.quiesce()):
            raise EvidenceError(f"the truth was not read: the database was {quiet}")
        files = (*store.log_files, *target.log_files)
        tenants, baseline = record.manifest.tenants, record.baseline()
        record.pack.write_truth(reader.read(targeter, record.outcomes(), tenants, baseline, files))
    except EvidenceError as error:
        record.note(str(error))
        scene.to_be_settled = store.lasting
