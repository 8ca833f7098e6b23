"""The null benchmark: the rate that this client reaches against a stub that does nothing, and what limits it.

Flow: a probe finds the rate. Then three trials of at least 10,000 signed unique requests and 2 seconds run through the
same engine and history as S8, at S8's concurrency, on the route whose requests cost most. Their median is compared with
the floor. Where it is below, figures decide whether the client, its signatures, the stub or the hardware is the limit;
only in the last case the advice is a bigger machine.
Not for latency (``rig.calibrate.latency``) or the target.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from rig.calibrate.machine import run_and_watch
from rig.calibrate.stub import Stub, null_stub
from rig.engine.executors import RepeatingLoop
from rig.engine.pool import Load, Pool
from rig.errors import EvidenceError
from rig.evidence.certificate import Certificate, NullTrial
from rig.evidence.history import History
from rig.evidence.scenario_runs import Interval, ScenarioRun
from rig.limits import BUSY, FLOOR_RPS, LEAST_REQUESTS, LEAST_S, LEAST_TRIALS, STOLEN, THROTTLED
from rig.machine.cgroup import CpuGroup
from rig.model import Outcome, Pace, RequestClass, RunKey, Scenario, Share
from rig.profile import Profile
from rig.requests.cost import making_us
from rig.requests.sender import made_up
from rig.requests.targeter import Targeter

CONNECTIONS = 200
DEADLINE_S = 60.0
"""Far more than a client above the floor needs, and short enough for requests to be signed ahead."""
_PROBE_REQUESTS = 4_000
_CHURN_REQUESTS_PER_S = 2_000
"""For each second of a trial: a connection for each request is slow, and its price is a figure, not a gate."""
_MOST_REQUESTS = 400_000
_MARGIN = 1.15
"""Trials are sized by the probe's rate, which varies. This much is added, so that a fast trial lasts long enough."""
_TENANT = "null"
_ABOUT_THE_SAME_US = 100

STALL_EXPLAINS = 0.25
"""A worker that did not run for this share of a trial explains a rate below the floor."""
STARVED = 0.05
"""A stalled worker that used less of a core than this did not only share a busy machine: something stopped it."""


def null_benchmark(
    pool: Pool,
    profile: Profile,
    run: RunKey,
    folder: Path,
    *,
    routes: Collection[str] = (),
    floor_rps: float = FLOOR_RPS,
    trials: int = LEAST_TRIALS,
    seconds: float = LEAST_S,
    stub_cores: Collection[int] = (),
    progress: Callable[[str], None] = lambda what: None,
) -> Certificate:
    """Run probe, trials and churn; ``folder`` holds their histories and is removed at the end.

    ``routes``: those of the run; empty for all of the profile. ``stub_cores``: the only cores that the stub may use;
    empty for all.
    """
    bench = _NullBench(pool, profile, run, folder, routes)
    try:
        with null_stub(cores=stub_cores) as stub:
            progress("null benchmark: probe")
            numbers = itertools.count()
            rate = bench.run_scenario(stub, _PROBE_REQUESTS, trial=next(numbers)).rps
            count = min(_MOST_REQUESTS, max(LEAST_REQUESTS, int(rate * seconds * _MARGIN)))
            measured = []
            for number in range(1, trials + 1):
                progress(f"null benchmark: trial {number} of {trials}, {count:,} requests")
                while True:
                    trial = bench.run_scenario(stub, count, trial=next(numbers))
                    longer = min(_MOST_REQUESTS, max(count, int(trial.rps * seconds * _MARGIN)))
                    outran, count = longer > count, longer
                    if trial.elapsed_s >= seconds or not outran:
                        break
                    # It was over too soon, because the run that sized it was slower. Take it as a probe: the next one
                    # is larger by at least the margin, so this loop ends.
                measured.append(trial)
        with null_stub(close_connections=True, cores=stub_cores) as stub:
            progress("null benchmark: the price of churn")
            churned = max(CONNECTIONS, round(_CHURN_REQUESTS_PER_S * min(seconds, LEAST_S)))
            churn = bench.run_scenario(stub, churned, trial=next(numbers))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    certificate = Certificate(
        floor_rps=floor_rps,
        workers=pool.size,
        trials=tuple(measured),
        churn_rps=churn.rps,
        route=bench.route,
    )
    return explain(certificate, group_alone=CpuGroup.of_this_process().alone)


def explain(certificate: Certificate, *, group_alone: bool = False) -> Certificate:
    """The certificate with the reason why this client must not judge a target, where there is one. Pure.

    ``group_alone``: see ``limit_of``.
    """
    if certificate.rps < certificate.floor_rps:
        reason, explanation = limit_of(certificate.median, group_alone=group_alone)
        return replace(certificate, reason=reason, explanation=explanation)
    if failures := sum(trial.failures for trial in certificate.trials):
        # The rate is high enough, so ``limit_of`` has nothing to explain.
        requests = sum(trial.requests for trial in certificate.trials)
        explanation = f"{failures:,} of {requests:,} requests to the stub had no proper answer"
        return replace(certificate, reason="failures", explanation=explanation)
    return certificate


