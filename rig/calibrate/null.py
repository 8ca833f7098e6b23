"""The null benchmark: the rate that this client reaches against a stub that does nothing, and what limits it.

Flow: a warm-up, then three trials through the same engine and rows as S8, at S8's concurrency, on the route whose
requests cost most. Each trial sends 10,000 unique signed requests, as S8 does, and all of them again until 2 seconds
have passed: nobody needs to know the rate before. The median of the trials is compared with the floor. Where it is
below, figures decide whether the client, its signatures, the stub or the hardware is the limit; only in the last case
the advice is a bigger machine.
Not for latency (``rig.calibrate.latency``) or the target.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

import numpy as np

from rig.calibrate.client import CalibratedClient
from rig.calibrate.stub import Stub, null_stub
from rig.engine.executors import RepeatingLoop
from rig.engine.pool import Load
from rig.errors import ErrorKind
from rig.evidence.certificate import Certificate, NullTrial
from rig.evidence.scenario_runs import RESULT, Interval, ScenarioRun
from rig.limits import BUSY, FLOOR_RPS, LEAST_REQUESTS, LEAST_S, LEAST_TRIALS, STOLEN, THROTTLED
from rig.machine.cgroup import CpuGroup
from rig.model import Pace, RequestClass, Scenario, Share
from rig.requests.cost import making_us
from rig.requests.sender import made_up
from rig.requests.targeter import Targeter

CONNECTIONS = 200
DEADLINE_S = 60.0
"""Far more than a client above the floor needs, and short enough for requests to be signed ahead."""
WARM_UP_REQUESTS = 4_000
_CHURN_REQUESTS = 2_000
"""A connection for each request is slow, and its price is a figure, not a gate."""
_TENANT = "null"
_ABOUT_THE_SAME_US = 100

STALL_EXPLAINS = 0.25
"""A worker that did not run for this share of a trial explains a rate below the floor."""
STARVED = 0.05
"""A stalled worker that used less of a core than this did not only share a busy machine: something stopped it."""


def null_benchmark(
    client: CalibratedClient,
    *,
    routes: Sequence[str] = (),
    floor_rps: float = FLOOR_RPS,
    trials: int = LEAST_TRIALS,
    seconds: float = LEAST_S,
) -> Certificate:
    """Run warm-up, trials and churn. ``routes``: those of the run; empty for all of the profile."""
    bench = NullBench(client, routes)
    with client.open_folder("null benchmark"):
        with null_stub(cores=client.stub_cores) as stub:
            client.progress("null benchmark: warm-up")
            bench.run_scenario(stub, WARM_UP_REQUESTS)
            measured = []
            for number in range(1, trials + 1):
                client.progress(f"null benchmark: trial {number} of {trials}, {seconds:g} s")
                measured.append(bench.run_scenario(stub, LEAST_REQUESTS, seconds))
        with null_stub(close_connections=True, cores=client.stub_cores) as stub:
            client.progress("null benchmark: the price of churn")
            churn = bench.run_scenario(stub, _CHURN_REQUESTS)
    certificate = Certificate(
        floor_rps=floor_rps,
        workers=client.pool.size,
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


class NullBench:
    """Sends requests of the costliest of ``routes`` (empty: of all) to a stub."""

    def __init__(self, client: CalibratedClient, routes: Sequence[str]) -> None:
        self._client = client
        self._profile = client.profile.for_stub()
        self._credentials = {_TENANT: made_up(client.profile, "null-benchmark")}
        self.route = self._costliest(routes or [route.name for route in client.profile.routes])

    def _costliest(self, names: Sequence[str]) -> str:
        """The route whose requests take most CPU; the first of those that cost about the same."""
        if len(names) < 2:
            return names[0]
        now, targeter = time.time(), Targeter(self._profile, self._client.run)
        costs_us = {}
        for name in names:
            request = targeter.bind(self._scenario(name, 100), self._credentials).request
            costs_us[name] = making_us(lambda seq, request=request: request(seq, now), range(100))  # type: ignore[misc]
        return max(names, key=lambda name: costs_us[name] // _ABOUT_THE_SAME_US)

    @staticmethod
    def _scenario(route: str, count: int, seconds: float = 0.0) -> Scenario:
        return Scenario(
            id="null",
            title="NullBenchmark",
            step=count,
            route=route,
            tenants=(_TENANT,),
            shares=(Share(RequestClass.VALID, count),),
            pace=Pace(CONNECTIONS),
            deadline_s=DEADLINE_S + seconds,
        )

    def run_scenario(self, stub: Stub, count: int, seconds: float = 0.0) -> NullTrial:
        """Send ``count`` requests once, and all of them again and again until ``seconds`` have passed."""
        scenario = self._scenario(self.route, count, seconds)
        load = Load(
            scenario,
            self._profile,
            self._client.run,
            self._credentials,
            stub.endpoint,
            self._rows_file,
            partial(RepeatingLoop, least_s=seconds),
        )
        cpu_before_s = stub.cpu_s()

        def start_counting() -> None:
            nonlocal cpu_before_s
            cpu_before_s = stub.cpu_s()

        report = self._client.send(load, "null benchmark", start_counting)
        stub_cpu_s = stub.cpu_s() - cpu_before_s
        good = sum(_count_good(self._rows_file(worker)) for worker in range(self._client.pool.size))
        return _measure(report, good, stub_cpu_s)

    def _rows_file(self, worker: int) -> Path:
        return self._client.folder / f"{worker}.rows"


def _count_good(rows_file: Path) -> int:
    """How many requests had a proper answer; the file is gone then."""
    rows = np.fromfile(rows_file, dtype=RESULT)
    rows_file.unlink()
    return int(((rows["status"] == HTTPStatus.OK) & (rows["error_kind"] == ErrorKind.NONE)).sum())


def _measure(report: ScenarioRun, good: int, stub_cpu_s: float) -> NullTrial:
    machine, elapsed_s = report.machine, report.elapsed_s
    assert machine is not None
    busy = [worker for worker in report.present if worker.sent]
    return NullTrial(
        rps=good / elapsed_s if elapsed_s else 0.0,
        elapsed_s=elapsed_s,
        requests=report.offered,
        failures=report.offered - good,
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
