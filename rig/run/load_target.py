"""The steps around a target: start it, load it, read its truth, stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

from rig.calibrate.cores import confine
from rig.checks.judge import judge_with_rows
from rig.engine.pool import LoadWorkers
from rig.evidence.case import Finding
from rig.evidence.chaos import S11
from rig.evidence.shapes import S10
from rig.evidence.truth import Arrival
from rig.model import tenants_of
from rig.run.capacity import search_capacity
from rig.run.chaos import run_chaos
from rig.run.echoes import listen
from rig.run.leak_check import Connections
from rig.run.live_run import LiveRun
from rig.run.open_run import OpenRun
from rig.run.read_truth import keep_open_on_error, read_again, read_rows, search_logs
from rig.run.scenarios import run_scenarios
from rig.run.shapes import run_shapes
from rig.samplers.sampling import Samplers, plan_of_run, sampling
from rig.target.http_probe import ProbeResponse
from rig.target.launch import LiveTarget, open_target
from rig.target.prober import Prober
from rig.target.store import Store
from rig.target.tenants import provision
from rig.truth.reader import RowsRead, TruthReader


@dataclass(frozen=True, slots=True)
class TargetUse:
    """What a run did with its target, for the leak check: ``ports`` that must be free afterwards, by what they are."""

    ports: tuple[tuple[str, int], ...] = ()
    findings: tuple[Finding, ...] = ()
    interrupted: bool = False

    def raise_interrupt(self) -> None:
        """KeyboardInterrupt where the load was interrupted: nothing more is to begin."""
        if self.interrupted:
            raise KeyboardInterrupt


def load_target(
    run: OpenRun, pool: LoadWorkers, store: Store, meanwhile: Callable[[], None] = lambda: None
) -> TargetUse:
    """Start the target, run every scenario against it, read the rows twice, stop the target, search the logs.

    ``meanwhile`` is done between the two readings, while the target stands idle. An interrupt ends the load; what was
    sent is still reconciled.
    """
    job, record = run.job, run.record
    launched = job.profile.launch is not None
    record.amend_fingerprint(database=dict(store.facts))
    run.reporter.stage("starting the target" if launched else "reaching the target")
    connections = Connections(store.truth_dsn, launched=launched)
    record.secrets.learn_from(job.profile, run.environ, store)
    logs = record.pack.logs_folder
    opened = open_target(job.profile, job.profile_dir, store, logs, run.environ, job.settings, is_migrated=True)
    ports = [("the database's port", store.port)] if store.pid is not None and store.port is not None else []
    went_on = False
    try:
        with ExitStack() as afterwards, opened as target:
            if target.pid is not None:
                ports.append(("the target's port", target.endpoint.port))
            _pin(run, target, store)
            reader = TruthReader(job.profile, store.truth_dsn, store.runtime_dsn)
            live = _make_tenants(run, pool, target, store)
            loaded = _send(live, reader, afterwards)
            went_on = loaded.went_on
            rows: RowsRead | None = None
            # Once the target was stopped, however that went: its last log lines may come only then.
            afterwards.callback(lambda: _search_logs(live, reader, rows))
            run.reporter.stage("waiting for the rows, then reading the truth")
            with keep_open_on_error(record, store):
                rows = read_rows(record, reader, loaded.ended_s)
                rows = replace(rows, truth=replace(rows.truth, arrivals=loaded.arrivals))
            if went_on:
                if rows is not None:
                    record.pack.write_truth(rows.truth)  # should the run end here, no reading finds what comes now
                    run.reporter.tell_failures(judge_with_rows(record.pack.load()))
                    _send_single_events(live, loaded)
                meanwhile()
                run.reporter.stage("reading the rows again")
                rows = rows and read_again(record, reader, rows, loaded.ended_s, job.settings.last_look_s)
    except KeyboardInterrupt:
        went_on = False
    return TargetUse(tuple(ports), (connections.look_again(),), interrupted=not went_on)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """How the load went: whether it was not interrupted, when it was over (monotonic s), when rows arrived.

    ``metrics``: what the metrics were meanwhile.
    """

    went_on: bool
    ended_s: float
    arrivals: tuple[Arrival, ...] = ()
    metrics: tuple[ProbeResponse, ...] = ()


def _send_single_events(run: LiveRun, loaded: _Loaded) -> None:
    """What is sent one by one, after the rows of all else were read."""
    if not run.job.is_documented:
        listen(run, loaded.metrics)
    if shapes := [scenario for scenario in run.job.scenarios if scenario.id == S10]:
        run_shapes(run, shapes)


def _make_tenants(run: OpenRun, pool: LoadWorkers, target: LiveTarget, store: Store) -> LiveRun:
    job, record = run.job, run.record
    tenancy = provision(job.profile, run.key, tenants_of(job.scenarios), store.truth_dsn, run.environ, record.secrets)
    record.amend(tenants=tenancy.tenants)
    return LiveRun(job, run.environ, run.reporter, record, run.cores, pool, target, store, tenancy)


def _send(run: LiveRun, reader: TruthReader, until_stopped: ExitStack) -> _Loaded:
    """Look at what lies there, run the scenarios, and break things where that is asked for."""
    job, record, tenants = run.job, run.record, run.tenancy.tenants
    record.keep_baseline(reader.preflight(record.targeter, job.scenarios, tenants, run.store.runtime_dsn))
    loaded = _Loaded(True, time.monotonic())
    with _samplers(run) as samplers:
        if any(scenario.id not in (S10, S11) for scenario in job.scenarios):
            watch = reader.watch_arrival(record.targeter, tenants)
            with Prober(job.profile.probes, run.target.endpoint) as prober, watch:
                went_on = run_scenarios(run, watch)
                if job.capacity is not None and went_on:
                    went_on = search_capacity(run, watch)
            record.pack.write_probes(prober.frame())
            record.pack.write_pool(prober.pool())
            loaded = _Loaded(went_on, watch.ended_s, watch.arrivals(), tuple(prober.metrics))
        if job.chaos is not None and loaded.went_on:
            if samplers is not None:
                samplers.leave_database()  # the processes are watched: others may hold the machine
            went_on = run_chaos(run, until_stopped)
            loaded = replace(loaded, went_on=went_on, ended_s=time.monotonic())
    return loaded


def _search_logs(run: LiveRun, reader: TruthReader, rows: RowsRead | None) -> None:
    """Nothing where the rows could not be read."""
    if rows is not None:
        with keep_open_on_error(run.record, run.store):
            search_logs(run.record, reader, rows.truth, (*run.store.log_files, *run.target.log_files))


def _pin(run: OpenRun, target: LiveTarget, store: Store) -> None:
    """Put server and database on cores of their own where there are any; write down where that was not possible."""
    plan = run.cores
    for what, pid, cores in (("server", target.pid, plan.server), ("database", store.pid, plan.database)):
        if cores and pid is None:
            plan = plan.without(f"{what}: the rig did not start it")
        elif pid is not None and not confine(pid, cores):
            plan = plan.without(f"{what}: this user may not pin the process of another")
    run.record.amend_fingerprint(core_planning=plan.as_record())


def _samplers(run: LiveRun) -> AbstractContextManager[Samplers | None]:
    """The samplers, unless they are switched off, or every request is sent by itself."""
    if not run.job.settings.samplers or all(scenario.id == S10 for scenario in run.job.scenarios):
        return nullcontext()
    match = run.job.profile.target.process_match
    plan = plan_of_run(run.store.truth_dsn, run.target.pid, match, run.pool.pids, run.target.listeners)
    return sampling(plan, run.record.pack.samples_folder)
