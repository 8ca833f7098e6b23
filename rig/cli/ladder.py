"""``rig ladder``, and the options of the ladder."""

from __future__ import annotations

from typing import Any

import click

from rig.cli.options import Invocation, count_option, decorate_with, fill_in, takes_run_settings
from rig.cli.output import run_job


def _steps(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        steps = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: give numbers like 50,250,1000") from None
    if not steps or min(steps) < 1 or len(set(steps)) != len(steps):
        raise click.BadParameter(f"{value!r}: give different numbers from 1")
    return steps


def _ids(context: click.Context, parameter: click.Parameter, value: str | None) -> frozenset[str] | None:
    from rig.evidence.shapes import S10
    from scenarios.ladder import IDS

    if value is None:
        return None
    chosen = frozenset(part.strip().upper() for part in value.split(","))
    if unknown := sorted(chosen - {*IDS, S10}):
        raise click.BadParameter(f"{unknown[0]!r} is no scenario; known are {', '.join((*IDS, S10))}")
    return chosen


def _spread(context: click.Context, parameter: click.Parameter, value: int) -> int:
    if value in (1, 2):
        raise click.BadParameter(f"{value}: give 0, or at least 3; fewer would repeat the plain step")
    return value


takes_ladder = decorate_with(
    click.option(
        "--steps", default="50,250,1000", show_default=True, callback=_steps, help="Send N requests at each step."
    ),
    click.option("--only", callback=_ids, help="Run these scenarios only, like S1,S5."),
    count_option("--tenants", default=1, most=200, text="Spread over this many tenants."),
    click.option(
        "--spread",
        type=click.IntRange(0, 200),
        default=20,
        show_default=True,
        callback=_spread,
        help="Spread one more step over this many tenants. 0 leaves it out.",
    ),
    click.option(
        "--documented", is_flag=True, help="Send the documented composition. Its totals are 11,498 / 2,980 / 1 / 0."
    ),
)
"""The options of the ladder, by the names that ``rig.verbs.ladder`` gives them."""


@click.command("ladder")
@takes_run_settings("certificate")
@takes_ladder
def ladder(invocation: Invocation, **ladder: Any) -> int:
    """Run the ladder without the perf gate: S1-S7 at each step, then S9 and S10."""
    from rig.verbs.ladder import ladder_scenarios
    from rig.verbs.shapes import add_shapes

    profile = invocation.load_profile()
    options = fill_in(ladder, profile.scenarios.options())
    plan = ladder_scenarios(profile, without=frozenset({"S8"}), **options)
    job = add_shapes(invocation.job("ladder", profile, plan), ladder["only"], documented=ladder["documented"])
    return run_job(invocation, job)
