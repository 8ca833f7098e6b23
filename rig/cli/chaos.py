"""``rig chaos``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rig.cli.options import Invocation, positive_option, takes_run_settings
from rig.cli.output import print_result, print_verdict, terminal
from rig.errors import ExitCode
from rig.limits import RATE_CEILING_PER_S

if TYPE_CHECKING:
    from rig.profile import Profile
    from rig.run.job import Job


def _names(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


@click.command("chaos")
@takes_run_settings("certificate")
@positive_option("--minutes", default=1.0, text="Send new events for this long.")
@positive_option("--rate", default=100.0, most=RATE_CEILING_PER_S, text="Send this many new events/s.")
@click.option("--only", multiple=True, callback=_names, help="Make this fault only. Repeatable; commas may be used.")
@click.option(
    "--allow-faults",
    multiple=True,
    callback=_names,
    help="Make this fault although the rig did not start what it strikes. The profile's faults.allow must name it too.",
)
@click.option(
    "--faults-from",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Repeat the schedule of this pack.",
)
@click.option("--minimise", is_flag=True, help="After a FAIL, look for the fewest faults that still fail.")
@click.option("--list", "lists", is_flag=True, help="List the faults, and start nothing.")
def chaos(
    invocation: Invocation,
    minutes: float,
    rate: float,
    only: tuple[str, ...],
    allow_faults: tuple[str, ...],
    faults_from: Path | None,
    minimise: bool,
    lists: bool,
) -> int:
    """Break things while events arrive; prove that each is stored once.

    Faults strike by a schedule that follows from --seed, and each is healed. The sender tries again what was not
    acknowledged, and sometimes what was.
    """
    profile = invocation.load_profile()
    if lists:
        return _list_faults(profile, as_json=invocation.as_json)
    from rig.chaos.schedule import ChaosPlan, rest_after_faults, seconds_for
    from rig.run.chaos import add_chaos
    from rig.verbs.chaos import schedule_of
    from scenarios import s11

    if faults_from is not None and only:
        raise click.UsageError("--only and --faults-from: give one of them")
    rest_s = rest_after_faults(profile.faults.recovery_s, 60 * minutes)
    plan = ChaosPlan(60 * minutes, only, frozenset(allow_faults), rest_s=rest_s)
    settings = invocation.settings
    if faults_from is not None:
        schedule = schedule_of(faults_from)
        plan = replace(plan, seconds=seconds_for(schedule.faults, rest_s), given=schedule.faults)
        settings = replace(settings, seed=schedule.seed)
    invocation = replace(invocation, settings=settings)
    job = add_chaos(invocation.job("chaos", profile), plan, s11.chaos, rate)
    return _run(invocation, job, wants_fewest=minimise)


def _run(invocation: Invocation, job: Job, *, wants_fewest: bool) -> int:
    """Run the chaos; print its faults and its verdict, and where it fails the fewest faults that do."""
    from rig.cli.console import ConsoleReporter
    from rig.run.preconditions import require_possible
    from rig.verbs.chaos import failed_gates, find_fewest
    from rig.verbs.run import run

    environ = invocation.environment()
    require_possible(job, environ)
    found = None
    with ConsoleReporter(terminal()) as reporter:
        finished = run(job, environ, reporter)
        was_interrupted = finished.judgement.exit_code == ExitCode.INTERRUPTED
        if wants_fewest and not was_interrupted and failed_gates(finished.judgement):
            found = find_fewest(job, finished, environ, reporter)
    document: dict[str, Any] = finished.document()
    if found is not None:
        faults = [{"fault": fault.fault, "for_s": fault.for_s} for fault in found.faults]
        document |= {"minimised": {"faults": faults, "pack": str(found.finished.pack), "runs": len(found.runs)}}
    if not invocation.as_json:
        print_result(_faults(finished.pack))
    code = print_verdict(finished, as_json=invocation.as_json, document=document)
    if found is not None and not invocation.as_json:
        names = ", ".join(f"{fault.fault} for {fault.for_s:g} s" for fault in found.faults)
        so_far = "; interrupted: fewer may do" if found.was_interrupted else ""
        click.echo(f"fewest    {names} ({len(found.runs)} runs{so_far})")
        click.echo(f"again     rig chaos --faults-from {found.finished.pack}")
    return int(ExitCode.INTERRUPTED) if found is not None and found.was_interrupted else code


def _faults(pack: Path) -> Any:
    """The table of the faults of a pack."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from rig.evidence.pack import Pack
    from rig.report.fault_table import COLUMNS, fault_rows

    table = Table(title="faults", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "fault" else "right", no_wrap=column == "#")
    for row in fault_rows(Pack.open(pack).load()):
        table.add_row(*row)
    return table


def _list_faults(profile: Profile, *, as_json: bool) -> int:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from rig.chaos.catalog import faults_of
    from rig.text import json_text

    stories = {fault.name: fault.story for fault in faults_of(profile)}
    if as_json:
        click.echo(json_text({"faults": stories}))
        return 0
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("fault", no_wrap=True)
    table.add_column("what happens")
    for name, story in stories.items():
        table.add_row(name, story)
    print_result(table)
    return 0
