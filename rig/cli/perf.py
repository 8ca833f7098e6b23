"""``rig perf``, and the options of the perf gate."""

from __future__ import annotations

from typing import Any

import click

from rig.cli.options import (
    Invocation,
    count_option,
    decorate_with,
    fill_in,
    positive_option,
    takes_run_settings,
)
from rig.cli.output import run_job
from rig.limits import RATE_CEILING_PER_S
from rig.model import Arrivals

takes_perf_gate = decorate_with(
    count_option("-n", "perf_requests", default=10_000, text="Send N requests in S8."),
    positive_option("--max-seconds", "perf_limit_s", default=10.0, text="Fail S8 above this time."),
    count_option("--trials", "perf_trials", default=3, most=20, text="Run S8 this many times."),
)
"""The options of S8, by the names that ``rig.verbs.ladder`` gives them."""


@click.command("perf")
@takes_run_settings("certificate")
@takes_perf_gate
@positive_option("--rate", most=RATE_CEILING_PER_S, text="Instead of S8, send this many requests/s in an open loop.")
@positive_option("--seconds", default=10.0, text="With --rate: send for this long.")
@positive_option("--p95", "p95_ms", default=500.0, text="With --rate: fail above this response time, ms.")
@click.option(
    "--arrivals",
    type=click.Choice([Arrivals.CONSTANT.value, Arrivals.POISSON.value]),
    default=Arrivals.CONSTANT.value,
    show_default=True,
    help="With --rate: spread requests over time like this.",
)
def perf(
    invocation: Invocation, rate: float | None, seconds: float, p95_ms: float, arrivals: str, **perf_gate: Any
) -> int:
    """Run the perf gate: 10,000 events in under 10 s, or a sustained rate."""
    from rig.verbs.ladder import add_sustained, ladder_scenarios, sustained_scenarios

    profile = invocation.load_profile()
    given = {"seconds": seconds, "p95_ms": p95_ms, "arrivals": arrivals}
    sustained = fill_in(given, profile.scenarios.options_of_sustained())
    if rate is None:
        options = fill_in(perf_gate, profile.scenarios.options())
        plan = add_sustained(ladder_scenarios(profile, frozenset({"S8"}), **options), profile, **sustained)
    else:
        plan = sustained_scenarios(profile, rate, **sustained)
    return run_job(invocation, invocation.job("perf", profile, plan))
