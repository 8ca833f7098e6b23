"""The verbs that load a target: run, ladder, perf, calibrate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from rig.cli.options import Common, above_zero, loading
from rig.cli.words import execute
from rig.errors import UsageError

if TYPE_CHECKING:
    from rig.profile import Profile


def _steps(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        steps = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: give numbers like 50,250,1000") from None
    if not steps or min(steps) < 1 or len(set(steps)) != len(steps):
        raise click.BadParameter(f"{value!r}: give different numbers from 1")
    return steps


def _ids(context: click.Context, parameter: click.Parameter, value: str | None) -> frozenset[str] | None:
    from scenarios.ladder import IDS

    if value is None:
        return None
    chosen = frozenset(part.strip().upper() for part in value.split(","))
    if unknown := sorted(chosen - set(IDS)):
        raise click.BadParameter(f"{unknown[0]!r} is no scenario; known are {', '.join(IDS)}")
    return chosen


def _require_aliases(only: frozenset[str] | None, profile: Profile) -> None:
    """UsageError where S9 is asked for by name and has nothing to send: alone, it would be a run that loads nobody."""
    if only is not None and "S9" in only and not profile.sources:
        raise UsageError(
            f"--only S9: the profile {profile.name!r} has no [[channels]], so S9 has nothing to send; "
            "write them (docs/profile.md), or leave S9 out"
        )


_climbing = [
    click.option("--steps", default="50,250,1000", show_default=True, callback=_steps, help="N of each ladder step."),
    click.option("--only", callback=_ids, help="Some scenarios only, like S1,S5."),
    click.option("--tenants", type=click.IntRange(1, 200), default=1, show_default=True, help="Spread over so many."),
    click.option("--documented", is_flag=True, help="The documented composition: totals 11,498 / 2,980 / 1 / 0."),
]


def _with_climbing(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_climbing):
        command = option(command)
    return command


@click.command("run")
@loading
@_with_climbing
@click.option("-n", "requests", type=click.IntRange(1), default=10_000, show_default=True, help="Requests of S8.")
@click.option("--max-seconds", type=float, default=10.0, show_default=True, callback=above_zero, help="Limit of S8.")
@click.option("--trials", type=click.IntRange(1, 20), default=3, show_default=True, help="Trials of S8.")
@click.option("--storms/--no-storms", default=True, show_default=True, help="A short storm on the fleet's locks.")
def run_(
    common: Common,
    steps: tuple[int, ...],
    only: frozenset[str] | None,
    tenants: int,
    documented: bool,
    requests: int,
    max_seconds: float,
    trials: int,
    storms: bool,
) -> int:
    """The whole job: certify the client, climb the ladder S1-S9, read the truth, judge, write the evidence."""
    from scenarios.ladder import IDS, SPREAD, Ladder

    profile, folder = common.load_profile()
    _require_aliases(only, profile)
    ladder = Ladder(
        routes=tuple(route.name for route in profile.routes),
        sources=profile.sources,
        steps=steps,
        only=only or frozenset(IDS),
        tenants=tenants,
        # Fixed tenants are few: nobody has twenty to spare.
        spread=0 if profile.tenants.fixed else SPREAD,
        documented=documented,
        perf_requests=requests,
        perf_limit_s=max_seconds,
        perf_trials=trials,
    )
    job = common.job("run", profile, folder, ladder.scenarios())
    return execute(common, replace(job, settings=replace(job.settings, storms=storms)))


@click.command("ladder")
@loading
@_with_climbing
def ladder_(common: Common, steps: tuple[int, ...], only: frozenset[str] | None, tenants: int, documented: bool) -> int:
    """The ladder without the perf gate: S1-S7 at each step, then S9."""
    from scenarios.ladder import IDS, SPREAD, Ladder

    profile, folder = common.load_profile()
    _require_aliases(only, profile)
    ladder = Ladder(
        routes=tuple(route.name for route in profile.routes),
        sources=profile.sources,
        steps=steps,
        only=only or frozenset(IDS) - {"S8"},
        tenants=tenants,
        # Fixed tenants are few: nobody has twenty to spare.
        spread=0 if profile.tenants.fixed else SPREAD,
        documented=documented,
    )
    return execute(common, common.job("ladder", profile, folder, ladder.scenarios()))


@click.command("perf")
@loading
@click.option("-n", "requests", type=click.IntRange(1), default=10_000, show_default=True, help="Requests of S8.")
@click.option("--max-seconds", type=float, default=10.0, show_default=True, callback=above_zero, help="Limit of S8.")
@click.option("--trials", type=click.IntRange(1, 20), default=3, show_default=True, help="Trials of S8.")
@click.option("--rate", type=float, callback=above_zero, help="Instead of S8: an open loop of so many requests/s.")
@click.option(
    "--seconds", type=float, default=10.0, show_default=True, callback=above_zero, help="With --rate: for so long."
)
@click.option(
    "--p95",
    "p95_ms",
    type=float,
    default=500.0,
    show_default=True,
    callback=above_zero,
    help="With --rate: response time limit, ms.",
)
def perf(
    common: Common, requests: int, max_seconds: float, trials: int, rate: float | None, seconds: float, p95_ms: float
) -> int:
    """The perf gate: 10,000 events in under 10 s, or a sustained rate."""
    from scenarios.ladder import Ladder
    from scenarios.s8 import warm_up
    from scenarios.sustained import sustained

    profile, folder = common.load_profile()
    routes = tuple(route.name for route in profile.routes)
    if rate is None:
        ladder = Ladder(
            routes=routes,
            only=frozenset({"S8"}),
            spread=0,
            perf_requests=requests,
            perf_limit_s=max_seconds,
            perf_trials=trials,
        )
        scenarios = ladder.scenarios()
    else:
        scenarios = [
            warm_up(routes[0], "warm-up"),
            sustained(routes[0], ("sustained",), rate_per_s=rate, seconds=seconds, p95_limit_ms=p95_ms),
        ]
    return execute(common, common.job("perf", profile, folder, scenarios))


@click.command("calibrate")
@loading
@click.option("--full", is_flag=True, help="The whole ruler: every delay at every rate, about a minute and a half.")
def calibrate(common: Common, full: bool) -> int:
    """Null benchmark and ruler: is this client good enough to judge anybody, and how far are its latencies right?"""
    profile, folder = common.load_profile()
    job = common.job("calibrate", profile, folder, ())
    if full:
        job = replace(job, settings=replace(job.settings, latency_calibration="full"))
    return execute(common, job)
