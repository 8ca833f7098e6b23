"""``rig ci``."""

from __future__ import annotations

from pathlib import Path

import click

from rig.cli.mix import seconds_option, workers_option
from rig.cli.options import Invocation, fill_in, takes_settings
from rig.cli.output import terminal
from rig.machine.extras import require
from rig.text import json_text


@click.command("ci")
@takes_settings("out", "seed", out=Path("results/ci"))
@seconds_option
@workers_option
@click.option("--quick", is_flag=True, help="Run one step, one trial of S8 and one case of the storm.")
def ci(invocation: Invocation, seconds: int, workers: int, quick: bool) -> int:
    """Run everything that a pipeline needs, with one exit code.

    These are the null gate, the ladder, the perf gate, a storm, and the sustained mix.
    """
    from rig.cli.console import ConsoleReporter
    from rig.verbs import ci as pipeline

    require("locust", "locust")  # the last step needs it: say so now, and not after minutes
    out, seed = invocation.settings.out, invocation.settings.seed
    length = fill_in({"seconds": seconds}, invocation.load_profile().scenarios.options_of_mix())
    steps = pipeline.steps_of(invocation.choice, seed, quick=quick, workers=workers, **length)
    with ConsoleReporter(terminal()) as reporter:
        done = pipeline.run_ci(steps, out, invocation.environment(), reporter)
    document = json_text(pipeline.document_of(done, out)) if invocation.as_json else None
    click.echo(document or pipeline.summary_of(done))
    return pipeline.exit_code_of(done)
