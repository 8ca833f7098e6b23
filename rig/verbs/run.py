"""``rig run``, and the order of every run that loads a target.

prepare → certify the client → start the target → run the scenarios → wait until the database is quiet → read the rows →
short storms → read the rows again → stop the target → search the logs → stop everything → leak check → judge → seal the
pack. Each step is a module of ``rig.run``. Whatever happens in between, what was gathered is judged and kept, and what
was started is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from rig.engine.pool import LoadWorkers, Pool
from rig.evidence.certificate import Certificate
from rig.machine.supervisor import Supervisor
from rig.run.certify import certify
from rig.run.job import Job
from rig.run.leak_check import WallClock, look_after, look_before
from rig.run.load_target import TargetUse, load_target
from rig.run.open_run import OpenRun, open_run
from rig.run.record import FinishedRun, conclude_on_error
from rig.run.reporter import Reporter
from rig.run.storms import run_short_storms
from rig.target.launch import migrate, require_free_port
from rig.target.store import Store, open_store
from rig.truth.reader import TruthReader


def run(job: Job, environ: Mapping[str, str], reporter: Reporter) -> FinishedRun:
    """Do a whole run. RigError when it cannot begin; from the first request on everything ends in a judged pack."""
    opened = open_run(job, environ, reporter)
    record = opened.record
    leak_findings, clock = look_before(), WallClock()
    use, interrupted = TargetUse(), False
    with conclude_on_error(record, "run"):
        with Supervisor() as supervisor:
            try:
                use = _certify_and_load(opened, supervisor)
                use.raise_interrupt()
            except KeyboardInterrupt:
                interrupted = True
                record.mark_cut_short("the run was interrupted")
            leak_findings += [*use.findings, clock.look_again(), *look_after(supervisor, use.ports)]
        record.pack.write_leak_findings(leak_findings)
        if not interrupted:
            record.mark_complete()
        reporter.stage("judging and writing the evidence")
        return record.judge(interrupted=interrupted)


def _certify_and_load(opened: OpenRun, supervisor: Supervisor) -> TargetUse:
    """What was done with the target: nothing where the client did not reach the floor.

    The client's certification takes time; what can be found wrong before it is.
    """
    job = opened.job

    def meanwhile() -> None:
        if job.verb == "run" and job.wants_storms:
            run_short_storms(opened, supervisor)

    with ExitStack() as stack:
        # The workers start while the database is prepared.
        workers, certify_them = _open_workers(opened, supervisor, stack)
        store = _prepare_store(opened, supervisor, stack) if job.scenarios else None
        certificate = certify_them()
        if certificate.reason:
            return TargetUse()
        return load_target(opened, workers, store, meanwhile) if store is not None else TargetUse()


def _open_workers(
    opened: OpenRun, supervisor: Supervisor, stack: ExitStack
) -> tuple[LoadWorkers, Callable[[], Certificate]]:
    """Who sends, and what certifies them."""
    job = opened.job
    if job.expected_workers is None:
        pool = stack.enter_context(Pool(job.settings.workers, opened.cores.client))
        return pool, partial(certify, opened, pool)
    from rig.locust_bridge.native_workers import NativeWorkers, certify_workers  # it needs the extra `locust`

    workers = stack.enter_context(NativeWorkers(job.expected_workers, supervisor, opened.reporter.stage))
    return workers, partial(certify_workers, opened, workers)


def _prepare_store(opened: OpenRun, supervisor: Supervisor, stack: ExitStack) -> Store:
    job = opened.job
    opened.reporter.stage("preparing the database")
    store = stack.enter_context(open_store(job.profile, supervisor, opened.environ, opened.record.pack.logs_folder))
    require_free_port(job.settings.port)
    opened.record.secrets.learn_from(job.profile, opened.environ, store)
    migrate(job.profile, job.profile_dir, store, opened.environ, job.settings)
    TruthReader(job.profile, store.truth_dsn).require_tables(store.runtime_dsn)
    return store
