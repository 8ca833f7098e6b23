"""``rig perf``, and the options of the perf gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rig.cli.options import Invocation, require_above_zero, takes_run_settings
from rig.cli.output import run_job

_OPTIONS = (
    click.option(
        "-n", "perf_requests", type=click.IntRange(1), default=10_000, show_default=True, help="Send N requests in S8."
    ),
    click.option(
        "--max-seconds",
        "perf_limit_s",
        type=float,
        default=10.0,
        show_default=True,
        callback=require_above_zero,
        help="Fail S8 above this time.",
    ),
    click.option(
        "--trials",
        "perf_trials",
        type=click.IntRange(1, 20),
        default=3,
        show_default=True,
        help="Run S8 this many times.",
    ),
)


def takes_perf_gate(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of S8, by the names that ``rig.verbs.ladder`` gives them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("perf")
@takes_run_settings()
@takes_perf_gate
@click.option(
    "--rate", type=float, callback=require_above_zero, help="Instead of S8, send this many requests/s in an open loop."
)
@click.option(
    "--seconds",
    type=float,
    default=10.0,
    show_default=True,
    callback=require_above_zero,
    help="With --rate: send for this long.",
)
@click.option(
    "--p95",
    "p95_ms",
    type=float,
    default=500.0,
    show_default=True,
    callback=require_above_zero,
    help="With --rate: fail above this response time, ms.",
)
def perf(invocation: Invocation, rate: float | None, seconds: float, p95_ms: float, **perf_gate: Any) -> int:
    """Run the perf gate: 10,000 events in under 10 s, or a sustained rate."""
    from rig.verbs.ladder import ladder_scenarios, sustained_scenarios

    profile = invocation.load_profile()
    if rate is None:
        scenarios = ladder_scenarios(profile, frozenset({"S8"}), **perf_gate)
    else:
        scenarios = sustained_scenarios(profile, rate, seconds, p95_ms)
    return run_job(invocation, invocation.job("perf", profile, scenarios))
