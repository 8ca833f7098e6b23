"""The step in which things break: S11 is sent while faults strike, through relays that the rig can break.

Flow: put a relay before the service, and one between the service and its database where the rig launches it; draw the
schedule; send S11 while ``FaultRunner`` strikes. What was planned and what became of it is in the pack at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import psycopg
from psycopg.conninfo import conninfo_to_dict

from rig.calibrate.machine import run_and_watch
from rig.calibrate.relay import measure_relay
from rig.chaos.catalog import faults_of, find_reasons
from rig.chaos.fault import ChaosTarget
from rig.chaos.runner import FaultRunner
from rig.chaos.schedule import ChaosPlan, plan_faults
from rig.errors import RigError, UsageError
from rig.evidence.chaos import S11, ChaosReport, ChaosSchedule, FaultRecord, Standing
from rig.machine import libpq
from rig.machine.supervisor import current_supervisor
from rig.model import Scenario
from rig.profile.variables import SECRET_WORDS
from rig.run.answers_so_far import AnswersSoFar
from rig.run.job import Job
from rig.run.live_run import LiveRun
from rig.stats import response_ms
from rig.target.launch import launch_environment
from rig.target.postgres.connection import connect
from rig.target.relay import Relay
from rig.target.store import Store

_STANDING = """
SELECT count(*), count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state LIKE 'idle in transaction%'),
       count(*) FILTER (WHERE wait_event_type = 'Lock')
FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND application_name NOT LIKE 'rig-%'
AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"""
_SETTLE_S, _POLL_S = 5.0, 0.1


def add_chaos(job: Job, plan: ChaosPlan, chaos: Callable[..., Scenario], rate_per_s: float) -> Job:
    """The job with S11 (``chaos`` makes it) on the profile's first route as its last scenario.

    UsageError where a fault is asked for that nobody knows.
    """
    profile, known = job.profile, [fault.name for fault in faults_of(job.profile)]
    named = {*plan.only, *plan.allowed, *(fault.fault for fault in plan.given)}
    if unknown := sorted(named - set(known)):
        raise UsageError(f"{unknown[0]!r} is no fault; known are {', '.join(known)}")
    route = profile.routes[0]
    tenants = (profile.own_tenant("chaos"),)
    scenario = chaos(
        route.name,
        tenants,
        seconds=plan.seconds,
        rate_per_s=rate_per_s,
        sends=profile.sends(route),
        timeout_s=profile.faults.timeout_s,
    )
    return replace(job, scenarios=(*job.scenarios, scenario), chaos=plan)


def run_chaos(run: LiveRun, until_stopped: ExitStack) -> bool:
    """Send S11 while faults strike; False where it was interrupted. Every fault is healed then.

    The relays stand until ``until_stopped`` is left: the service may still need its database. RigError where a fault
    cannot be healed.
    """
    plan, record = run.job.chaos, run.record
    assert plan is not None
    scenario = next(each for each in run.job.scenarios if each.id == S11)
    run.reporter.stage("opening the ways for the chaos")
    broken = _open_ways(run, plan, until_stopped)
    assert broken.sender_way is not None
    through = replace(run.target.endpoint, relay=broken.sender_way.address)
    report = ChaosReport(
        _draw(run, plan, broken),
        before=read_standing(run.store),
        processes=len(broken.serving()),
        relay=measure_relay(),
    )
    record.pack.write_chaos(report)

    def tell(fault: FaultRecord) -> None:
        run.reporter.stage(_describe(fault))

    faults = FaultRunner(
        broken,
        report.schedule.faults,
        {fault.name: fault for fault in faults_of(run.job.profile)},
        run.job.settings.seed,
        plan.seconds,
        tell,
        plan.rest_s,
    )
    load = replace(run.load(scenario), endpoint=through)
    last, files = len(run.job.scenarios), record.history.rows_files(scenario, run.pool.size)
    answers = AnswersSoFar(record.targeter.bind(scenario), run.job.profile, files)
    run.reporter.run_scenario(scenario, last, last, answers)
    record.announce(scenario, run.pool.size)
    try:
        with faults:
            sent = run_and_watch(run.pool, load, on_start=faults.begin, progress=run.reporter.progress)
    finally:
        report = replace(report, records=tuple(faults.records))
        record.pack.write_chaos(report)
    run.reporter.end_scenario(scenario, sent.elapsed_s, response_ms(record.complete(sent)))
    record.pack.write_chaos(replace(report, after=wait_until_settled(run.store, report.before or Standing())))
    return not sent.interrupted


def _open_ways(run: LiveRun, plan: ChaosPlan, stack: ExitStack) -> ChaosTarget:
    """Relays, and the service launched anew where it is to reach its database through one."""
    job, target, store, supervisor = run.job, run.target, run.store, current_supervisor()
    assert supervisor is not None
    sender_way = stack.enter_context(Relay(target.endpoint.connect_to[0]))
    database_way, through = None, store
    upstream = _database_of(store)
    launch = job.profile.launch
    env: dict[str, str] = {}
    if launch is not None and target.service is not None:
        if upstream is not None and any(f"{{{word}}}" in text for text in launch.env.values() for word in SECRET_WORDS):
            database_way = stack.enter_context(Relay(upstream))
            through = replace(
                store,
                truth_dsn=libpq.at(store.truth_dsn, database_way.address),
                runtime_dsn=libpq.at(store.runtime_dsn, database_way.address) if store.runtime_dsn else None,
            )
            run.record.secrets.learn_from(job.profile, run.environ, through)
        env = launch_environment(job.profile, job.profile_dir, through, run.environ, target.endpoint.port)
        target.service.stop()
        target.service.start(env)
    allowed = plan.allowed & frozenset(job.profile.faults.allow)
    words = {"profile_dir": str(job.profile_dir)}
    return ChaosTarget(job.profile, store, target, supervisor, words, env, allowed, sender_way, database_way)


def _database_of(store: Store) -> tuple[str, int] | None:
    """Where the service's database listens; None where it is told by a Unix socket or by several hosts."""
    parts = conninfo_to_dict(store.runtime_dsn or store.truth_dsn)
    host, port = str(parts.get("hostaddr") or parts.get("host") or ""), str(parts.get("port") or 5432)
    is_one = bool(host) and port.isdigit() and "," not in host and not host.startswith(("/", "@"))
    return (host, int(port)) if is_one else None


