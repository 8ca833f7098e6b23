"""What the samplers do to what is measured: shortened S8 runs in pairs, with and without them, in turn.

One database server, one load process and one profile for all; each run has a database and a service of its own, as a
judged one has. Within a pair the two lie seconds apart, so what drifts on the machine meets both, and which of them
goes first changes from pair to pair. Keep the machine quiet.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from numpy.typing import NDArray

from rig.engine.pool import Pool
from rig.machine.supervisor import Supervisor
from rig.profile import bundled_profile, environment, load_profile
from rig.run.job import Job
from rig.run.load_target import load_target
from rig.run.open_run import open_run
from rig.run.reporter import Reporter
from rig.settings import Settings
from rig.target.launch import migrate
from rig.target.postgres import open_cluster
from rig.target.store import new_store
from scenarios.s8 import perf_gate, warm_up

PAIRS = 24
REQUESTS = 5_000
LIMIT = 0.03
RESAMPLES = 10_000


@pytest.mark.bench
@pytest.mark.timeout(600)
def bench_what_sampling_does_to_the_perf_gate(tmp_path: Path) -> None:
    """The median of the paired differences, as a share of the run without samplers, with its bootstrap interval."""
    pairs = int(os.environ.get("RIG_BENCH_PAIRS", PAIRS))
    profile = load_profile(bundled_profile())
    route = profile.routes[0].name
    scenarios = (warm_up(route, "warm-up"), perf_gate(route, "S8-1", requests=REQUESTS))
    job = Job("perf", (), Settings(out=tmp_path), profile, bundled_profile().parent, scenarios)
    took_s: dict[bool, list[float]] = {True: [], False: []}
    with Supervisor() as supervisor, Pool(1) as pool, open_cluster(supervisor, environ=os.environ) as cluster:
        for number in range(pairs):
            for samplers in (True, False) if number % 2 else (False, True):
                run = open_run(
                    replace(job, settings=replace(job.settings, samplers=samplers)), environment(), Reporter()
                )
                store = new_store(cluster, f"pair_{number}_{'with' if samplers else 'without'}")
                migrate(profile, job.profile_dir, store, run.environ, job.settings)
                load_target(run, pool, store)
                gate = run.record.manifest.scenario_runs[-1]
                assert gate.scenario.id == "S8"
                took_s[samplers].append(gate.elapsed_s)
    with_s, without_s = np.array(took_s[True]), np.array(took_s[False])
    differences = with_s / without_s - 1
    low, high = interval_of_median(differences)
    middle = float(np.median(differences))
    click.echo(
        f"\nS8 of {REQUESTS:,}: {np.median(without_s):.3f} s, with samplers {np.median(with_s):.3f} s; the median of "
        f"{pairs} paired differences is {middle:+.1%} (95 % interval {low:+.1%} to {high:+.1%}; limit {LIMIT:.0%})"
    )
    assert middle <= LIMIT


def interval_of_median(values: NDArray[np.float64]) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the median of ``values``, shape (pairs,); seeded."""
    chosen = np.random.default_rng(1).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[chosen], axis=1), (0.025, 0.975))
    return float(low), float(high)
