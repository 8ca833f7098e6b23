"""The verb that only looks: sample."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from rig.cli.options import json_option, out_option
from rig.cli.words import conclude, stdout
from rig.errors import UsageError


@click.command("sample")
@click.option("--dsn-env", required=True, help="Name of the environment variable with the DSN; never the DSN itself.")
@click.option("--match", help="Regular expression over command lines: the processes of the server.")
@click.option("--pid", "pids", type=click.IntRange(1), multiple=True, help="A process of the server (repeatable).")
@click.option("--seconds", type=click.FloatRange(0.5), help="How long; without it until Ctrl-C.")
@click.option("--hz", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Looks at the database.")
@out_option
@json_option
def sample_(
    dsn_env: str,
    match: str | None,
    pids: tuple[int, ...],
    seconds: float | None,
    hz: float,
    out: Path,
    as_json: bool,
) -> int:
    """The samplers alone, beside any other load tool: waits of the database, CPU of the processes."""
    from rig.profile import environment
    from rig.verbs.sample import Watch, sample, tables

    if match is not None:
        try:
            re.compile(match)
        except re.error as error:
            raise UsageError(f"--match {match!r} is no regular expression: {error}") from None
    watch = Watch(dsn_env, match, pids, seconds, hz, out)
    until = "Ctrl-C ends it" if seconds is None else f"for {seconds:g} s"
    sampled = sample(
        watch, ("rig", *sys.argv[1:]), environment(), lambda pack: click.echo(f"rig: sampling, {until}", err=True)
    )
    if not as_json:
        stdout().print(tables(sampled.case))
    return conclude(sampled.finished, as_json=as_json)