def _draw(run: LiveRun, plan: ChaosPlan, target: ChaosTarget) -> ChaosSchedule:
    """The schedule: as it was given, else drawn from the seed out of what the rig has a hand on."""
    seed, reasons = run.job.settings.seed, find_reasons(target)
    missing = {name: why for name, why in reasons.items() if why and (not plan.only or name in plan.only)}
    if plan.given:
        asked = tuple(dict.fromkeys(fault.fault for fault in plan.given))
        reachable = tuple(fault for fault in plan.given if not reasons.get(fault.fault))
        return ChaosSchedule(seed, reachable, {name: why for name, why in missing.items() if name in asked}, asked)
    at_hand = [
        fault
        for fault in faults_of(run.job.profile)
        if not reasons[fault.name] and (not plan.only or fault.name in plan.only)
    ]
    return ChaosSchedule(seed, plan_faults(seed, at_hand, plan.seconds, plan.rest_s), missing, plan.only)


def read_standing(store: Store) -> Standing:
    """What lies open in the target's database now."""
    try:
        with connect(store.truth_dsn, "rig-chaos", 5) as connection:
            row = connection.execute(_STANDING.encode()).fetchone()
    except (psycopg.Error, RigError) as error:
        return Standing(unread=" ".join(str(error).split()))
    return Standing(*row) if row else Standing()


def wait_until_settled(store: Store, before: Standing) -> Standing:
    """How it stands once it stands as before; a backend takes a moment to notice that its client is gone."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        standing = read_standing(store)
        if standing.is_like(before) or standing.unread or time.monotonic() > deadline:
            return standing
        time.sleep(_POLL_S)


def _describe(fault: FaultRecord) -> str:
    if fault.skipped:
        return f"fault {fault.number}: {fault.fault} did not strike: {fault.skipped}"
    if not fault.healed_ns:
        return f"fault {fault.number}: {fault.fault} strikes"
    lasted_s = (fault.healed_ns - fault.strike_begun_ns) / 1e9
    return f"fault {fault.number}: {fault.fault}, healed after {lasted_s:.1f} s"