def limit_of(trial: NullTrial, *, group_alone: bool = False) -> tuple[str, str]:
    """What limited a trial, and the figures that show it. Pure.

    ``group_alone``: there are other control groups on the machine, which the quota of the rig's does not limit.
    """
    machine = Interval(trial.cores_busy, trial.steal, trial.throttled_s)
    cores = len(trial.cores_busy)
    if trial.signing and max(trial.worker_utilisation, machine.busy) >= BUSY:
        return "client-bound", (
            f"{trial.signing}, and its signatures do not last long enough to be prepared ahead; raise tolerance_s of "
            "the route as far as the target allows, or test with a cheaper key"
        )
    if trial.steal >= STOLEN:
        return "hardware-bound", (
            f"the hypervisor took {trial.steal:.0%} of the CPU time; use a machine with dedicated cores, or with more"
        )
    throttled = trial.throttled_s / trial.elapsed_s if trial.elapsed_s else 0.0
    if throttled >= THROTTLED and machine.busy < BUSY:
        held = f"a CPU quota held the rig back for {trial.throttled_s:.1f} s of {trial.elapsed_s:.1f} s"
        if group_alone:
            return "client-bound", f"{held} while the machine was only {machine.busy:.0%} busy; lift the quota"
        return "hardware-bound", f"{held}, and nothing runs outside its group; a larger quota is needed"
    starved = trial.worker_utilisation < STARVED
    if trial.stalled >= STALL_EXPLAINS and (machine.busy < BUSY or starved):
        meanwhile = "it used hardly any CPU though it had work" if starved else "the machine was only partly busy"
        return "client-bound", (
            f"a load worker did not run for {trial.stalled:.0%} of the time while {meanwhile} (worker "
            f"{trial.worker_utilisation:.0%} of a core, machine {machine.busy:.0%}): it was stopped or throttled; lift "
            "its CPU limit"
        )
    if machine.busy >= BUSY:
        return "hardware-bound", f"all {cores} cores were {machine.busy:.0%} busy; a machine with more cores is needed"
    if trial.worker_utilisation >= BUSY:
        return "client-bound", (
            f"a load worker used {trial.worker_utilisation:.0%} of one core while the machine was only "
            f"{machine.busy:.0%} busy; use more workers (--workers)"
        )
    if trial.stub_utilisation >= BUSY:
        return "stub-bound", f"the stub used {trial.stub_utilisation:.0%} of one core; the client could do more"
    return "client-bound", (
        f"nothing was at its limit (worker {trial.worker_utilisation:.0%}, stub {trial.stub_utilisation:.0%}, machine "
        f"{machine.busy:.0%} busy, {trial.failures} failures): find out what else limits the client"
    )


class _NullBench:
    def __init__(self, pool: Pool, profile: Profile, run: RunKey, folder: Path, routes: Collection[str] = ()) -> None:
        self._pool = pool
        self._profile = profile.for_stub()
        self._run = run
        self._history = History(folder)
        self._credentials = {_TENANT: made_up(profile, "null-benchmark")}
        self.route = self._costliest(routes or [route.name for route in profile.routes])

    def _costliest(self, routes: Collection[str]) -> str:
        """The route whose requests take most CPU; the first of those that cost about the same."""
        names = [route.name for route in self._profile.routes if route.name in routes]
        if len(names) < 2:
            return names[0]
        now, targeter = time.time(), Targeter(self._profile, self._run)
        costs_us = {}
        for name in names:
            request = targeter.bind(self._scenario(name, 100, 0), self._credentials).request
            costs_us[name] = making_us(lambda seq, request=request: request(seq, now), range(100))  # type: ignore[misc]
        return max(names, key=lambda name: costs_us[name] // _ABOUT_THE_SAME_US)

    @staticmethod
    def _scenario(route: str, count: int, trial: int) -> Scenario:
        return Scenario(
            id="null",
            title="NullBenchmark",
            step=count,
            route=route,
            tenants=(_TENANT,),
            shares=(Share(RequestClass.VALID, count),),
            pace=Pace(CONNECTIONS),
            trial=trial,
            deadline_s=DEADLINE_S,
        )

    def run_scenario(self, stub: Stub, count: int, trial: int) -> NullTrial:
        scenario = self._scenario(self.route, count, trial)
        load = Load(
            scenario,
            self._profile,
            self._run,
            self._credentials,
            stub.endpoint,
            lambda worker: self._history.rows_file(scenario, worker),
            RepeatingLoop,
        )
        cpu_before_s = stub.cpu_s()

        def start_counting() -> None:
            nonlocal cpu_before_s
            cpu_before_s = stub.cpu_s()

        report = run_and_watch(self._pool, load, on_start=start_counting)
        stub_cpu_s = stub.cpu_s() - cpu_before_s
        if report.interrupted:
            raise KeyboardInterrupt
        if not report.complete:
            raise EvidenceError(f"the null benchmark has no result: {'; '.join(report.notes)}")
        return self._measure(report, stub_cpu_s)

    def _measure(self, report: ScenarioRun, stub_cpu_s: float) -> NullTrial:
        scenario, machine = report.scenario, report.machine
        assert machine is not None
        composition = Targeter(self._profile, self._run).bind(scenario).composition
        answers = dict.fromkeys(RequestClass, (200,))
        rows = self._history.seal(scenario, composition.share, composition.tenant, answers)
        good = int((rows["outcome"] == Outcome.ACKNOWLEDGED).sum())
        elapsed_s = report.elapsed_s
        busy = [worker for worker in report.present if worker.sent]
        return NullTrial(
            rps=good / elapsed_s if elapsed_s else 0.0,
            elapsed_s=elapsed_s,
            requests=scenario.count,
            failures=scenario.count - good,
            client_cpu_us_per_request=report.cpu_us_per_request,
            client_all_in_us_per_request=report.all_in_us_per_request,
            worker_utilisation=max(((w.cpu_user_s + w.cpu_system_s) / w.wall_s for w in busy), default=0.0),
            stub_utilisation=stub_cpu_s / elapsed_s if elapsed_s else 0.0,
            stalled=max((w.stalled_s / w.wall_s for w in busy), default=0.0),
            cores_busy=machine.cores_busy,
            steal=machine.steal,
            throttled_s=machine.throttled_s,
            signing_us_per_request=max((w.signing_us for w in busy), default=0.0),
            signed_ahead=all(w.signed_ahead for w in busy),
        )
