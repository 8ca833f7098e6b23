"""The verb that lets a fleet loose: storm."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rig.checks.race_tests.catalog import OLD_PROTECTIONS, PROTECTIONS, STORMS
from rig.cli.options import (
    AliasedOption,
    allow_host_option,
    introduce,
    json_option,
    out_option,
    profile_option,
    reference_option,
    seed_option,
)
from rig.cli.output import print_verdict, terminal
from rig.errors import ExitCode, UsageError
from rig.evidence.storm import UNKNOWN_KID
from rig.text import json_text, one_line

if TYPE_CHECKING:
    from rig.profile import Profile

_PROTECTIONS = "; ".join(f"{storm}: {', '.join(names)}" for storm, names in PROTECTIONS.items())


@click.command("storm", epilog=f"Protections of the reference implementations: {_PROTECTIONS}.")
@click.argument("name", metavar="STORM", type=click.Choice(STORMS))
@profile_option
@reference_option
@click.option("--processes", type=click.IntRange(1, 64), help="Start this many processes. Default: the storm's own.")
@click.option("--without", multiple=True, help="Switch this protection of the reference off. Repeatable.")
@click.option("--case", "cases", multiple=True, help="With unknown-kid: run this case only. Repeatable.")
@click.option(
    "--key-ids",
    cls=AliasedOption,
    old=("--kids",),
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="With unknown-kid: send this many key ids from each process.",
)
@click.option(
    "--subject", default="", help="With unknown-kid: test reference, pyjwt, authlib, http, or module:factory."
)
@click.option(
    "--scoreboard",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Run the storm against each subject of this list, and show them in one table. Without a file: the published "
    "list, which comes with the documents (docs/scoreboards).",
)
@click.option(
    "--origin",
    is_flag=True,
    help="With unknown-kid: run no storm. Keep the profile's origin up until Ctrl-C, and print tokens to try.",
)
@seed_option
@out_option
@allow_host_option
@json_option
def storm_(
    name: str,
    profile: Path | None,
    reference: bool,
    processes: int | None,
    without: tuple[str, ...],
    cases: tuple[str, ...],
    key_ids: int,
    subject: str,
    scoreboard: str | None,
    origin: bool,
    seed: int,
    out: Path,
    allow_host: str | None,
    as_json: bool,
) -> int:
    """Start many processes at one instant and count what really happens.

    A ledger outside the processes counts.
    """
    from rig.cli.console import ConsoleReporter
    from rig.profile import environment
    from rig.run.job import Job
    from rig.settings import Settings
    from rig.storms.environment import StormOptions
    from rig.storms.subject_list import published_list
    from rig.verbs.storm import storm

    choice = introduce(profile, reference)
    if origin:
        return _keep_origin(name, choice.load(storms_suffice=True), as_json=as_json)
    settings = Settings(seed=seed, out=out, allow_host=allow_host)
    job = Job("storm", ("rig", *sys.argv[1:]), settings, choice.load(storms_suffice=True), choice.path.resolve().parent)
    with ConsoleReporter(terminal()) as reporter:
        protections = tuple(OLD_PROTECTIONS.get(one, one) for one in without)
        options = StormOptions(processes, protections, cases, subject, key_ids)
        subjects = published_list(name) if scoreboard == "" else Path(scoreboard) if scoreboard else None
        finished = storm(job, name, options, choice.environment(environment()), reporter, subjects)
    for row in finished.rows if not as_json else ():
        click.echo(f"{row.verdict:8} {row.name} {row.version}  {row.passed} of {row.tried} gates")
        for sentence in row.wrong[:1]:
            click.echo(f"         {one_line(sentence)}")
    return print_verdict(finished.finished, as_json=as_json, document=finished.document())


def _keep_origin(name: str, profile: Profile, *, as_json: bool) -> int:
    """Print where the origin is once it is up, and at the end how often it was asked."""
    from rig.verbs.origin import StandingOrigin, keep_origin

    def tell(standing: StandingOrigin) -> None:
        click.echo(json_text(asdict(standing)) if as_json else standing.lines())
        click.echo("Ctrl-C ends it.", err=True)

    if name != UNKNOWN_KID:
        raise UsageError(f"--origin: {name} has no origin; {UNKNOWN_KID} has")
    click.echo(f"keys were fetched {keep_origin(profile, tell)} times", err=True)
    return ExitCode.PASS
