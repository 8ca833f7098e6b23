"""``rig run``."""

from __future__ import annotations

from typing import Any

import click

from rig.cli.ladder import takes_ladder
from rig.cli.options import Invocation, fill_in, takes_run_settings
from rig.cli.output import run_job
from rig.cli.perf import takes_perf_gate


@click.command("run")
@takes_run_settings("storms", "chaos", "certificate")
@takes_ladder
@takes_perf_gate
def run(invocation: Invocation, **ladder: Any) -> int:
    """Certify the client, load the target with S1-S9, break things, read the truth, judge.

    The evidence goes into a pack below the results folder.
    """
    from rig.verbs.chaos import add_short_chaos
    from rig.verbs.ladder import add_sustained, ladder_scenarios
    from rig.verbs.shapes import add_shapes

    profile = invocation.load_profile()
    plan = ladder_scenarios(profile, **fill_in(ladder, profile.scenarios.options()))
    if ladder["only"] is None and not ladder["documented"]:
        plan = add_sustained(plan, profile)
    job = add_shapes(invocation.job("run", profile, plan), ladder["only"], documented=ladder["documented"])
    asks_for_some = ladder["only"] or profile.scenarios.only or ladder["documented"]
    if job.settings.chaos and not asks_for_some:
        job = add_short_chaos(job)
    return run_job(invocation, job)
