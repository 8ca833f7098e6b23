"""``rig calibrate``."""

from __future__ import annotations

from dataclasses import replace

import click

from rig.cli.options import Invocation, takes_run_settings
from rig.cli.output import run_job


@click.command("calibrate")
@takes_run_settings()
@click.option(
    "--full", is_flag=True, help="Calibrate latency at every delay and rate. It takes about a minute and a half."
)
def calibrate(invocation: Invocation, full: bool) -> int:
    """Measure the client: null benchmark and latency calibration.

    They say whether this client is fast enough to judge anybody, and how exact its latencies are.
    """
    job = invocation.job("calibrate")
    if full:
        job = replace(job, settings=replace(job.settings, latency_calibration="full"))
    return run_job(invocation, job)
