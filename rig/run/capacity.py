"""The step that looks for a target's capacity: an open loop for some seconds, again and again, each at another rate.

Flow: ``rig.checks.knee`` names the rate of the next step from how the former ones ended. A step is a scenario run like
any other: announced, sent, sealed, and judged from the pack by the function that ``rig check`` uses. The rows of all
steps are reconciled at the end. Between two steps the target gets time to work off what it could not keep up with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rig.calibrate.machine import run_and_watch
from rig.checks.capacity import CapacityStep, judge_step
from rig.checks.knee import estimate, may_be_brief, next_rate
from rig.evidence.capacity import CapacityPlan, CapacityReport, StepResult
from rig.evidence.chaos import Standing
from rig.evidence.scenario_runs import ScenarioRun
from rig.model import Scenario
from rig.run.chaos import read_standing, wait_until_settled
from rig.run.job import CapacitySearch, Job
from rig.run.live_run import LiveRun
from rig.target.http_probe import HttpProbe
from rig.target.store import Store
from rig.text import shorten
from rig.truth.arrival import ArrivalWatch

_WORK_OFF_S = 60.0
"""So long a target may take to work off what a step has left over."""
_POLL_S = 0.1
_WHY_MOST = 100
_INTERRUPTED = "it was interrupted"
_KNEE = 1.25
"""Missed steps up to this many times the estimate show what the target was short of."""


def add_capacity(
    job: Job, plan: CapacityPlan, warm_up: Callable[..., Scenario], capacity_step: Callable[..., Scenario]
) -> Job:
    """The job that warms the target up and then looks for the capacity of the profile's first route.

    The two functions make the scenarios.
    """
    profile = job.profile
    route, tenant = profile.routes[0].name, profile.own_tenant("capacity")
    step = partial(capacity_step, route, (tenant,), p95_limit_ms=plan.p95_ms)
    return replace(job, scenarios=(warm_up(route, tenant),), capacity=CapacitySearch(plan, step))


def search_capacity(run: LiveRun, watch: ArrivalWatch) -> bool:
    """Make steps until the answer is narrow enough, or the time is over; False where it was interrupted."""
    search, record = run.job.capacity, run.record
    assert search is not None
    plan = search.plan
    report = CapacityReport(plan, run.job.most_rate_per_s)
    record.pack.write_capacity(report)
    steps: list[CapacityStep] = []
    before, deadline_s = read_standing(run.store), time.monotonic() + plan.limit_s
    while not report.ended:
        trials = [step.trial for step in steps]
        following = next_rate(trials, plan.first_per_s, report.most_per_s)
        if isinstance(following, str):
            report = replace(report, ended=following)
            break
        seconds = plan.brief_s if may_be_brief(trials, following) else plan.step_s
        scenario = search.step(len(steps) + 1, following, seconds)
        if ended := run.pool.lacks or _why_none_fits(run, scenario, deadline_s):
            report = replace(report, ended=ended)
            break
        run.reporter.stage(_describe(scenario, steps))
        try:
            sent = _send(run, watch, scenario)
            if sent.interrupted:
                raise KeyboardInterrupt
            if not _works_off(run.store, watch, before):
                report = replace(report, ended=f"the target did not work off a step within {_WORK_OFF_S:g} s")
            elif problem := _wait_until_good(run):
                broken = f"after {following:,.4g}/s the target was of no use for {_WORK_OFF_S:g} s: {problem}"
                report = replace(report, ended=broken, broken=broken)
            steps.append(judge_step(record.pack.load(), sent, watch.arrivals()))
        except KeyboardInterrupt:  # what was sent so far is still to be reconciled
            report = replace(report, ended=_INTERRUPTED)
            record.note(f"interrupted in step {len(steps) + 1} of the search for the capacity")
    record.pack.write_capacity(replace(report, knee=_knee(steps)))
    return report.ended != _INTERRUPTED


def _why_none_fits(run: LiveRun, scenario: Scenario, deadline_s: float) -> str:
    """Why this step may not be made any more; empty where it may."""
    sent = sum(each.scenario.count for each in run.record.manifest.scenario_runs)
    if sent + scenario.count > run.job.most_requests:
        return f"{run.job.most_requests:,} requests are all that the run may send (--max-requests)"
    seconds = scenario.count / (scenario.pace.rate_per_s or 1.0)
    return "the time was over (--minutes)" if time.monotonic() + seconds > deadline_s else ""


def _send(run: LiveRun, watch: ArrivalWatch, scenario: Scenario) -> ScenarioRun:
    record = run.record
    record.announce(scenario, run.pool.size)
    watch.follow(scenario, record.history.rows_files(scenario, run.pool.size))
    sent = run_and_watch(run.pool, run.load(scenario), progress=run.reporter.progress)
    watch.finish(scenario)
    record.complete(sent)
    return sent


def _wait_until_good(run: LiveRun) -> str:
    """Wait until the target is healthy, or takes a connection where it names no probe; what is wrong if it stays so."""
    probes = run.job.profile.probes
    probe, path = HttpProbe(run.target.endpoint, probes.timeout_s), probes.ready or probes.health
    deadline_s = time.monotonic() + _WORK_OFF_S
    while True:
        response = probe.connect() if path is None else probe.get(path)
        if response.is_good:
            return ""
        if time.monotonic() > deadline_s:
            return response.problem or f"{path} answers {response.status}"
        time.sleep(_POLL_S)


def _works_off(store: Store, watch: ArrivalWatch, before: Standing) -> bool:
    """Wait until the database stands as before and all awaited rows are there; False: it takes too long."""
    deadline_s = time.monotonic() + _WORK_OFF_S
    while True:
        wait_until_settled(store, before)
        if not watch.awaited:
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)


def _describe(scenario: Scenario, steps: list[CapacityStep]) -> str:
    """What begins, and how the step before ended."""
    begins = f"step {len(steps) + 1}: {scenario.pace.rate_per_s:,.4g}/s"
    return f"{begins} ({_describe_step(steps[-1])})" if steps else begins


def _describe_step(step: CapacityStep) -> str:
    """A step in a phrase."""
    p95_ms = step.latencies_ms["response_p95_ms"]
    reason = f": {shorten(step.why, _WHY_MOST)}" if step.why else f", p95 {p95_ms:,.0f} ms"
    return f"{step.rate_per_s:,.4g}/s {step.result}{reason}"


def _knee(steps: list[CapacityStep]) -> tuple[str, ...]:
    """The labels of the steps in which the target was at its limit; of all that were held where none was missed."""
    found = estimate([step.trial for step in steps])
    missed = [step for step in steps if step.result is StepResult.MISSED]
    lowest = min((step.rate_per_s for step in missed), default=0.0)
    most_per_s = _KNEE * max(lowest, found.per_s if found else 0.0)
    near = [step for step in missed if step.rate_per_s <= most_per_s]
    if not near:
        highest = max((step.rate_per_s for step in steps if step.result is StepResult.HELD), default=0.0)
        near = [step for step in steps if step.rate_per_s >= highest]
    return tuple(step.run.scenario.label for step in near)
